// A backend whose model is a hash of all tokens up to and including the current one, read back from the paged
// state: a wrong page, position, row or neighbour changes the logits. It checks every promise of llmh_step as
// well.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/device.h"
#include "engine/engine.h"
#include "engine/runner.h"
#include "llmhost/backend.h"

namespace llmhost::test {

constexpr int32_t kFakeVocab = 97;
constexpr int32_t kFakeHidden = 5;
constexpr int32_t kPoisonToken = 90;  // its logits hold a NaN
constexpr int32_t kFailToken = 91;    // the step that runs it fails

const llmh_backend& fake_backend();

struct FakeOptions {
  bool host_visible = true;
  // The hash depends on rope_lengths above this, as with a length-dependent rotary scaling.
  int32_t scaling_from = INT32_MAX;
};

// Device and runner of the fake model.
class FakeModel {
 public:
  explicit FakeModel(const engine::RunnerOptions& options, const FakeOptions& fake = {});

  engine::ModelRunner& runner() { return *runner_; }

 private:
  llmh_rope_angles_attrs angles_{};
  llmh_node node_{};
  llmh_tensor_info logits_{};
  std::vector<const llmh_tensor_info*> tensors_;
  std::vector<const llmh_node*> nodes_;
  llmh_tensor_info hidden_{};
  llmh_graph_output output_{};
  llmh_graph_output hidden_output_{};
  std::vector<const llmh_graph_output*> outputs_;
  llmh_graph graph_{};
  std::unique_ptr<engine::Device> device_;
  std::unique_ptr<engine::ModelRunner> runner_;
};

// What greedy decoding of the fake model gives, computed without engine, pages or batches.
std::vector<int32_t> fake_greedy(std::vector<int32_t> prompt, int64_t n, int32_t scaling_from = INT32_MAX);
// Its logits after the last of these tokens.
std::vector<float> fake_logits(const std::vector<int32_t>& tokens, int64_t prompt_length,
                               int32_t scaling_from = INT32_MAX);
// And its hidden state there.
std::vector<float> fake_hidden(const std::vector<int32_t>& tokens, int64_t prompt_length);

}  // namespace llmhost::test
