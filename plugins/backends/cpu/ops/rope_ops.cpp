// ROPE and ROPE_ANGLES. The frequencies are computed as the Hub's Python code does, in f32 and in its order.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/op.h"

namespace llmhost::cpu {
namespace {

// --- ROPE
// --------------------------------------------------------------------------------------------------------

bool supports_rope(const NodeView& view) {
  const auto a = llmh::node_attrs<llmh_rope_attrs>(*view.node);
  return view.node->n_inputs == 3 && all_f32(view) && a.n_heads > 0 && a.head_dim > 0 && a.rotary_dim >= 0 &&
         a.rotary_dim % 2 == 0 && a.rotary_dim <= a.head_dim &&
         (a.style == LLMH_ROPE_HALVES || a.style == LLMH_ROPE_INTERLEAVED);
}

void run_rope(const RunContext& context, const Call& call) {
  const auto a = llmh::node_attrs<llmh_rope_attrs>(*call.node);
  const float* x = context.floats(call.inputs[0]);
  const float* cos = context.floats(call.inputs[1]);
  const float* sin = context.floats(call.inputs[2]);
  float* y = context.out(call.outputs[0]);
  const int64_t pairs = a.rotary_dim / 2;
  const int64_t width = int64_t{a.n_heads} * a.head_dim;
  const auto rest = static_cast<size_t>(a.head_dim - a.rotary_dim) * sizeof(float);
  const auto rotate =
      a.style == LLMH_ROPE_HALVES ? context.kernels.rope.halves : context.kernels.rope.interleaved;
  context.parallel_ranges(context.shape(call.inputs[0]).rows(), kGrain / width + 1,
                          [&](int64_t begin, int64_t end, int32_t) {
                            for (int64_t t = begin; t < end; ++t) {
                              for (int32_t h = 0; h < a.n_heads; ++h) {
                                const int64_t at = t * width + int64_t{h} * a.head_dim;
                                rotate(x + at, cos + t * pairs, sin + t * pairs, pairs, y + at);
                                if (rest != 0)
                                  std::memcpy(y + at + a.rotary_dim, x + at + a.rotary_dim, rest);
                              }
                            }
                          });
}

// --- ROPE_ANGLES
// -------------------------------------------------------------------------------------------------

float base_power(float theta, int64_t i, int32_t rotary_dim) {
  return std::pow(theta, static_cast<float>(2 * i) / static_cast<float>(rotary_dim));
}

// Interpolates by wavelength: short waves stay, long ones are stretched, a smooth ramp lies between.
float banded(const llmh_rope_angles_attrs& a, float frequency) {
  const float wavelength = 2.0F * std::numbers::pi_v<float> / frequency;
  if (wavelength > a.original_context / a.low_freq_factor) return frequency / a.factor;
  if (wavelength < a.original_context / a.high_freq_factor) return frequency;
  const float smooth =
      (a.original_context / wavelength - a.low_freq_factor) / (a.high_freq_factor - a.low_freq_factor);
  return (1.0F - smooth) * frequency / a.factor + smooth * frequency;
}

// The dimension whose wave makes `rotations` turns over the original context.
double yarn_dimension(const llmh_rope_angles_attrs& a, double rotations) {
  const double turns = static_cast<double>(a.original_context) / (rotations * 2.0 * std::numbers::pi);
  return a.rotary_dim * std::log(turns) / (2.0 * std::log(static_cast<double>(a.theta)));
}

void yarn_frequencies(const llmh_rope_angles_attrs& a, float* out) {
  double low = yarn_dimension(a, a.beta_fast);
  double high = yarn_dimension(a, a.beta_slow);
  if (a.truncate != 0) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, a.rotary_dim - 1.0);
  if (low == high) high += 0.001;
  for (int64_t i = 0; i < a.rotary_dim / 2; ++i) {
    const float power = base_power(a.theta, i, a.rotary_dim);
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float keep = 1.0F - std::clamp(ramp, 0.0F, 1.0F);
    out[i] = 1.0F / (a.factor * power) * (1.0F - keep) + 1.0F / power * keep;
  }
}

// Frequencies for sequences within the original context.
void plain_frequencies(const llmh_rope_angles_attrs& a, const float* divisors, float* out) {
  if (a.scaling == LLMH_ROPE_SCALING_YARN) return yarn_frequencies(a, out);
  for (int64_t i = 0; i < a.rotary_dim / 2; ++i) {
    const float power = base_power(a.theta, i, a.rotary_dim);
    out[i] = 1.0F / (divisors == nullptr ? power : divisors[i] * power);
    if (a.scaling == LLMH_ROPE_SCALING_LINEAR) out[i] /= a.factor;
    if (a.scaling == LLMH_ROPE_SCALING_BANDS) out[i] = banded(a, out[i]);
  }
}

// Grown base for a sequence of `length` tokens, more than the original context.
void dynamic_frequencies(const llmh_rope_angles_attrs& a, int32_t length, float* out) {
  const double stretch = static_cast<double>(a.factor) * length / static_cast<double>(a.original_context) -
                         (static_cast<double>(a.factor) - 1.0);
  const double exponent = a.rotary_dim / (a.rotary_dim - 2.0);
  const auto theta = static_cast<float>(static_cast<double>(a.theta) * std::pow(stretch, exponent));
  for (int64_t i = 0; i < a.rotary_dim / 2; ++i) out[i] = 1.0F / base_power(theta, i, a.rotary_dim);
}

bool supports_angles(const NodeView& view) {
  const auto a = llmh::node_attrs<llmh_rope_angles_attrs>(*view.node);
  if (view.node->n_inputs < 2 || view.node->n_outputs != 2) return false;
  if (view.input(0).dtype != LLMH_DTYPE_I32 || view.input(1).dtype != LLMH_DTYPE_I32) return false;
  if (view.has_input(2) && view.input(2).dtype != LLMH_DTYPE_F32) return false;
  if (a.scaling == LLMH_ROPE_SCALING_LONGROPE && (a.short_factors == nullptr || a.long_factors == nullptr))
    return false;
  return a.rotary_dim > 0 && a.rotary_dim % 2 == 0 && a.scaling >= LLMH_ROPE_SCALING_NONE &&
         a.scaling <= LLMH_ROPE_SCALING_LONGROPE;
}

// prepared: the frequencies within the original context, then those beyond it (longrope; else the same).
void prepare_angles(Call& call) {
  const auto a = llmh::node_attrs<llmh_rope_angles_attrs>(*call.node);
  const auto n = static_cast<size_t>(a.rotary_dim) / 2;
  const bool is_long = a.scaling == LLMH_ROPE_SCALING_LONGROPE;
  call.prepared.resize(2 * n);
  plain_frequencies(a, is_long ? a.short_factors : nullptr, call.prepared.data());
  plain_frequencies(a, is_long ? a.long_factors : nullptr, call.prepared.data() + n);
}

ScratchNeed angles_scratch(const NodeView& view, const llmh_limits&) {
  return {.per_thread =
              static_cast<uint64_t>(llmh::node_attrs<llmh_rope_angles_attrs>(*view.node).rotary_dim) *
              sizeof(float)};
}

// The frequencies of a token's length; `scratch` keeps those of a grown base until the length changes.
const float* frequencies_for(const llmh_rope_angles_attrs& a, const Call& call, int32_t length,
                             int32_t& cached, float* scratch) {
  if (static_cast<float>(length) <= a.original_context) return call.prepared.data();
  if (a.scaling == LLMH_ROPE_SCALING_LONGROPE) return call.prepared.data() + a.rotary_dim / 2;
  if (a.scaling != LLMH_ROPE_SCALING_DYNAMIC) return call.prepared.data();
  if (cached != length) dynamic_frequencies(a, length, scratch);
  cached = length;
  return scratch;
}

void run_angles(const RunContext& context, const Call& call) {
  const auto a = llmh::node_attrs<llmh_rope_angles_attrs>(*call.node);
  const int64_t n = a.rotary_dim / 2;
  const float factor = a.attention_factor == 0.0F ? 1.0F : a.attention_factor;
  const int32_t* positions = context.ints(call.inputs[0]);
  const int32_t* lengths = context.ints(call.inputs[1]);
  const float* divisors = context.floats_or_null(call, 2);
  float* cos = context.out(call.outputs[0]);
  float* sin = context.out(call.outputs[1]);
  const int64_t tokens = context.shape(call.inputs[0]).count();
  context.parallel_ranges(tokens, 2048 / n + 1, [&](int64_t begin, int64_t end, int32_t thread) {
    int32_t cached = -1;
    for (int64_t t = begin; t < end; ++t) {
      const float* frequencies = frequencies_for(a, call, lengths[t], cached, context.thread_scratch(thread));
      const auto position = static_cast<float>(positions[t]);
      for (int64_t i = 0; i < n; ++i) {
        const float frequency = divisors == nullptr ? frequencies[i] : frequencies[i] / divisors[i];
        const float angle = position * frequency;
        cos[t * n + i] = std::cos(angle) * factor;
        sin[t * n + i] = std::sin(angle) * factor;
      }
    }
  });
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_ROPE, .supports = supports_rope, .run = run_rope, .is_row_wise = true},
    {LLMH_OP_ROPE_ANGLES, supports_angles, run_angles, angles_scratch, prepare_angles},
};

}  // namespace

OpList rope_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
