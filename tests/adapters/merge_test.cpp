// Merged adapters beside what PEFT makes of the same (tests/data/finetune/merge): logits within 1e-4, as for
// one adapter.
#include <doctest/doctest.h>

#include "adapters/adapter_model.h"
#include "core/json.h"
#include "engine/adapter_merge.h"

using namespace llmhost;
using namespace llmhost::test;
using engine::AdapterDeltas;
using engine::AdapterMerge;
using engine::MergeStrategy;

namespace {

AdapterModel& llama() {
  static AdapterModel model("finetune/models/llama", "reference");
  return model;
}

AdapterDeltas deltas(const std::string& name) {
  return llama().adapters().read(engine::AdapterFolder(test::data("finetune/" + name)), name);
}

// Two adapters of one module with the factors given.
std::vector<AdapterDeltas> pair(std::vector<float> first, std::vector<float> second) {
  std::vector<AdapterDeltas> adapters(2);
  for (size_t i = 0; i < 2; ++i) {
    engine::ModuleDelta delta;
    delta.rank = 1;
    delta.scale = 1;
    delta.a = i == 0 ? first : second;
    delta.b = {1};
    adapters[i].modules.push_back(delta);
    adapters[i].digest = std::to_string(i);
  }
  return adapters;
}

}  // namespace

TEST_CASE("merges equal the library's") {
  const Json about = read_json_file(test::data("finetune/merge/cases.json"));
  const auto file = model::SafetensorsFile::open(test::data("finetune/merge/logits.safetensors"));
  std::vector<AdapterDeltas> sources;
  for (const Json& name : about["adapters"]) sources.push_back(deltas(name.get<std::string>()));
  for (const Json& about_case : about["cases"]) {
    CAPTURE(about_case.dump());
    AdapterMerge merge;
    merge.strategy = *engine::parse_merge_strategy(about_case["type"].get<std::string>());
    merge.density = about_case.value("density", 1.0);
    merge.majority_sign = *engine::parse_majority_sign(about_case.value("sign", "total"));
    std::vector<AdapterDeltas> taken;
    for (size_t i = 0; i < sources.size(); ++i) {
      if (about_case["weights"][i] == 0) continue;
      taken.push_back(sources[i]);
      merge.parts.push_back(
          {about["adapters"][i].get<std::string>(), about_case["weights"][i].get<double>()});
    }
    const auto adapter = llama().adapters().prepare(engine::merged(merge, taken), "merged");
    const RowOutput output = llama().run({{about["input_ids"].get<std::vector<int32_t>>(), adapter}}).front();
    REQUIRE(output.error.empty());
    CHECK(distance(output, tensor_values<float>(file, about_case["name"].get<std::string>()).data()) <=
          1e-4F);
  }
}

// Of 4000 values kept with p = 0.25 the number kept is within 5 deviations, and the mean is kept by the
// division.
TEST_CASE("what is dropped at random: by the seed, and the mean stays") {
  const std::vector<float> ones(4000, 1.0F);
  AdapterMerge merge;
  merge.parts = {{"a", 1.0}, {"b", 1.0}};
  merge.strategy = MergeStrategy::kDareLinear;
  merge.density = 0.25;
  merge.seed = 7;
  const auto adapters = pair(ones, std::vector<float>(4000, 0.0F));
  const std::vector<float> kept = engine::merged(merge, adapters).modules.front().a;
  const auto n = std::count(kept.begin(), kept.end(), 4.0F);
  CHECK(n + std::count(kept.begin(), kept.end(), 0.0F) == 4000);
  CHECK(std::abs(static_cast<double>(n) - 1000) < 5 * std::sqrt(4000 * 0.25 * 0.75));
  CHECK(engine::merged(merge, adapters).modules.front().a == kept);
  const std::string digest = engine::merged(merge, adapters).digest;
  merge.seed = 8;
  CHECK(engine::merged(merge, adapters).modules.front().a != kept);
  CHECK(engine::merged(merge, adapters).digest != digest);
}

TEST_CASE("of equal values the first are kept, and a sign without a majority is positive") {
  AdapterMerge merge;
  merge.parts = {{"a", 1.0}, {"b", 1.0}};
  merge.strategy = MergeStrategy::kTies;
  merge.density = 0.5;
  CHECK(engine::merged(merge, pair({1, -1, 1, -1}, {0, 0, 0, 0})).modules.front().a ==
        std::vector<float>{1, -1, 0, 0});
  merge.density = 1;
  CHECK(engine::merged(merge, pair({1, -3, 2, 0}, {-1, 2, 4, -5})).modules.front().a ==
        std::vector<float>{1, -3, 3, -5});
}

TEST_CASE("what cannot be merged") {
  AdapterMerge merge;
  merge.parts = {{"a", 1.0}, {"b", 1.0}};
  CHECK_THROWS_WITH(engine::merged(merge, {deltas("lora/llama_qv"), deltas("serve/llama/adapters/r4")}),
                    "merged adapters must have the same rank in every module; here they have 8 and 4");
  CHECK_THROWS_WITH(
      engine::merged(merge, {deltas("lora/llama_qv"), deltas("dora/llama_qv")}),
      "'b' has more than low-rank branches (row factors, biases or whole modules), which cannot be merged");
  merge.density = 0;
  CHECK_THROWS_WITH(merge.validate(), "density: got 0, expected above 0 and at most 1");
  merge.density = 0.5;
  merge.parts[1].weight = INFINITY;
  CHECK_THROWS_WITH(merge.validate(), "weights: got inf, expected numbers up to 1e6");
}
