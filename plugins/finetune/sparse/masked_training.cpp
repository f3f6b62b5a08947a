#include "masked_training.h"

#include <charconv>
#include <cmath>

namespace sparse {
namespace {

constexpr std::string_view kMagic = "masks 1\n";

[[noreturn]] void refuse(const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, what);
}

void put(std::string& out, uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>(value >> shift & 0xFF);
}

// Takes whole numbers and bits off the front of a state.
class StateReader {
 public:
  explicit StateReader(std::string_view state) : left_(state) {
    if (!left_.starts_with(kMagic)) refuse("the saved state is not one of masks");
    left_.remove_prefix(kMagic.size());
  }
  uint64_t number() {
    const std::string_view bytes = take(8);
    uint64_t value = 0;
    for (size_t i = 8; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }
  Mask mask(uint64_t n) {
    if (n / 8 > left_.size()) refuse("the saved state of the masks is cut off");
    const std::string_view bytes = take((n + 7) / 8);
    Mask mask(n, 0);
    for (size_t i = 0; i < n; ++i) mask[i] = static_cast<unsigned char>(bytes[i / 8]) >> (7 - i % 8) & 1;
    return mask;
  }
  bool is_done() const { return left_.empty(); }
  size_t left() const { return left_.size(); }

 private:
  std::string_view take(size_t n) {
    if (n > left_.size()) refuse("the saved state of the masks is cut off");
    const std::string_view bytes = left_.substr(0, n);
    left_.remove_prefix(n);
    return bytes;
  }
  std::string_view left_;
};

void check_finite(std::span<const float> values, std::string_view name, const char* what) {
  for (const float value : values)
    if (!std::isfinite(value))
      refuse("'" + std::string(name) + "': its " + what + " has a value that is not finite");
}

// [columns,rows] of [rows,columns].
template <typename T>
std::vector<T> transposed(std::span<const T> values, size_t rows) {
  const size_t columns = rows == 0 ? 0 : values.size() / rows;
  std::vector<T> result(values.size());
  for (size_t row = 0; row < rows; ++row)
    for (size_t column = 0; column < columns; ++column)
      result[column * rows + row] = values[row * columns + column];
  return result;
}

size_t rows_of(const llmh::TunedTensor& tensor) {
  return static_cast<size_t>(tensor.shape[0]);
}
size_t columns_of(const llmh::TunedTensor& tensor) {
  return static_cast<size_t>(tensor.shape[1]);
}

}  // namespace

void parse_type(const std::string& text, MaskOptions& options) {
  if (text == "unstructured") return;
  const size_t colon = text.find(':');
  const auto read = [](std::string_view part, int64_t& out) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), out);
    return error == std::errc() && end == part.data() + part.size();
  };
  const bool is_read = colon != std::string::npos &&
                       read(std::string_view(text).substr(0, colon), options.kept) &&
                       read(std::string_view(text).substr(colon + 1), options.group);
  if (!is_read || options.kept < 1 || options.group <= options.kept || options.group > 64)
    refuse("method: sparsity_type is '" + text +
           "', expected unstructured, or how many of how many neighbours stay, as in '2:4'");
}

void MaskedTraining::start(std::span<const llmh::TunedTensor> tensors) {
  masks_.assign(tensors.size(), {});
  for (size_t i = 0; i < tensors.size(); ++i) {
    const llmh::TunedTensor& tensor = tensors[i];
    if (options_.sparsity == 0 || tensor.shape.size() != 2) continue;
    if (tensor.value.size() > UINT32_MAX)
      refuse("'" + std::string(tensor.name) + "' has too many entries for a mask");
    check_finite(tensor.value, tensor.name, "weight");
    masks_[i] = first_mask(tensor);
  }
  after_update(tensors);
}

