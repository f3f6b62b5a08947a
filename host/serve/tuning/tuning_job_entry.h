// A job on disk and as its clients see it.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "serve/tuning/tuning_jobs.h"

namespace llmhost::serve {

struct TuningJobs::Entry {
  // A new job, or one that is read from its folder.
  Entry(std::filesystem::path of_job, const TuningRequest& asked, std::string_view body, uint64_t of);
  explicit Entry(std::filesystem::path of_job);

  void save() const;  // throws
  OrderedJson json() const;
  // Appends to the events; `data` is null or an object.
  void add_event(std::string_view level, const std::string& message, OrderedJson data = nullptr);
  std::vector<OrderedJson> read_events() const;
  std::string adapter_name(std::string_view step) const;

  const std::filesystem::path folder;
  const std::string id;
  TuningRequest request;
  std::string body;  // of the request, as it came
  uint64_t owner = 0;
  int64_t created = 0;

  std::atomic<bool> is_cancelled{false};

  mutable std::mutex mutex;  // what follows
  TuningStatus status = TuningStatus::kQueued;
  int64_t finished = 0;
  int64_t trained_tokens = 0;
  int64_t n_events = 0;
  double eta_s = 0;
  std::string fine_tuned_model;
  std::string error;
  struct Checkpoint {
    int64_t step = 0;
    int64_t created = 0;
    std::string model;
    double train_loss = 0;
    double valid_loss = -1;  // negative: none
  };
  std::vector<Checkpoint> checkpoints;
};

}  // namespace llmhost::serve
