#include "peft/saved.h"

namespace peft {
namespace {

std::vector<float> transposed(const float* stored, int64_t rows, int64_t columns) {
  std::vector<float> result(static_cast<size_t>(rows) * static_cast<size_t>(columns));
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      result[static_cast<size_t>(column * rows + row)] = stored[row * columns + column];
  return result;
}

}  // namespace

SavedTensors take_saved(const Module& module, ModuleTensors& tensors) {
  const llmh_base_module& base = *module.base;
  const int64_t n = base.out_features;
  SavedTensors saved;
  if (base.kind == LLMH_MODULE_NORM) {
    saved.weight = tensors.require(Part::kWeight, {n}, module.path()).data;
  } else if (base.kind == LLMH_MODULE_EMBEDDING) {
    saved.weight = tensors.require(Part::kWeight, {base.in_features, n}, module.path()).data;
  } else if ((base.flags & LLMH_MODULE_TRANSPOSED) == 0) {
    saved.weight = tensors.require(Part::kWeight, {n, base.in_features}, module.path()).data;
  } else {
    const float* const stored = tensors.require(Part::kWeight, {base.in_features, n}, module.path()).data;
    saved.own_weight = transposed(stored, base.in_features, n);
  }
  if (base.has_bias != 0) saved.bias = tensors.require(Part::kBias, {n}, module.path()).data;
  return saved;
}

}  // namespace peft
