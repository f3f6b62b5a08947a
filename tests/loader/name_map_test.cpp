// Name rules from pattern to bytes: what the table of an architecture plugin asks for is what the host loads.
#include "model/name_map.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <numeric>

#include "core/error.h"
#include "llmhost/arch.hpp"
#include "model/safetensors.h"
#include "model/weights.h"
#include "plugin/status.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;
using Shape = std::vector<int64_t>;

// A checkpoint of f32 tensors, each with the elements 0, 1, 2, ...
class Stored {
 public:
  explicit Stored(const std::vector<std::pair<std::string, Shape>>& tensors) {
    std::string name = fs::temp_directory_path() / fs::path("llmhost-names-XXXXXX");
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    std::vector<float> numbers(64);
    std::iota(numbers.begin(), numbers.end(), 0.0F);
    std::vector<SafetensorsEntry> entries;
    for (const auto& [tensor, shape] : tensors) {
      const auto n =
          static_cast<size_t>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
      entries.push_back({tensor, LLMH_DTYPE_F32, shape, std::as_bytes(std::span(numbers.data(), n))});
    }
    write_safetensors(folder_ / "model.safetensors", entries);
    checkpoint_ = std::make_unique<Checkpoint>(Checkpoint::open(folder_ / "model.safetensors"));
  }
  ~Stored() { fs::remove_all(folder_); }
  Stored(const Stored&) = delete;
  Stored& operator=(const Stored&) = delete;

  const Checkpoint& checkpoint() const { return *checkpoint_; }

