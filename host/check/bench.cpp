#include "check/bench.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "graph/decompose.h"
#include "graph/fuse.h"
#include "graph/lifetimes.h"
#include "graph/op_registry.h"

namespace llmhost::check {
namespace {

engine::RunnerOptions runner_options(const BenchLimits& limits) {
  engine::RunnerOptions options;
  options.max_tokens = limits.max_tokens;
  options.max_sequences = limits.max_sequences;
  options.max_outputs = limits.max_tokens;
  options.max_context = limits.max_context;
  options.kv_dtype = LLMH_DTYPE_F32;
  return options;
}

}  // namespace

graph::Graph lowered(const graph::Graph& graph, const engine::Device& device) {
  const auto supports = [&](const graph::Graph& g, uint32_t node) {
    return device.api().supports(device.instance(), &g.view(), node) == 1;
  };
  graph::Graph result = graph::decompose(graph::fuse(graph, supports), supports);
  const uint32_t bad = graph::first_unsupported(result, supports);
  if (bad < result.node_count())
    throw_error(ErrorCode::kUnimplemented, "backend '{}' does not run the op {} at '{}'", device.plugin_id(),
                graph::op_name(result.node(bad).op), graph::to_view(result.node(bad).path));
  return result;
}

Bench::Bench(const model::LoadedModel& model, const graph::Graph& graph, const engine::Device& device,
             const BenchLimits& limits)
    : options_(runner_options(limits)),
      graph_(lowered(graph, device)),
      weights_(model, graph_, device),
      batch_(options_.limits(), options_.max_pages()) {
  const graph::ArenaPlan arena = graph::plan_arena(graph_, options_.limits());
  const engine::RunnerModel to_run{&graph_.view(), weights_.by_tensor(), model.states(), arena.offsets,
                                   arena.bytes};
  runner_ = std::make_unique<engine::ModelRunner>(device, to_run, options_);
}

// Each sequence owns the pages that follow those of the one before.
void Bench::begin(size_t sequence, int64_t position) {
  std::vector<int32_t> pages(static_cast<size_t>(options_.max_pages()));
  std::iota(pages.begin(), pages.end(), static_cast<int32_t>(sequence) * options_.max_pages());
  batch_.begin_sequence(position, pages);
}

std::vector<std::vector<float>> Bench::run(std::span<const Ids> prompts, int32_t chunk) {
  std::vector<std::vector<float>> rows(prompts.size());
  for (size_t done = 0;;) {
    const size_t step = chunk == 0 ? SIZE_MAX - done : static_cast<size_t>(chunk);
    std::vector<size_t> part;  // sequence of each output row
    batch_.clear();
    for (size_t s = 0; s < prompts.size(); ++s) {
      const auto length = static_cast<int64_t>(prompts[s].size());
      const size_t end = std::min(prompts[s].size(), done + step);
      if (done >= end) continue;
      begin(s, static_cast<int64_t>(done));
      for (size_t i = done; i < end; ++i) {
        batch_.add_token(prompts[s][i], length, true);
        part.push_back(s);
      }
    }
    if (part.empty()) return rows;
    const std::span<const float> logits = runner_->step(batch_);
    const auto row_width = static_cast<size_t>(width());
    for (size_t r = 0; r < part.size(); ++r) {
      const auto row = logits.subspan(r * row_width, row_width);
      rows[part[r]].insert(rows[part[r]].end(), row.begin(), row.end());
    }
    done += step;
  }
}

std::vector<float> Bench::run_one(const Ids& prompt, int32_t chunk) {
  return std::move(run(std::span(&prompt, 1), chunk).front());
}

Ids Bench::greedy(const Ids& prompt, size_t n) {
  const std::vector<float> rows = run_one(prompt);
  std::span<const float> last = std::span(rows).last(static_cast<size_t>(width()));
  Ids tokens;
  while (tokens.size() < n) {
    tokens.push_back(static_cast<int32_t>(std::max_element(last.begin(), last.end()) - last.begin()));
    const auto position = static_cast<int64_t>(prompt.size() + tokens.size()) - 1;
    if (tokens.size() == n || position >= options_.max_context) break;
    batch_.clear();
    begin(0, position);
    batch_.add_token(tokens.back(), static_cast<int64_t>(prompt.size()), true);
    last = runner_->step(batch_);
  }
  return tokens;
}

}  // namespace llmhost::check
