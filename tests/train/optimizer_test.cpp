// Rates and optimisers against transformers' and torch's: schedules bit for bit, optimisers within a few
// roundings of f32 (the order of sums in means differs).
#include "train/optimizer.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "core/json.h"
#include "core/thread_pool.h"
#include "support/paths.h"
#include "train/schedule.h"

using namespace llmhost;
using namespace llmhost::train;

namespace {

struct Tensors {
  std::vector<std::vector<float>> values, gradients;
  std::vector<TrainedValue> trained;

  explicit Tensors(const std::vector<std::vector<int64_t>>& shapes) {
    for (const auto& shape : shapes) {
      size_t n = 1;
      for (const int64_t size : shape) n *= static_cast<size_t>(size);
      values.emplace_back(n, 0.0F);
      gradients.emplace_back(n, 0.0F);
    }
    for (size_t i = 0; i < shapes.size(); ++i)
      trained.push_back({.name = std::to_string(i),
                         .file_name = std::to_string(i),
                         .weight = "",
                         .shape = shapes[i],
                         .value = values[i],
                         .gradient = gradients[i]});
  }
};

void copy(const Json& from, std::vector<float>& to, float factor = 1) {
  for (size_t i = 0; i < to.size(); ++i) to[i] = from.at(i).get<float>() * factor;
}

OptimizerOptions options_of(const std::string& name) {
  OptimizerOptions options;
  options.weight_decay = 0.1;
  if (name.starts_with("sgd")) options.kind = OptimizerKind::kSgd;
  if (name == "sgd_momentum") options.momentum = 0.9;
  if (name == "adafactor") options.kind = OptimizerKind::kAdafactor;
  return options;
}

}  // namespace

TEST_CASE("rates are those of transformers, bit for bit") {
  for (const Json& expected : read_json_file(test::data("finetune/schedules.json"))) {
    ScheduleOptions options;
    options.name = expected.at("schedule");
    CAPTURE(options.name);
    options.warmup_steps = expected.at("warmup");
    const Json& args = expected.at("args");
    options.num_cycles = args.value("num_cycles", -1.0);
    options.power = args.value("power", 1.0);
    options.lr_end = args.value("lr_end", 1e-7);
    options.min_lr_rate = args.value("min_lr_rate", 0.0);
    const Schedule schedule(options, expected.at("steps"), 1);
    const Json& factors = expected.at("factor");
    for (size_t step = 0; step < factors.size(); ++step)
      CHECK(schedule.factor(static_cast<int64_t>(step)) == factors[step].get<double>());
  }
}

TEST_CASE("warm-up as a share of the steps, and what is refused") {
  ScheduleOptions options;
  options.name = "linear";
  options.warmup_ratio = 0.1;
  CHECK(Schedule(options, 95, 1).warmup_steps() == 10);
  CHECK(Schedule(options, 95, 1).factor(0) == 0);
  CHECK(Schedule(options, 95, 1).factor(10) == 1);
  options.name = "cosin";
  CHECK_THROWS_WITH_AS(Schedule(options, 95, 1), doctest::Contains("did you mean 'cosine'"), Error);
  options.name = "polynomial";  // past the end: the last rate
  options.lr_end = 0.5;
  CHECK(Schedule(options, 10, 2).factor(100) == 0.25);
}

TEST_CASE("optimisers are those of torch and transformers") {
  const Json cases = read_json_file(test::data("finetune/optimizers.json"));
  for (const auto& [name, expected] : cases.items()) {
    CAPTURE(name);
    Tensors tensors(expected.at("shapes").get<std::vector<std::vector<int64_t>>>());
    for (size_t i = 0; i < 2; ++i) copy(expected.at("values")[i], tensors.values[i]);
    const auto optimizer = Optimizer::make(options_of(name), tensors.trained, nullptr);
    for (size_t step = 0; step < expected.at("rates").size(); ++step) {
      // Powers of two: the scale costs no rounding.
      for (size_t i = 0; i < 2; ++i) copy(expected.at("gradients")[step][i], tensors.gradients[i], 4);
      optimizer->update(expected.at("rates")[step], 0.25);
    }
    for (size_t i = 0; i < 2; ++i)
      for (size_t k = 0; k < tensors.values[i].size(); ++k)
        CHECK(std::abs(tensors.values[i][k] - expected.at("final")[i][k].get<float>()) < 1e-6);
    uint64_t floats = 0;
    for (const auto& state : optimizer->state()) floats += state.values.size();
    const auto shapes = expected.at("shapes").get<std::vector<std::vector<int64_t>>>();
    CHECK(Optimizer::bytes(options_of(name), shapes) == floats * sizeof(float));
  }
}

TEST_CASE("an optimiser computes the same on any number of threads") {
  for (const char* const name : {"adamw", "sgd_momentum", "adafactor"}) {
    CAPTURE(name);
    std::vector<std::vector<float>> first;
    for (const int32_t n_threads : {1, 3}) {
      ThreadPool pool(n_threads);
      Tensors tensors({{300, 701}, {70001}});
      const auto optimizer = Optimizer::make(options_of(name), tensors.trained, pool.api());
      for (int step = 0; step < 3; ++step) {
        for (auto& gradient : tensors.gradients)
          for (size_t i = 0; i < gradient.size(); ++i)
            gradient[i] = static_cast<float>(std::sin(static_cast<double>(i) + step));
        optimizer->update(0.01, 0.7);
      }
      if (n_threads == 1)
        first = tensors.values;
      else
        CHECK(first == tensors.values);
    }
  }
}

TEST_CASE("an optimiser goes on from what it remembered") {
  for (const char* const name : {"adamw", "sgd_momentum", "adafactor"}) {
    CAPTURE(name);
    Tensors whole({{8, 9}, {5}});
    Tensors halves({{8, 9}, {5}});
    const auto gradients = [](Tensors& tensors, int step) {
      for (auto& gradient : tensors.gradients)
        for (size_t i = 0; i < gradient.size(); ++i)
          gradient[i] = static_cast<float>(step + 1) / static_cast<float>(i + 1);
    };
    const auto one = Optimizer::make(options_of(name), whole.trained, nullptr);
    auto two = Optimizer::make(options_of(name), halves.trained, nullptr);
    for (int step = 0; step < 6; ++step) {
      if (step == 3) {
        auto fresh = Optimizer::make(options_of(name), halves.trained, nullptr);
        const auto from = two->state();
        const auto to = fresh->state();
        REQUIRE(from.size() == to.size());
        for (size_t i = 0; i < from.size(); ++i) {
          CHECK(from[i].name == to[i].name);
          std::copy(from[i].values.begin(), from[i].values.end(), to[i].values.begin());
        }
        fresh->set_updates(two->updates());
        two = std::move(fresh);
      }
      gradients(whole, step);
      gradients(halves, step);
      one->update(0.1, 1);
      two->update(0.1, 1);
    }
    CHECK(whole.values == halves.values);
  }
}
