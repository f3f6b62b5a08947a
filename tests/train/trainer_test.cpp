// Whole runs on a tiny model: the same bits however often a run is interrupted or killed, the best
// evaluation's values as output, and nothing that looks finished after a number that is none.
#include "train/trainer.h"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>

#include "core/error.h"
#include "core/file.h"
#include "support/temp_dir.h"
#include "train/golden_case.h"

using namespace llmhost;
using namespace llmhost::test;
using namespace llmhost::train;
namespace fs = std::filesystem;

namespace {

// 24 rows of tokens, of 5 to 16; the first third of each is not trained on.
void write_data(const fs::path& file, uint32_t salt = 0) {
  std::ofstream out(file);
  for (uint32_t row = 0; row < 24; ++row) {
    std::string ids;
    std::string labels;
    const uint32_t length = 5 + row * 7 % 12;
    for (uint32_t i = 0; i < length; ++i) {
      const uint32_t id = 1 + (row * 31 + i * i * 5 + salt) % 250;
      ids += (i == 0 ? "" : ", ") + std::to_string(id);
      labels += (i == 0 ? "" : ", ") + (i < length / 3 ? "-100" : std::to_string(id));
    }
    out << "{\"input_ids\": [" << ids << "], \"labels\": [" << labels << "]}\n";
  }
}

struct Killed {};

// Keeps what a run tells; stops or kills it after a step.
struct Listener final : TrainingListener {
  std::vector<StepEvent> steps;
  std::vector<EvalEvent> evals;
  std::vector<int64_t> checkpoints;
  std::vector<std::string> messages;
  std::atomic<bool> stop{false};
  int64_t stop_after = 0;
  int64_t kill_after = 0;

  void on_step(const StepEvent& event) override {
    steps.push_back(event);
    if (event.step == stop_after) stop = true;
    if (event.step == kill_after) throw Killed();
  }
  void on_eval(const EvalEvent& event) override { evals.push_back(event); }
  void on_checkpoint(int64_t step, std::string_view) override { checkpoints.push_back(step); }
  void on_message(std::string_view line) override { messages.emplace_back(line); }
};

struct Runs {
  TempDir folder;
  GoldenModel base{data("models/tiny_chat")};

  Runs() { write_data(folder.path() / "data.jsonl"); }

  Job job(const std::string& output) const {
    Job job;
    job.model = data("models/tiny_chat");
    job.output = folder.path() / output;
    job.method = "lora";
    job.method_settings = parse_yaml("{r: 4, lora_dropout: 0.1, target_modules: [q_proj, v_proj]}", "test");
    job.train_data = folder.path() / "data.jsonl";
    job.eval_fraction = 0.2;
    job.batches.batch_size = 4;
    job.batches.micro_batch_tokens = 32;
    job.epochs = 3;
    job.optimizer.lr = 0.01;
    job.schedule.warmup_steps = 2;
    job.eval_every = 2;
    job.checkpoint_every = 3;
    return job;
  }

  Outcome run(const Job& job, Listener& listener, bool resume = false) const {
    TrainerHooks hooks;
    hooks.listener = &listener;
    hooks.stop = &listener.stop;
    Trainer trainer(job, built_plugins(), *base.model, base.device(), hooks);
    return trainer.run(resume);
  }
};

std::string adapter_bytes(const Job& job) {
  return read_file(job.output / "adapter_model.safetensors") + read_file(job.output / "adapter_config.json");
}

bool looks_finished(const Job& job) {
  return fs::exists(job.output / "adapter_config.json") ||
         fs::exists(job.output / "adapter_model.safetensors");
}

}  // namespace

TEST_CASE("a run: losses fall, rates follow the schedule, the adapter is there") {
  const Runs runs;
  const Job job = runs.job("out");
  Listener listener;
  CHECK(runs.run(job, listener) == Outcome::kFinished);
  REQUIRE(listener.steps.size() == 15);  // 19 examples to train on: 5 steps an epoch
  CHECK(listener.steps.front().lr == 0);
  CHECK(listener.steps[2].lr == 0.01);
  CHECK(listener.steps.back().n_steps == 15);
  CHECK(listener.evals.size() == 8);
  double first = 0;
  double last = 0;
  for (size_t i = 0; i < 5; ++i) {
    first += listener.steps[i].loss;
    last += listener.steps[10 + i].loss;
  }
  CHECK(last < first);
  CHECK(listener.checkpoints == std::vector<int64_t>{3, 6, 9, 12, 15});
  CHECK(looks_finished(job));
  const std::string adapter = adapter_bytes(job);
  CHECK(runs.run(job, listener, true) == Outcome::kFinished);  // there is nothing left to do
  CHECK(listener.steps.size() == 15);
  CHECK(adapter_bytes(job) == adapter);
  // The folder holds a run now.
  CHECK_THROWS_WITH_AS(runs.run(job, listener), doctest::Contains("holds what a run made already"), Error);
}

TEST_CASE("the same seed gives the same bits, another one others") {
  const Runs runs;
  Listener first, second, third;
  const Job one = runs.job("one");
  const Job two = runs.job("two");
  Job other = runs.job("other");
  other.seed = other.batches.seed = 7;
  runs.run(one, first);
  runs.run(two, second);
  runs.run(other, third);
  CHECK(adapter_bytes(one) == adapter_bytes(two));
  CHECK(adapter_bytes(one) != adapter_bytes(other));
}

