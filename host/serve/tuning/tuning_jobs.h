// Fine-tuning jobs of a server: a queue that one thread works off, on the weights that are being served. A
// job is a folder, so that it outlives the process: what ran when the server ended goes on from its last
// checkpoint.
//
//   <folder>/jobs/<id>/job.json      the request and the state
//   <folder>/jobs/<id>/events.jsonl  what happened, a line each
//   <folder>/jobs/<id>/run/          the trainer's: checkpoints, result
//   <folder>/adapters/<model>/       finished adapters, a root of the model
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/json.h"
#include "plugin/registry.h"
#include "serve/models/model_pool.h"
#include "serve/tuning/tuning_request.h"
#include "serve/tuning/uploaded_files.h"

namespace llmhost::serve {

struct TuningOptions {
  std::filesystem::path folder;
  std::vector<std::filesystem::path> data_roots;  // of "data:NAME"
  double share = 0.5;                             // of the time, while requests run; all of it otherwise
  int64_t micro_batch_tokens = 512;
  int64_t max_queued = 100;
  uint64_t file_bytes = 0;                           // of all uploaded files together
  std::shared_ptr<const plugin::Registry> registry;  // of the methods that requests may name
};

enum class TuningStatus { kQueued, kRunning, kSucceeded, kFailed, kCancelled };
std::string_view to_text(TuningStatus status);

// [thread-safe]
class TuningJobs {
 public:
  // Jobs of an earlier process are queued again.
  TuningJobs(ModelPool& pool, TuningOptions options);
  ~TuningJobs();  // stop()
  TuningJobs(const TuningJobs&) = delete;
  TuningJobs& operator=(const TuningJobs&) = delete;

  UploadedFiles& files() { return files_; }

  // Queues it. All of these give the job (or a list) in OpenAI's shape and throw Error or ApiError; a job of
  // somebody else is not found.
  OrderedJson create(const TuningRequest& request, std::string_view body, uint64_t owner);
  OrderedJson get(std::string_view id, uint64_t owner) const;
  OrderedJson cancel(std::string_view id, uint64_t owner);
  // Newest first, those older than `after` (an id, or empty).
  OrderedJson list(uint64_t owner, std::string_view after, int64_t limit) const;
  OrderedJson events(std::string_view id, uint64_t owner, std::string_view after, int64_t limit) const;
  OrderedJson checkpoints(std::string_view id, uint64_t owner, std::string_view after, int64_t limit) const;

  // Begins to work. Once.
  void start();
  // The running job writes a checkpoint and goes on at the next start.
  void stop();

 private:
  struct Entry;
  class Listener;
  using Entries = std::map<std::string, std::shared_ptr<Entry>, std::less<>>;

  void read_jobs();
  std::shared_ptr<Entry> find(std::string_view id, uint64_t owner) const;
  std::filesystem::path data_file(std::string_view field, const std::string& name, uint64_t owner) const;
  void check(const TuningRequest& request, uint64_t owner) const;
  std::shared_ptr<Entry> next();
  void work();
  void run(Entry& entry);
  std::shared_ptr<ServedModel> acquire(Entry& entry);
  void train(Entry& entry, ServedModel& model);
  std::string publish(Entry& entry, const std::filesystem::path& finished, const std::filesystem::path& root,
                      std::string_view step) const;
  void finish(Entry& entry, TuningStatus status, const std::string& error);

  ModelPool& pool_;
  TuningOptions options_;
  UploadedFiles files_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Entries entries_;
  std::atomic<bool> is_stopping_{false};
  std::thread thread_;
};

}  // namespace llmhost::serve