 private:
  fs::path folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

std::vector<float> load(const HubTensor& tensor) {
  const WeightData weight = load_weight(tensor, LLMH_USE_LINEAR);
  CHECK(weight.shape == tensor.shape);
  CHECK(weight.owned.size() == copied_bytes(tensor, LLMH_USE_LINEAR));
  std::vector<float> values(weight.bytes.size() / sizeof(float));
  std::memcpy(values.data(), weight.bytes.data(), weight.bytes.size());
  return values;
}

// The tensor "hub" that the steps make of a stored one.
std::vector<float> load(const Shape& stored, const llmh::LayoutSteps& steps, const Shape& expected) {
  const Stored model({{"stored", stored}});
  NameMap map;
  llmh::Names(map.sink(), false).map("hub", "stored", steps);
  const auto tensors = map.apply(model.checkpoint());
  REQUIRE(tensors.size() == 1);
  CHECK(tensors.at("hub").shape == expected);
  return load(tensors.at("hub"));
}

TEST_CASE("patterns match decimal indices") {
  CHECK(match_pattern("output.weight", "output.weight") == NameIndices{});
  CHECK_FALSE(match_pattern("output.weight", "output.bias"));
  CHECK_FALSE(match_pattern("output.weight", "output.weight2"));
  CHECK(match_pattern("blk.{i}.attn_q.weight", "blk.12.attn_q.weight") == NameIndices{"12", ""});
  CHECK_FALSE(match_pattern("blk.{i}.attn_q.weight", "blk..attn_q.weight"));
  CHECK_FALSE(match_pattern("blk.{i}.attn_q.weight", "blk.x.attn_q.weight"));
  CHECK_FALSE(match_pattern("blk.{i}.attn_q.weight", "blk.1.attn_k.weight"));
  CHECK(match_pattern("rope_freqs.{i}", "rope_freqs.0") == NameIndices{"0", ""});
  CHECK(match_pattern("blk.{i}.up.{j}.weight", "blk.3.up.12.weight") == NameIndices{"3", "12"});
  CHECK(match_pattern("experts.{j}.blk.{i}", "experts.7.blk.0") == NameIndices{"0", "7"});
  CHECK_FALSE(match_pattern("blk.{i}.up.{j}.weight", "blk.3.up.weight"));
}

TEST_CASE("a rule with two indices names the expert of the layer") {
  const Stored model({{"blk.3.up.12.weight", {2, 2}}, {"blk.12.up.3.weight", {2, 2}}, {"other", {1}}});
  NameMap map;
  llmh::Names(map.sink(), false).map("layers.{i}.experts.{j}.up.weight", "blk.{i}.up.{j}.weight");
  const auto tensors = map.apply(model.checkpoint());
  CHECK(tensors.size() == 3);
  CHECK(tensors.at("layers.3.experts.12.up.weight").stored->name == "blk.3.up.12.weight");
  CHECK(tensors.at("layers.12.experts.3.up.weight").stored->name == "blk.12.up.3.weight");
  CHECK(tensors.contains("other"));
}

TEST_CASE("layout steps are applied in order") {
  using llmh::rotary_pairs, llmh::rows, llmh::transposed;
  // Stored [in 3, out 4], fused along the outputs.
  CHECK(load({3, 4}, {transposed(), rows(1, 3)}, {2, 3}) == std::vector<float>{1, 5, 9, 2, 6, 10});
  CHECK(load({3, 4}, {rows(1, 3), transposed()}, {4, 2}) == std::vector<float>{4, 8, 5, 9, 6, 10, 7, 11});
  // The second half of a fused tensor is one head; the other order would mix the halves.
  CHECK(load({8, 2}, {rows(4, 8), rotary_pairs(1)}, {4, 2}) ==
        std::vector<float>{8, 9, 12, 13, 10, 11, 14, 15});
  CHECK(load({8}, {rows(4, 8), rotary_pairs(1)}, {4}) == std::vector<float>{4, 6, 5, 7});
  CHECK(load({8}, {rotary_pairs(1), rows(4, 8)}, {4}) == std::vector<float>{1, 3, 5, 7});
  CHECK(load({2, 8}, {transposed(), rows(4, 8), rotary_pairs(1)}, {4, 2}) ==
        std::vector<float>{4, 12, 6, 14, 5, 13, 7, 15});
  CHECK(load({4, 2}, {rows(1, 4), rows(1, 2)}, {1, 2}) == std::vector<float>{4, 5});
  CHECK(load({2, 2}, {}, {2, 2}) == std::vector<float>{0, 1, 2, 3});
}

TEST_CASE("steps that do not fit what the ones before leave are refused with the stored shape") {
  const Stored model({{"stored", {3, 4}}});
  const auto refusal = [&](const llmh::LayoutSteps& steps) -> std::string {
    NameMap map;
    llmh::Names(map.sink(), false).map("hub", "stored", steps);
    try {
      map.apply(model.checkpoint());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(refusal({llmh::rows(2, 4)}).find("'stored' of shape [3,4]: it has no rows 2 to 4") !=
        std::string::npos);
  CHECK(refusal({llmh::transposed(), llmh::rows(2, 4)}).empty());
  CHECK(refusal({llmh::transposed(), llmh::rows(0, 2), llmh::rows(1, 3)}).find("no rows 1 to 3") !=
        std::string::npos);
  CHECK(refusal({llmh::rotary_pairs(1)}).find("rotary pairs of 1 heads") != std::string::npos);
  CHECK(refusal({llmh::rotary_pairs(INT64_MAX)}).find("rotary pairs") != std::string::npos);
}

TEST_CASE("rules that mean nothing are refused when they are given") {
  NameMap map;
  const auto give = [&](std::string_view hub, std::string_view stored, const llmh::LayoutSteps& steps = {}) {
    llmh_name_rule rule{};
    rule.struct_size = sizeof rule;
    rule.n_steps = static_cast<uint32_t>(steps.size());
    rule.hub_name = llmh::str(hub);
    rule.stored_name = llmh::str(stored);
    rule.steps = steps.data();
    plugin::check(map.sink()->map(map.sink(), &rule));
  };
  CHECK_THROWS_WITH_AS(give("a.{i}.{j}", "b.{i}"), doctest::Contains("has an index {j} of its own"), Error);
  CHECK_THROWS_WITH_AS(give("a.{i}", "b.{i}.{i}"), doctest::Contains("'{i}' may stand there once"), Error);
  CHECK_THROWS_WITH_AS(give("a.{i}", "b.{i}{j}"), doctest::Contains("'{i}' may stand there once"), Error);
  CHECK_THROWS_WITH_AS(give("a", "b", {{99, 0, 0, 0, 0}}),
                       doctest::Contains("layout 99 is newer than this host"), Error);
  give("a.{i}", "b.{i}.{j}");  // an index that the Hub's name does not need
}

}  // namespace
}  // namespace llmhost::model