TEST_CASE("a run that is interrupted or killed goes on bit for bit") {
  const Runs runs;
  const Job whole = runs.job("whole");
  Listener expected;
  runs.run(whole, expected);
  for (const bool is_killed : {false, true}) {
    for (int64_t at = 1; at <= 15; at += is_killed ? 1 : 4) {
      CAPTURE(at);
      const Job job = runs.job((is_killed ? "killed-" : "stopped-") + std::to_string(at));
      Listener before;
      (is_killed ? before.kill_after : before.stop_after) = at;
      bool is_interrupted = false;
      try {
        is_interrupted = runs.run(job, before) == Outcome::kInterrupted;
      } catch (const Killed&) {
        is_interrupted = true;
      }
      CHECK(is_interrupted == (is_killed || at < 15));
      if (is_interrupted) {
        CHECK_FALSE(looks_finished(job));
        before.kill_after = before.stop_after = 0;
        before.stop = false;
        CHECK(runs.run(job, before, true) == Outcome::kFinished);
      }
      CHECK(adapter_bytes(job) == adapter_bytes(whole));
      for (const StepEvent& step : before.steps) {
        const StepEvent& same = expected.steps.at(static_cast<size_t>(step.step) - 1);
        CHECK(step.loss == same.loss);
        CHECK(step.grad_norm == same.grad_norm);
        CHECK(step.lr == same.lr);
      }
    }
  }
}

TEST_CASE("another job does not go on from a checkpoint") {
  const Runs runs;
  Job job = runs.job("out");
  Listener listener;
  listener.stop_after = 4;
  CHECK(runs.run(job, listener) == Outcome::kInterrupted);
  listener.stop = false;
  CHECK_THROWS_WITH_AS(runs.run(job, listener), doctest::Contains("holds checkpoints of a run already"),
                       Error);
  job.optimizer.lr = 0.02;
  CHECK_THROWS_WITH_AS(runs.run(job, listener, true), doctest::Contains("of another job: optimizer"), Error);
  job = runs.job("out");
  write_data(job.train_data, 3);
  CHECK_THROWS_WITH_AS(runs.run(job, listener, true), doctest::Contains("of other data"), Error);
}

TEST_CASE("the output is that of the best evaluation, and patience ends a run") {
  const Runs runs;
  Job job = runs.job("out");
  job.optimizer.lr = 0.3;  // soon worse than at the start
  job.eval_every = 1;
  job.checkpoint_every = 0;
  job.patience = 3;
  Listener listener;
  CHECK(runs.run(job, listener) == Outcome::kFinished);
  CHECK(listener.steps.size() < 15);
  const auto best = std::ranges::min_element(listener.evals, {}, &EvalEvent::loss);
  CHECK(listener.evals.size() == static_cast<size_t>(best - listener.evals.begin()) + 1 + 3);
  CHECK(best->is_best);
  // A run that ends at the best step leaves the same adapter.
  Job shorter = job;
  shorter.output = runs.folder.path() / "shorter";
  shorter.schedule.name = "constant_with_warmup";
  Job longer = shorter;
  longer.output = runs.folder.path() / "longer";
  Listener again;
  runs.run(longer, again);
  const auto best_again = std::ranges::min_element(again.evals, {}, &EvalEvent::loss);
  shorter.max_steps = best_again->step;
  Listener last;
  runs.run(shorter, last);
  CHECK(adapter_bytes(shorter) == adapter_bytes(longer));
}

TEST_CASE("a number that is none stops the run; what was good stays") {
  const Runs runs;
  Job job = runs.job("out");
  job.optimizer.kind = OptimizerKind::kSgd;
  job.optimizer.lr = 1e37;
  job.optimizer.weight_decay = 1;
  job.optimizer.max_grad_norm = 0;
  job.checkpoint_every = 1;
  Listener listener;
  CHECK_THROWS_WITH_AS(runs.run(job, listener), doctest::Contains("is not finite (batch"), Error);
  CHECK_FALSE(looks_finished(job));
  CHECK(fs::exists(job.output / "checkpoints" / "step-1" / "state.json"));
  for (const StepEvent& step : listener.steps) CHECK(std::isfinite(step.loss));
}

TEST_CASE("what a run needs is known before it begins") {
  const Runs runs;
  const Job job = runs.job("out");
  const Trainer trainer(job, built_plugins(), *runs.base.model, runs.base.device(), {});
  const Trainer::Summary summary = trainer.summary();
  CHECK(summary.n_steps == 15);
  CHECK(summary.train->examples.size() == 19);
  CHECK(summary.eval->examples.size() == 5);
  // Two layers, q [32,32] and v [16,32], rank 4.
  CHECK(summary.n_trained == 2 * (4 * (32 + 32) + 4 * (32 + 16)));
  CHECK(summary.memory.parameters >= static_cast<uint64_t>(summary.n_trained) * 4);
  CHECK(summary.memory.optimizer == static_cast<uint64_t>(summary.n_trained) * 8);
  CHECK(summary.memory.activations > 0);
}
