// One architecture on one config, call by call, as the loader makes the calls but through tables with faults.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "check/odd_tables.h"
#include "core/json.h"
#include "graph/graph.h"
#include "model/checkpoint.h"
#include "model/model_view.h"
#include "model/name_map.h"

namespace llmhost::check {

// What a call reported, or nothing: it succeeded.
using Failure = std::optional<std::string>;

class ArchSession {
 public:
  // `checkpoint` may be null: a config without tensors. All must outlive the session.
  ArchSession(const llmh_arch& arch, const Json& config, const model::Checkpoint* checkpoint,
              const Faults& faults = {});
  ~ArchSession();  // closes what is open
  ArchSession(const ArchSession&) = delete;
  ArchSession& operator=(const ArchSession&) = delete;

  int32_t match();
  Failure open();
  Failure names();
  Failure describe();   // also throws when something was written behind the known fields of llmh_model_info
  Failure build();      // into a new graph each time
  Failure build_all();  // open to build, up to the first failure
  void close();

  const graph::Graph& graph() const { return *graph_; }
  const llmh_model_info& info() const { return info_.base; }
  const OddContext& context() const { return context_; }

 private:
  struct Collector;
  std::optional<std::vector<int64_t>> shape_of(std::string_view name) const;

  const llmh_arch& arch_;
  const model::Checkpoint* checkpoint_;
  OddContext context_;
  model::ModelView view_;
  OddModel model_;
  model::NameMap names_;
  std::map<std::string, model::HubTensor, std::less<>> tensors_;
  OddTable<llmh_model_info, void> info_{};
  std::unique_ptr<graph::Graph> graph_;
  llmh_arch_model* self_ = nullptr;
};

}  // namespace llmhost::check
