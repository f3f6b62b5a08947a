#include "model/unlayout.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/dequantize.h"
#include "core/error.h"
#include "model/layout_steps.h"

namespace llmhost::model {
namespace {

// The steps, done to the numbers of the units of a stored tensor: which unit of it each unit of the result
// is. A unit is a row where no step turns rows into columns, else an element.
struct Origins {
  std::vector<uint64_t> units;
  size_t unit_elements = 1;
};

Origins origins_of(const std::vector<llmh_layout_step>& steps, std::vector<int64_t> shape) {
  Origins origins;
  const bool by_rows = shape.size() > 1 && std::none_of(steps.begin(), steps.end(), [](const auto& step) {
                         return step.layout == LLMH_LAYOUT_TRANSPOSED;
                       });
  if (by_rows) {
    origins.unit_elements = static_cast<size_t>(shape.back());
    shape.back() = 1;
  }
  std::vector<uint64_t> numbers(element_count(shape));
  std::iota(numbers.begin(), numbers.end(), uint64_t{0});
  WeightData walked{LLMH_DTYPE_I64, shape, std::as_bytes(std::span(numbers)), {}};
  for (const llmh_layout_step& step : steps) apply_step(step, walked);
  origins.units.resize(walked.bytes.size() / sizeof(uint64_t));
  std::memcpy(origins.units.data(), walked.bytes.data(), walked.bytes.size());
  return origins;
}

void undo(const llmh_layout_step& step, std::vector<int64_t>& shape) {
  switch (step.layout) {
    case LLMH_LAYOUT_SAME:
    case LLMH_LAYOUT_ROTARY_PAIRS:
      return;
    case LLMH_LAYOUT_TRANSPOSED:
      if (shape.size() > 1) std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
      return;
    case LLMH_LAYOUT_SPLIT:
      if (shape.size() < 2 || shape[0] != step.arg0)
        throw_invalid("a tensor of {} parts cannot become one of {} put together",
                      shape.empty() ? 0 : shape[0], step.arg0);
      shape[1] *= shape[0];
      shape.erase(shape.begin());
      return;
    default:
      throw_error(ErrorCode::kUnimplemented,
                  "a part of a fused tensor does not say what the whole is: layout {}", step.layout);
  }
}

}  // namespace

void put_back(const std::vector<llmh_layout_step>& steps, const std::vector<int64_t>& stored_shape,
              size_t element_bytes, std::span<const std::byte> made, std::span<std::byte> stored) {
  if (stored.size() != element_count(stored_shape) * element_bytes)
    throw_error(ErrorCode::kInternal, "{} bytes are not the stored tensor's", stored.size());
  if (steps.empty()) {
    if (made.size() != stored.size())
      throw_error(ErrorCode::kInternal, "{} bytes for a tensor of {}", made.size(), stored.size());
    std::memcpy(stored.data(), made.data(), made.size());
    return;
  }
  const Origins origins = origins_of(steps, stored_shape);
  const size_t size = origins.unit_elements * element_bytes;
  if (made.size() != origins.units.size() * size)
    throw_error(ErrorCode::kInternal, "{} bytes for {} that the layout steps make", made.size(),
                origins.units.size() * size);
  for (size_t i = 0; i < origins.units.size(); ++i)
    std::memcpy(stored.data() + origins.units[i] * size, made.data() + i * size, size);
}

std::vector<int64_t> shape_before(const std::vector<llmh_layout_step>& steps, std::vector<int64_t> shape) {
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) undo(*step, shape);
  return shape;
}

size_t StoredUse::count() const {
  return element_count(tensor->shape) / tensor->parts.size();
}

StoredUses stored_uses(const std::map<std::string, HubTensor, std::less<>>& tensors) {
  StoredUses uses;
  for (const auto& [name, tensor] : tensors)
    for (size_t part = 0; part < tensor.parts.size(); ++part)
      uses[tensor.parts[part]].push_back({name, &tensor, part});
  return uses;
}

std::vector<float> stored_values(const CheckpointTensor& stored) {
  if (!can_dequantize(stored.dtype))
    throw_error(ErrorCode::kUnimplemented, "{}: tensor '{}' of type {} has no conversion to f32", stored.file,
                stored.name, stored.stored_type);
  std::vector<float> values(static_cast<size_t>(stored.element_count()));
  if (stored.decoder == nullptr) {
    dequantize_row(stored.dtype, stored.data().data(), values.data(), values.size());
    return values;
  }
  std::vector<std::byte> decoded(byte_count(stored.dtype, stored.shape));
  stored.decoder->decode(decoded);
  dequantize_row(stored.dtype, decoded.data(), values.data(), values.size());
  return values;
}

void put_back(std::span<const StoredUse> uses,
              const std::function<std::span<const float>(const std::string&)>& values,
              const CheckpointTensor& stored, std::span<float> stored_values) {
  for (const StoredUse& use : uses) {
    const std::span<const float> whole = values(use.hub_name);
    if (whole.empty()) continue;
    if (whole.size() != element_count(use.tensor->shape))
      throw_error(ErrorCode::kInternal, "{} values for '{}', which has {}", whole.size(), use.hub_name,
                  element_count(use.tensor->shape));
    put_back(use.tensor->steps, stored.shape, sizeof(float),
             std::as_bytes(whole.subspan(use.first(), use.count())), std::as_writable_bytes(stored_values));
  }
}

}  // namespace llmhost::model
