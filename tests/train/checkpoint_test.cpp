// Checkpoints: what is saved comes back bit for bit, what is half written is left out, what is of another run
// is refused with the difference.
#include "train/checkpoint.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "support/temp_dir.h"

using namespace llmhost;
using namespace llmhost::train;
namespace fs = std::filesystem;

namespace {

CheckpointState state_of(int64_t step, int64_t best = 0) {
  CheckpointState state;
  state.step = step;
  state.updates = step;
  state.best_step = best;
  state.best_loss = 0.1;
  state.job = R"({"seed":1,"optimizer":{"lr":0.001}})";
  state.data_hash = "d";
  state.base_hash = "b";
  return state;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

void ignore(std::string_view) {}

}  // namespace

TEST_CASE("what is saved comes back") {
  const test::TempDir temporary;
  const fs::path& folder = temporary.path();
  const CheckpointFolder checkpoints(folder / "checkpoints");
  CHECK_FALSE(checkpoints.exists());
  CHECK_FALSE(checkpoints.newest(ignore).has_value());
  std::vector<float> value = {1.5F, -0.0F, 3e-42F};
  std::vector<float> moment = {7};
  const std::vector<std::byte> method = {std::byte{1}, std::byte{255}};
  CheckpointState saved = state_of(12, 8);
  saved.updates = 11;
  saved.best_loss = 1.0 / 3;
  saved.evals_since_best = 2;
  const std::vector<CheckpointTensor> tensors = {{"value.a", value}, {"optimizer.a.m", moment}};
  checkpoints.save(saved, tensors, method);
  std::vector<float> value2(3), moment2(1);
  const auto found = checkpoints.newest(ignore);
  REQUIRE(found.has_value());
  CHECK(found->step == 12);
  CHECK(found->updates == 11);
  CHECK(found->best_step == 8);
  CHECK(found->best_loss == 1.0 / 3);
  CHECK(found->evals_since_best == 2);
  check_same_run(*found, saved);
  const std::vector<CheckpointTensor> targets = {{"value.a", value2}, {"optimizer.a.m", moment2}};
  CHECK(checkpoints.load(12, targets) == method);
  CHECK(std::memcmp(value.data(), value2.data(), 12) == 0);
  CHECK(moment == moment2);
  std::vector<float> too_long(4);
  const std::vector<CheckpointTensor> other = {{"value.a", too_long}};
  CHECK_THROWS_WITH_AS(checkpoints.load(12, other), doctest::Contains("'value.a' of 4 values"), Error);
}

TEST_CASE("the newest whole one is taken") {
  const test::TempDir temporary;
  const fs::path& folder = temporary.path();
  const CheckpointFolder checkpoints(folder);
  std::vector<float> value = {1};
  const std::vector<CheckpointTensor> tensors = {{"v", value}};
  for (const int64_t step : {9, 10, 11, 12}) checkpoints.save(state_of(step), tensors, {});
  fs::create_directory(folder / ".writing-step-13");  // killed while it was written
  std::ofstream(folder / ".writing-step-13" / "tensors.safetensors") << "x";
  fs::resize_file(folder / "step-12" / "tensors.safetensors", 20);
  std::ofstream(folder / "step-11" / "state.json") << "{";
  std::vector<std::string> skipped;
  const auto found = checkpoints.newest([&](std::string_view why) { skipped.emplace_back(why); });
  REQUIRE(found.has_value());
  CHECK(found->step == 10);
  CHECK(skipped.size() == 2);
  checkpoints.clean();
  CHECK(names_in(folder) == std::vector<std::string>{"step-10", "step-11", "step-12", "step-9"});
}

TEST_CASE("old ones go, with best values that nobody names") {
  const test::TempDir temporary;
  const fs::path& folder = temporary.path();
  const CheckpointFolder checkpoints(folder);
  std::vector<float> value = {1};
  const std::vector<CheckpointTensor> tensors = {{"v", value}};
  for (const int64_t step : {2, 3, 4, 5}) checkpoints.save_best(step, tensors);
  for (const int64_t step : {10, 20, 30}) checkpoints.save(state_of(step, step / 10 + 1), tensors, {});
  checkpoints.prune(2, 5);
  CHECK(names_in(folder) == std::vector<std::string>{"best-3", "best-4", "best-5", "step-20", "step-30"});
  checkpoints.prune(0, 5);  // one stays whatever is asked for
  CHECK(names_in(folder) == std::vector<std::string>{"best-4", "best-5", "step-30"});
  value[0] = 9;
  checkpoints.load_best(4, tensors);
  CHECK(value[0] == 1);
}

TEST_CASE("another run is refused with what differs") {
  CheckpointState other = state_of(3);
  other.job = R"({"seed":2,"optimizer":{"lr":0.002},"new":true})";
  CHECK_THROWS_WITH_AS(
      check_same_run(state_of(3), other),
      doctest::Contains("new was null, is true; optimizer.lr was 0.001, is 0.002; seed was 1, is 2"), Error);
  other = state_of(3);
  other.data_hash = "e";
  CHECK_THROWS_WITH_AS(check_same_run(state_of(3), other),
                       doctest::Contains("other data: its hash was d, is e"), Error);
  other = state_of(3);
  other.base_hash = "c";
  CHECK_THROWS_WITH_AS(check_same_run(state_of(3), other), doctest::Contains("another base model"), Error);
}