Mask MaskedTraining::first_mask(const llmh::TunedTensor& tensor) const {
  if (options_.group != 0)
    return group_mask(tensor.value, static_cast<size_t>(options_.kept), static_cast<size_t>(options_.group));
  if (!transposed_.contains(tensor.name)) return magnitude_mask(tensor.value, options_.sparsity);
  const auto stored = transposed<float>(tensor.value, rows_of(tensor));
  return transposed<uint8_t>(magnitude_mask(stored, options_.sparsity), columns_of(tensor));
}

Mask MaskedTraining::next_mask(const llmh::TunedTensor& tensor, const Mask& mask, double fraction) const {
  if (!transposed_.contains(tensor.name)) return moved_mask(tensor.value, tensor.gradient, mask, fraction);
  const size_t rows = rows_of(tensor);
  return transposed<uint8_t>(
      moved_mask(transposed<float>(tensor.value, rows), transposed<float>(tensor.gradient, rows),
                 transposed<uint8_t>(mask, rows), fraction),
      columns_of(tensor));
}

void MaskedTraining::check(std::span<const llmh::TunedTensor> tensors) const {
  bool fits = masks_.size() == tensors.size();
  for (size_t i = 0; fits && i < masks_.size(); ++i)
    fits = masks_[i].empty() || masks_[i].size() == tensors[i].value.size();
  if (!fits) refuse("the masks are those of another model or of other modules");
}

bool MaskedTraining::before_update(const llmh_step_info& step, std::span<const llmh::TunedTensor> tensors) {
  check(tensors);
  const int64_t end = options_.end > 0 ? options_.end : step.n_steps * 3 / 4;
  const bool is_update = options_.moves && step.step % options_.interval == 0 && step.step < end;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (masks_[i].empty()) continue;
    const Mask before = masks_[i];
    if (is_update) move(step, end, tensors[i], masks_[i]);
    // What is reported of the step is the gradient of what was active in it.
    clear_inactive(before, tensors[i].gradient);
  }
  return !is_update;
}

// A grown entry starts at zero without moments, unless it was only just dropped.
void MaskedTraining::move(const llmh_step_info& step, int64_t end, const llmh::TunedTensor& tensor,
                          Mask& mask) {
  check_finite(tensor.gradient, tensor.name, "gradient");
  check_finite(tensor.value, tensor.name, "weight");
  const double fraction = update_fraction(options_.fraction, step.step, end);
  Mask moved = next_mask(tensor, mask, fraction);
  Mask stays(mask.size());
  for (size_t i = 0; i < mask.size(); ++i) stays[i] = mask[i] & moved[i];
  for (const std::span<float> values : {tensor.value, tensor.first_moment, tensor.second_moment})
    clear_inactive(stays, values);
  mask = std::move(moved);
}

void MaskedTraining::after_update(std::span<const llmh::TunedTensor> tensors) {
  check(tensors);
  for (size_t i = 0; i < tensors.size(); ++i)
    if (!masks_[i].empty()) clear_inactive(masks_[i], tensors[i].value);
}

std::string MaskedTraining::state() const {
  std::string out(kMagic);
  put(out, masks_.size());
  for (const Mask& mask : masks_) {
    put(out, mask.size());
    std::string bits((mask.size() + 7) / 8, '\0');
    for (size_t i = 0; i < mask.size(); ++i)
      if (mask[i] != 0) bits[i / 8] = static_cast<char>(bits[i / 8] | 0x80 >> i % 8);
    out += bits;
  }
  return out;
}

void MaskedTraining::set_state(std::string_view state) {
  StateReader reader(state);
  const uint64_t n = reader.number();
  if (n > reader.left() / 8) refuse("the saved state of the masks is cut off");
  std::vector<Mask> masks;
  for (uint64_t i = 0; i < n; ++i) masks.push_back(reader.mask(reader.number()));
  if (!reader.is_done()) refuse("the saved state of the masks has bytes left over");
  masks_ = std::move(masks);
}

}  // namespace sparse
