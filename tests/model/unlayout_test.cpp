// The way back to what is stored: what the layout steps make, put back, makes the same again, and nothing
// else changes.
#include "model/unlayout.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "llmhost/arch.hpp"
#include "model/layout_steps.h"
#include "model/weights.h"

namespace llmhost::model {
namespace {

using Shape = std::vector<int64_t>;

std::vector<float> made_of(const std::vector<llmh_layout_step>& steps, const Shape& shape,
                           const std::vector<float>& stored) {
  WeightData weight{LLMH_DTYPE_F32, shape, std::as_bytes(std::span(stored)), {}};
  for (const llmh_layout_step& step : steps) apply_step(step, weight);
  std::vector<float> values(weight.bytes.size() / sizeof(float));
  std::memcpy(values.data(), weight.bytes.data(), weight.bytes.size());
  return values;
}

std::vector<float> numbered(const Shape& shape) {
  std::vector<float> values(element_count(shape));
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

}  // namespace

TEST_CASE("what the steps make goes back to where it came from") {
  using llmh::rotary_pairs, llmh::rows, llmh::split, llmh::strided_rows, llmh::transposed;
  const struct {
    Shape shape;
    std::vector<llmh_layout_step> steps;
  } cases[] = {{{8, 3}, {}},
               {{8, 3}, {rotary_pairs(2)}},
               {{8}, {rotary_pairs(1)}},
               {{8, 2, 3}, {rotary_pairs(2)}},
               {{5, 3}, {transposed()}},
               {{5}, {transposed()}},
               {{2, 5, 3}, {transposed()}},
               {{12, 2}, {rows(4, 8), rotary_pairs(1)}},
               {{2, 8}, {transposed(), rows(4, 8), rotary_pairs(1)}},
               {{12, 2}, {strided_rows(6, 2, 4)}},
               {{2, 6, 2}, {strided_rows(3, 1, 2)}},
               {{6, 2}, {split(3)}},
               {{4}, {split(2), transposed()}},
               {{6, 4}, {split(2), rows(1, 3), transposed()}}};
  for (const auto& one : cases) {
    CAPTURE(one.shape.size());
    CAPTURE(one.steps.size());
    const std::vector<float> before = numbered(one.shape);
    std::vector<float> made = made_of(one.steps, one.shape, before);
    for (float& value : made) value += 1000;
    std::vector<float> stored = before;
    put_back(one.steps, one.shape, sizeof(float), std::as_bytes(std::span(made)),
             std::as_writable_bytes(std::span(stored)));
    CHECK(made_of(one.steps, one.shape, stored) == made);
    size_t changed = 0;
    for (size_t i = 0; i < stored.size(); ++i) {
      changed += stored[i] != before[i] ? 1 : 0;
      const bool is_kept_or_marked = stored[i] == before[i] || stored[i] == before[i] + 1000;
      CHECK(is_kept_or_marked);
    }
    CHECK(changed == made.size());
  }
}

TEST_CASE("elements of any size go back") {
  const std::vector<llmh_layout_step> steps = {llmh::transposed()};
  const Shape shape = {3, 2};
  std::vector<uint16_t> stored(6, 0);
  const std::vector<uint16_t> made = {1, 2, 3, 4, 5, 6};
  put_back(steps, shape, 2, std::as_bytes(std::span(made)), std::as_writable_bytes(std::span(stored)));
  CHECK(stored == std::vector<uint16_t>{1, 4, 2, 5, 3, 6});
  CHECK_THROWS_AS(
      put_back(steps, shape, 4, std::as_bytes(std::span(made)), std::as_writable_bytes(std::span(stored))),
      Error);
  CHECK_THROWS_AS(put_back(steps, shape, 2, std::as_bytes(std::span(made)).first(4),
                           std::as_writable_bytes(std::span(stored))),
                  Error);
}

TEST_CASE("shapes before the steps") {
  using llmh::rotary_pairs, llmh::rows, llmh::split, llmh::transposed;
  CHECK(shape_before({rotary_pairs(2)}, {8, 3}) == Shape{8, 3});
  CHECK(shape_before({transposed()}, {8, 3}) == Shape{3, 8});
  CHECK(shape_before({transposed()}, {8}) == Shape{8});
  CHECK(shape_before({split(4), transposed()}, {4, 5, 3}) == Shape{12, 5});
  CHECK_THROWS_AS(shape_before({rows(0, 4)}, {4, 3}), Error);
  CHECK_THROWS_AS(shape_before({split(3)}, {4, 3}), Error);
}

TEST_CASE("stacked and fused tensors: each stored one gets its part") {
  using llmh::rows;
  const Shape shape = {4, 2};
  const std::vector<float> values = numbered(shape);
  const auto bytes = std::as_bytes(std::span(values));
  const CheckpointTensor fused{"fused", "file", "F32", LLMH_DTYPE_F32, shape, bytes};
  const CheckpointTensor first{"e.0", "file", "F32", LLMH_DTYPE_F32, shape, bytes};
  const CheckpointTensor second{"e.1", "file", "F32", LLMH_DTYPE_F32, shape, bytes};
  std::map<std::string, HubTensor, std::less<>> tensors;
  tensors["a"] = hub_tensor(fused, {rows(0, 1)});
  tensors["b"] = hub_tensor(fused, {rows(1, 4)});
  tensors["experts"] = HubTensor{{&first, &second}, {}, true, {2, 4, 2}, LLMH_DTYPE_F32};
  const StoredUses uses = stored_uses(tensors);
  CHECK(uses.at(&fused).size() == 2);
  const std::vector<float> b = {-1, -2, -3, -4, -5, -6};
  std::vector<float> experts(16);
  std::iota(experts.begin(), experts.end(), 100.0F);
  const auto replaced = [&](const std::string& name) -> std::span<const float> {
    if (name == "b") return b;
    return name == "experts" ? std::span<const float>(experts) : std::span<const float>();
  };
  std::vector<float> stored = stored_values(fused);
  put_back(uses.at(&fused), replaced, fused, stored);
  CHECK(stored == std::vector<float>{0, 1, -1, -2, -3, -4, -5, -6});
  stored = stored_values(second);
  put_back(uses.at(&second), replaced, second, stored);
  CHECK(stored == std::vector<float>(experts.begin() + 8, experts.end()));
}

}  // namespace llmhost::model
