#include "train/parameter_memory.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/error.h"
#include "core/sha256.h"

namespace llmhost::train {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr std::string_view kGradient = ".gradient";

uint64_t aligned_bytes(uint64_t count) {
  return (count * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
}

// Numbers by counter: element i of a parameter does not depend on the others.
class CounterRandom {
 public:
  CounterRandom(uint64_t seed, std::string_view name) : key_(seed) {
    const Sha256Digest digest = sha256(name);
    uint64_t hash = 0;
    for (size_t i = 0; i < 8; ++i) hash = hash << 8 | digest[i];
    key_ = mix(key_ + 0x9E3779B97F4A7C15ULL) ^ hash;
  }

  // In (0, 1), of 52 bits.
  double uniform(uint64_t index) const {
    const uint64_t bits = mix(key_ + 0x9E3779B97F4A7C15ULL * (index + 1)) >> 12;
    return (static_cast<double>(bits) + 0.5) * 0x1p-52;
  }

 private:
  // The finaliser of SplitMix64 (Steele et al. 2014).
  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }

  uint64_t key_;
};

}  // namespace

uint64_t ParameterMemory::bytes(const std::vector<uint64_t>& counts) {
  uint64_t total = 0;
  for (const uint64_t count : counts)
    if (count > UINT64_MAX / 8 || __builtin_add_overflow(total, aligned_bytes(count), &total))
      throw_error(ErrorCode::kResourceExhausted, "what is trained needs more than 64 bits count");
  return total;
}

ParameterMemory::ParameterMemory(const engine::Device& device, std::vector<std::string> names,
                                 const std::vector<uint64_t>& counts)
    : names_(std::move(names)) {
  if (!device.host_visible())
    throw_error(ErrorCode::kUnimplemented,
                "backend '{}' cannot train: the CPU does not see the memory of {}; choose another with "
                "backend.name",
                device.plugin_id(), device.name());
  const uint64_t total = bytes(counts);
  uint64_t offset = 0;
  for (const uint64_t count : counts) {
    places_.push_back({offset, count});
    offset += aligned_bytes(count);
  }
  values_ = engine::DeviceBuffer(device, total, LLMH_BUFFER_WEIGHTS, "trained tensors");
  gradients_ = engine::DeviceBuffer(device, total, LLMH_BUFFER_WEIGHTS, "gradients");
  values_.make_resident();
  gradients_.make_resident();
}

std::span<float> ParameterMemory::value(size_t index) const {
  const Place& place = places_.at(index);
  return {static_cast<float*>(values_.map()) + place.offset / sizeof(float), place.count};
}

std::span<float> ParameterMemory::gradient(size_t index) const {
  const Place& place = places_.at(index);
  return {static_cast<float*>(gradients_.map()) + place.offset / sizeof(float), place.count};
}

std::span<float> ParameterMemory::all_gradients() const {
  return {static_cast<float*>(gradients_.map()), gradients_.bytes() / sizeof(float)};
}

std::vector<llmh_range> ParameterMemory::ranges(const graph::Graph& graph) const {
  std::vector<llmh_range> ranges(graph.tensor_count(), llmh_range{});
  for (size_t i = 0; i < names_.size(); ++i) {
    const uint64_t n = places_[i].count * sizeof(float);
    if (const llmh_tensor value = graph.find(names_[i]); value != LLMH_NO_TENSOR)
      ranges[static_cast<size_t>(value)] = values_.range(places_[i].offset, n);
    const llmh_tensor gradient = graph.find(names_[i] + std::string(kGradient));
    if (gradient != LLMH_NO_TENSOR)
      ranges[static_cast<size_t>(gradient)] = gradients_.range(places_[i].offset, n);
  }
  return ranges;
}

void init_parameter(const graph::ParameterInit& init, std::string_view name, std::span<const int64_t> shape,
                    uint64_t seed, std::span<float> out) {
  const CounterRandom random(seed, name);
  switch (init.kind) {
    case LLMH_INIT_DATA:
      std::ranges::copy(init.data, out.begin());
      return;
    case LLMH_INIT_ONES:
      std::ranges::fill(out, 1.0F);
      return;
    case LLMH_INIT_NORMAL:  // Box and Muller 1958
      for (size_t i = 0; i < out.size(); ++i) {
        const double radius = std::sqrt(-2 * std::log(random.uniform(2 * i)));
        const double angle = 2 * std::numbers::pi * random.uniform(2 * i + 1);
        out[i] = static_cast<float>(static_cast<double>(init.value) * radius * std::cos(angle));
      }
      return;
    case LLMH_INIT_KAIMING_UNIFORM: {
      const double fan_in = shape.empty() ? 1 : std::max(static_cast<double>(shape.back()), 1.0);
      const double slope = static_cast<double>(init.value);
      const double bound = std::sqrt(6 / ((1 + slope * slope) * fan_in));
      for (size_t i = 0; i < out.size(); ++i)
        out[i] = static_cast<float>(bound * (2 * random.uniform(i) - 1));
      return;
    }
    default:
      std::ranges::fill(out, 0.0F);
  }
}

}  // namespace llmhost::train
