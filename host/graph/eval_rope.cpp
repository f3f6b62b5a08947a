// Rotary angles, with the frequencies of Hugging Face transformers 5: f32 where it has f32 tensors, double
// where it has Python numbers.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "graph/eval.h"

namespace llmhost::graph::eval {
namespace {

using Frequencies = std::vector<float>;

// theta^(2i/d), of f32 exponents.
Frequencies powers(double theta, int32_t rotary_dim) {
  Frequencies result(static_cast<size_t>(rotary_dim / 2));
  for (size_t i = 0; i < result.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dim);
    result[i] = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  return result;
}

Frequencies plain(double theta, int32_t rotary_dim) {
  Frequencies result = powers(theta, rotary_dim);
  for (float& value : result) value = 1.0F / value;
  return result;
}

// Grows the base with the length, once that is beyond what the model was trained on.
Frequencies dynamic(const llmh_rope_angles_attrs& attrs, int32_t length) {
  const auto original = static_cast<double>(attrs.original_context);
  const double used = std::max(static_cast<double>(length), original);
  const auto factor = static_cast<double>(attrs.factor);
  const auto dim = static_cast<double>(attrs.rotary_dim);
  const double stretch = factor * used / original - (factor - 1.0);
  return plain(static_cast<double>(attrs.theta) * std::pow(stretch, dim / (dim - 2.0)), attrs.rotary_dim);
}

// Long waves are stretched, short ones kept, those between interpolated.
Frequencies bands(const llmh_rope_angles_attrs& attrs) {
  Frequencies result = plain(static_cast<double>(attrs.theta), attrs.rotary_dim);
  const float longest = attrs.original_context / attrs.low_freq_factor;
  const float shortest = attrs.original_context / attrs.high_freq_factor;
  for (float& frequency : result) {
    const float wavelength = 2.0F * std::numbers::pi_v<float> / frequency;
    if (wavelength > longest) {
      frequency /= attrs.factor;
    } else if (wavelength >= shortest) {
      const float smooth = (attrs.original_context / wavelength - attrs.low_freq_factor) /
                           (attrs.high_freq_factor - attrs.low_freq_factor);
      frequency = (1.0F - smooth) * frequency / attrs.factor + smooth * frequency;
    }
  }
  return result;
}

// The dimension whose wave turns `rotations` times within the original context.
double correction_dim(const llmh_rope_angles_attrs& attrs, float rotations) {
  const double turns = static_cast<double>(rotations) * 2.0 * std::numbers::pi;
  return static_cast<double>(attrs.rotary_dim) *
         std::log(static_cast<double>(attrs.original_context) / turns) /
         (2.0 * std::log(static_cast<double>(attrs.theta)));
}

Frequencies yarn(const llmh_rope_angles_attrs& attrs) {
  double low = correction_dim(attrs, attrs.beta_fast);
  double high = correction_dim(attrs, attrs.beta_slow);
  if (attrs.truncate != 0) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(attrs.rotary_dim - 1));
  if (low == high) high += 0.001;  // no division by zero
  Frequencies result = powers(static_cast<double>(attrs.theta), attrs.rotary_dim);
  for (size_t i = 0; i < result.size(); ++i) {
    const float power = result[i];
    const float position = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.0F - std::clamp(position, 0.0F, 1.0F);
    result[i] = 1.0F / (attrs.factor * power) * (1.0F - kept) + 1.0F / power * kept;
  }
  return result;
}

Frequencies longrope(const llmh_rope_angles_attrs& attrs, int32_t length) {
  const float* factors =
      static_cast<float>(length) > attrs.original_context ? attrs.long_factors : attrs.short_factors;
  Frequencies result = powers(static_cast<double>(attrs.theta), attrs.rotary_dim);
  for (size_t i = 0; i < result.size(); ++i) result[i] = 1.0F / (factors[i] * result[i]);
  return result;
}

Frequencies scaled(const llmh_rope_angles_attrs& attrs, int32_t length) {
  switch (attrs.scaling) {
    case LLMH_ROPE_SCALING_LINEAR: {
      Frequencies result = plain(static_cast<double>(attrs.theta), attrs.rotary_dim);
      for (float& frequency : result) frequency /= attrs.factor;
      return result;
    }
    case LLMH_ROPE_SCALING_DYNAMIC:
      return dynamic(attrs, length);
    case LLMH_ROPE_SCALING_BANDS:
      return bands(attrs);
    case LLMH_ROPE_SCALING_YARN:
      return yarn(attrs);
    case LLMH_ROPE_SCALING_LONGROPE:
      return longrope(attrs, length);
    default:
      return plain(static_cast<double>(attrs.theta), attrs.rotary_dim);
  }
}

}  // namespace

void rope_angles(const NodeCall& call) {
  const auto& attrs = call.as<llmh_rope_angles_attrs>();
  const auto* positions = reinterpret_cast<const int32_t*>(call.in(0).data);
  const auto* lengths = reinterpret_cast<const int32_t*>(call.in(1).data);
  const float factor = attrs.attention_factor == 0 ? 1.0F : attrs.attention_factor;
  const int64_t half = attrs.rotary_dim / 2;
  Frequencies frequencies;
  for (int64_t token = 0; token < call.in(0).count; ++token) {
    if (token == 0 || lengths[token] != lengths[token - 1]) {
      frequencies = scaled(attrs, lengths[token]);
      if (call.has(2)) {
        const Floats divisors(call.in(2));
        for (int64_t i = 0; i < half; ++i) frequencies[static_cast<size_t>(i)] /= divisors[i];
      }
    }
    for (int64_t i = 0; i < half; ++i) {
      const auto angle =
          static_cast<double>(static_cast<float>(positions[token]) * frequencies[static_cast<size_t>(i)]);
      call.out_floats(0)[token * half + i] = static_cast<float>(std::cos(angle)) * factor;
      call.out_floats(1)[token * half + i] = static_cast<float>(std::sin(angle)) * factor;
    }
  }
}

}  // namespace llmhost::graph::eval
