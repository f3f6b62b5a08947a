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

struct StoredTensor {
  std::string name;
  Shape shape;
  llmh_dtype dtype = LLMH_DTYPE_F32;
};

// A checkpoint whose tensors all begin with the same bytes: as f32 the elements 0, 1, 2, ...
class Stored {
 public:
  explicit Stored(const std::vector<StoredTensor>& tensors) {
    std::string name = fs::temp_directory_path() / fs::path("llmhost-names-XXXXXX");
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    std::vector<float> numbers(64);
    std::iota(numbers.begin(), numbers.end(), 0.0F);
    const auto bytes = std::as_bytes(std::span(numbers));
    std::vector<SafetensorsEntry> entries;
    for (const StoredTensor& tensor : tensors)
      entries.push_back(
          {tensor.name, tensor.dtype, tensor.shape, bytes.first(byte_count(tensor.dtype, tensor.shape))});
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
  CHECK(tensors.at("layers.3.experts.12.up.weight").first().name == "blk.3.up.12.weight");
  CHECK(tensors.at("layers.12.experts.3.up.weight").first().name == "blk.12.up.3.weight");
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

TEST_CASE("strided rows take one part of every head, splits make stacks") {
  using llmh::rotary_pairs, llmh::rows, llmh::split, llmh::strided_rows, llmh::transposed;
  CHECK(load({6, 2}, {strided_rows(3, 1, 2)}, {2, 2}) == std::vector<float>{2, 3, 8, 9});
  CHECK(load({6, 1}, {strided_rows(3, 0, 2)}, {4, 1}) == std::vector<float>{0, 1, 3, 4});
  CHECK(load({6}, {strided_rows(2, 1, 2)}, {3}) == std::vector<float>{1, 3, 5});
  CHECK(load({6}, {strided_rows(6, 4, 6)}, {2}) == std::vector<float>{4, 5});
  CHECK(load({4, 2}, {split(2)}, {2, 2, 2}) == std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(load({4}, {split(2), transposed()}, {2, 2}) == std::vector<float>{0, 2, 1, 3});
}

TEST_CASE("of a stack of matrices each one is changed") {
  using llmh::rows, llmh::split, llmh::strided_rows, llmh::transposed;
  CHECK(load({2, 2, 3}, {transposed()}, {2, 3, 2}) ==
        std::vector<float>{0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11});
  CHECK(load({2, 3, 2}, {rows(1, 3)}, {2, 2, 2}) == std::vector<float>{2, 3, 4, 5, 8, 9, 10, 11});
  CHECK(load({2, 4, 1}, {strided_rows(2, 1, 2)}, {2, 2, 1}) == std::vector<float>{1, 3, 5, 7});
  CHECK(load({2, 2, 1}, {strided_rows(2, 1, 2)}, {2, 1, 1}) == std::vector<float>{1, 3});
  CHECK(load({6, 2}, {split(2), rows(2, 3), transposed()}, {2, 2, 1}) == std::vector<float>{4, 5, 10, 11});
  CHECK(load({1, 3, 2}, {rows(1, 2)}, {1, 1, 2}) == std::vector<float>{2, 3});
}

// Larger than a tile on both sides, and no multiple of one.
TEST_CASE("transposing twice gives the same bytes") {
  constexpr int64_t kRows = 70;
  constexpr int64_t kColumns = 45;
  for (const size_t size : {1, 2, 4, 8}) {
    std::vector<std::byte> bytes(static_cast<size_t>(kRows * kColumns) * size);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 2654435761U >> 7);
    const llmh_dtype dtypes[] = {LLMH_DTYPE_I8, LLMH_DTYPE_BF16, LLMH_DTYPE_F32, LLMH_DTYPE_F64};
    const llmh_dtype dtype = dtypes[size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3];
    WeightData weight{dtype, {kRows, kColumns}, bytes, {}};
    apply_step(llmh::transposed(), weight);
    CHECK(weight.shape == Shape{kColumns, kRows});
    CHECK(std::memcmp(weight.bytes.data() + 3 * size, bytes.data() + 3 * kColumns * size, size) == 0);
    apply_step(llmh::transposed(), weight);
    CHECK(std::memcmp(weight.bytes.data(), bytes.data(), bytes.size()) == 0);
  }
}

// A matrix [8,32] of q8_0, a block each row: the scale is 1, the elements of row r are 4 r + column / 8.
std::vector<std::byte> quantised_rows() {
  std::vector<std::byte> bytes;
  for (int row = 0; row < 8; ++row) {
    bytes.insert(bytes.end(), {std::byte{0x00}, std::byte{0x3C}});
    for (int column = 0; column < 32; ++column) bytes.push_back(static_cast<std::byte>(row * 4 + column / 8));
  }
  return bytes;
}

TEST_CASE("quantised rows stay whole where they can, and are decoded where not") {
  using llmh::rotary_pairs, llmh::rows, llmh::split, llmh::strided_rows, llmh::transposed;
  const std::vector<std::byte> bytes = quantised_rows();
  const CheckpointTensor stored{"stored", "file", "q8_0", LLMH_DTYPE_Q8_0, {8, 32}, bytes};
  const auto tensor = [&](const llmh::LayoutSteps& steps) { return hub_tensor(stored, steps); };
  for (const auto& steps : std::vector<llmh::LayoutSteps>{
           {rows(2, 4)}, {strided_rows(4, 1, 3)}, {rotary_pairs(2)}, {split(2), rows(1, 3)}}) {
    const HubTensor kept = tensor(steps);
    CHECK(kept.dtype == LLMH_DTYPE_Q8_0);
    const WeightData weight = load_weight(kept, LLMH_USE_LINEAR);
    CHECK(weight.dtype == LLMH_DTYPE_Q8_0);
    CHECK(weight.owned.size() == copied_bytes(kept, LLMH_USE_LINEAR));
    CHECK(weight.bytes.size() == byte_count(LLMH_DTYPE_Q8_0, kept.shape));
  }
  CHECK(load_weight(tensor({strided_rows(4, 1, 3)}), LLMH_USE_LINEAR).bytes[2 * 34 + 2] == std::byte{5 * 4});
  CHECK(copied_bytes(tensor({rows(2, 4)}), LLMH_USE_LINEAR) == 0);

  const HubTensor turned = tensor({rows(2, 4), transposed()});
  CHECK(turned.dtype == LLMH_DTYPE_F32);
  CHECK(turned.shape == Shape{32, 2});
  const std::vector<float> values = load(turned);
  CHECK(values[0] == 8.0F);
  CHECK(values[1] == 12.0F);
  CHECK(values[63] == 15.0F);
}

TEST_CASE("an index that only the stored name has makes a stack") {
  const Stored model({{"layers.0.experts.10.w", {2, 1}},
                      {"layers.0.experts.9.w", {2, 1}},
                      {"layers.0.experts.8.w", {2, 1}},
                      {"layers.0.experts.7.w", {2, 1}},
                      {"layers.0.experts.6.w", {2, 1}},
                      {"layers.0.experts.5.w", {2, 1}},
                      {"layers.0.experts.4.w", {2, 1}},
                      {"layers.0.experts.3.w", {2, 1}},
                      {"layers.0.experts.2.w", {2, 1}},
                      {"layers.0.experts.1.w", {2, 1}},
                      {"layers.0.experts.0.w", {2, 1}},
                      {"layers.1.experts.0.w", {2, 1}}});
  NameMap map;
  llmh::Names(map.sink(), false).map("layers.{i}.up", "layers.{i}.experts.{j}.w", {llmh::rows(1, 2)});
  const auto tensors = map.apply(model.checkpoint());
  REQUIRE(tensors.size() == 2);
  const HubTensor& stacked = tensors.at("layers.0.up");
  CHECK(stacked.shape == Shape{11, 1, 1});
  REQUIRE(stacked.parts.size() == 11);
  CHECK(stacked.parts[2]->name == "layers.0.experts.2.w");
  CHECK(stacked.parts[10]->name == "layers.0.experts.10.w");
  CHECK(load(stacked) == std::vector<float>(11, 1.0F));
  CHECK(tensors.at("layers.1.up").shape == Shape{1, 1, 1});
  CHECK(copied_bytes(tensors.at("layers.1.up"), LLMH_USE_LINEAR) == 0);
  CHECK(stacked.stored_bytes() == 11 * 2 * sizeof(float));
}

// The message that the rule "e" <- "e.{j}" gets.
std::string stack_refusal(const std::vector<StoredTensor>& tensors) {
  const Stored model(tensors);
  NameMap map;
  llmh::Names(map.sink(), false).map("e", "e.{j}");
  try {
    map.apply(model.checkpoint());
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("stacks with gaps, other shapes or a second source are refused") {
  const auto says = [](const std::string& message, const std::string& part) {
    CAPTURE(message);
    CHECK(message.find(part) != std::string::npos);
  };
  CHECK(stack_refusal({{"other", {1}}}).empty());
  says(stack_refusal({{"e.0", {1}}, {"e.2", {1}}}),
       "'e.2' has the index 2 in what is stacked as 'e', but there is none with 1");
  says(stack_refusal({{"e.1", {1}}}), "there is none with 0");
  says(stack_refusal({{"e.0", {1, 2}}, {"e.1", {2, 1}}}),
       "'e.1' gives [2,1], but 'e.0', with which it is stacked as 'e', gives [1,2]");
  says(stack_refusal({{"e.0", {1}}, {"e.00", {1}}}), "both stand for 'e'");
  says(stack_refusal({{"e.0", {1}}, {"e", {1}}}), "both stand for 'e'");
  says(stack_refusal({{"e.99999999999999999999999", {1}}}), "is too large");
}

TEST_CASE("parts of different types become f32") {
  // The bytes of 0 and 1 as f32, read as bf16: 0, 0, 0, 1.
  const Stored model({{"e.0", {4}}, {"e.1", {4}, LLMH_DTYPE_BF16}});
  NameMap map;
  llmh::Names(map.sink(), false).map("e", "e.{j}");
  const auto tensors = map.apply(model.checkpoint());
  CHECK(tensors.at("e").dtype == LLMH_DTYPE_F32);
  CHECK(load(tensors.at("e")) == std::vector<float>{0, 1, 2, 3, 0, 0, 0, 1});
}

TEST_CASE("a stored name that is the Hub name of a rule is refused beside what the rule gives") {
  const Stored model({{"hub", {1}}, {"old.hub", {1}}});
  NameMap map;
  llmh::Names(map.sink(), false).map("hub", "old.hub");
  CHECK_THROWS_WITH_AS(map.apply(model.checkpoint()),
                       doctest::Contains("'hub' and 'old.hub' both stand for 'hub'"), Error);
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
  CHECK(refusal({llmh::strided_rows(2, 0, 1)}).find("no rows 0 to 1 of each 2") != std::string::npos);
  CHECK(refusal({llmh::strided_rows(3, 2, 4)}).find("no rows 2 to 4 of each 3") != std::string::npos);
  CHECK(refusal({llmh::strided_rows(0, 0, 0)}).find("of each 0") != std::string::npos);
  CHECK(refusal({llmh::split(2)}).find("cannot be split into 2 parts") != std::string::npos);
  CHECK(refusal({llmh::split(0)}).find("cannot be split into 0 parts") != std::string::npos);
  CHECK(refusal({llmh::split(1), llmh::split(1), llmh::split(1), llmh::split(1), llmh::split(1)})
            .find("cannot be split") != std::string::npos);
  CHECK(refusal({llmh::split(3), llmh::split(1), llmh::transposed()}).find("stacks of matrices") !=
        std::string::npos);
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
