#include "engine/adapter_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/sha256.h"

namespace llmhost::engine {
namespace {

constexpr size_t kMaxParts = 32;

// SplitMix64 (Steele, Lea, Flood 2014): every value is a hash of the seed and a counter.
class Draws {
 public:
  explicit Draws(uint64_t seed) : state_(seed) {}
  double next() {
    state_ += 0x9E3779B97F4A7C15U;
    uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return static_cast<double>((z ^ (z >> 31U)) >> 11U) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

// The values of one factor in all adapters, in their order.
using Factors = std::vector<std::vector<float>>;

// Keeps the largest values; of equal ones those that come first.
void prune_small(std::vector<float>& values, double density) {
  const auto kept = static_cast<size_t>(density * static_cast<double>(values.size()));
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto is_larger = [&](size_t a, size_t b) {
    const float x = std::abs(values[a]);
    const float y = std::abs(values[b]);
    return x > y || (x == y && a < b);
  };
  std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), is_larger);
  for (size_t i = kept; i < order.size(); ++i) values[order[i]] = 0;
}

void prune_randomly(std::vector<float>& values, double density, Draws& draws) {
  for (float& value : values) value = draws.next() < density ? value / static_cast<float>(density) : 0.0F;
}

std::vector<float> weighted_sum(const Factors& factors, const std::vector<float>& weights) {
  std::vector<float> sum(factors.front().size(), 0.0F);
  for (size_t i = 0; i < factors.size(); ++i)
    for (size_t k = 0; k < sum.size(); ++k) sum[k] += factors[i][k] * weights[i];
  return sum;
}

// The mean of the values that have the majority's sign.
std::vector<float> elected_mean(const Factors& factors, const std::vector<float>& weights,
                                MajoritySign method) {
  const auto sign = [](float value) { return static_cast<float>((value > 0) - (value < 0)); };
  std::vector<float> result(factors.front().size());
  for (size_t k = 0; k < result.size(); ++k) {
    float total = 0;
    for (const auto& factor : factors) total += method == MajoritySign::kTotal ? factor[k] : sign(factor[k]);
    const float majority = total >= 0 ? 1.0F : -1.0F;
    float sum = 0;
    float count = 0;
    for (size_t i = 0; i < factors.size(); ++i) {
      if (sign(factors[i][k]) != majority) continue;
      sum += factors[i][k] * weights[i];
      count += 1;
    }
    result[k] = sum / std::max(count, 1.0F);
  }
  return result;
}

std::vector<float> combined(const AdapterMerge& merge, Factors factors, const std::vector<float>& weights,
                            Draws& draws) {
  const MergeStrategy strategy = merge.parts.size() == 1 ? MergeStrategy::kLinear : merge.strategy;
  const bool is_random = strategy == MergeStrategy::kDareLinear || strategy == MergeStrategy::kDareTies;
  if (merge.density < 1 && strategy != MergeStrategy::kLinear)
    for (std::vector<float>& factor : factors) {
      if (is_random)
        prune_randomly(factor, merge.density, draws);
      else
        prune_small(factor, merge.density);
    }
  const bool is_sum = strategy == MergeStrategy::kLinear || strategy == MergeStrategy::kDareLinear;
  return is_sum ? weighted_sum(factors, weights) : elected_mean(factors, weights, merge.majority_sign);
}

// What of one module is merged.
struct Parts {
  std::vector<const ModuleDelta*> deltas;
  std::vector<double> weights;  // with the adapters' scales
};

void check_plain(const ModuleDelta& delta, const std::string& name) {
  if (delta.rank == 0 || !delta.row_scale.empty() || !delta.b_bias.empty() || !delta.weight.empty() ||
      !delta.bias.empty())
    throw_error(
        ErrorCode::kUnimplemented,
        "'{}' has more than low-rank branches (row factors, biases or whole modules), which cannot be merged",
        name);
}

// The root of the weight goes to each factor, the sign to one.
ModuleDelta merged_module(const AdapterMerge& merge, const Parts& parts, Draws& draws) {
  ModuleDelta result;
  result.module = parts.deltas.front()->module;
  result.rank = parts.deltas.front()->rank;
  result.scale = 1;
  Factors a;
  Factors b;
  std::vector<float> a_weights;
  std::vector<float> b_weights;
  for (size_t i = 0; i < parts.deltas.size(); ++i) {
    const ModuleDelta& delta = *parts.deltas[i];
    if (delta.rank != result.rank)
      throw_invalid("merged adapters must have the same rank in every module; here they have {} and {}",
                    result.rank, delta.rank);
    const double root = std::sqrt(std::abs(parts.weights[i]));
    a.push_back(delta.a);
    b.push_back(delta.b);
    a_weights.push_back(static_cast<float>(parts.weights[i] >= 0 ? root : -root));
    b_weights.push_back(static_cast<float>(root));
  }
  result.a = combined(merge, std::move(a), a_weights, draws);
  result.b = combined(merge, std::move(b), b_weights, draws);
  return result;
}

std::string described(const AdapterMerge& merge) {
  return fmt::format("merge/1 {} {} {:a} {}", static_cast<int>(merge.strategy),
                     static_cast<int>(merge.majority_sign), merge.density, merge.seed);
}

}  // namespace

std::optional<MergeStrategy> parse_merge_strategy(std::string_view text) {
  if (text == "linear") return MergeStrategy::kLinear;
  if (text == "ties") return MergeStrategy::kTies;
  if (text == "dare_linear") return MergeStrategy::kDareLinear;
  if (text == "dare_ties") return MergeStrategy::kDareTies;
  return std::nullopt;
}

std::optional<MajoritySign> parse_majority_sign(std::string_view text) {
  if (text == "total") return MajoritySign::kTotal;
  if (text == "frequency") return MajoritySign::kFrequency;
  return std::nullopt;
}

void AdapterMerge::validate() const {
  if (parts.empty() || parts.size() > kMaxParts)
    throw_invalid("ids: got {} adapters, expected 1 to {}", parts.size(), kMaxParts);
  for (const Part& part : parts)
    if (!(std::abs(part.weight) <= 1e6))
      throw_invalid("weights: got {}, expected numbers up to 1e6", part.weight);
  if (!(density > 0 && density <= 1))
    throw_invalid("density: got {}, expected above 0 and at most 1", density);
}

std::string AdapterMerge::key() const {
  std::string text = described(*this);
  for (const Part& part : parts) text += fmt::format("\n{:a} {}", part.weight, part.name);
  return "merged-" + to_hex(sha256(text)).substr(0, 32);
}

AdapterDeltas merged(const AdapterMerge& merge, const std::vector<AdapterDeltas>& adapters) {
  std::vector<const AdapterDeltas*> pointers;
  for (const AdapterDeltas& adapter : adapters) pointers.push_back(&adapter);
  return merged(merge, pointers);
}

AdapterDeltas merged(const AdapterMerge& merge, const std::vector<const AdapterDeltas*>& adapters) {
  merge.validate();
  std::map<uint32_t, Parts> modules;
  std::string made_from = described(merge);
  for (size_t i = 0; i < adapters.size(); ++i) {
    const AdapterMerge::Part& part = merge.parts.at(i);
    made_from += fmt::format("\n{:a} {}", part.weight, adapters[i]->digest);
    for (const ModuleDelta& delta : adapters[i]->modules) {
      check_plain(delta, part.name);
      modules[delta.module].deltas.push_back(&delta);
      modules[delta.module].weights.push_back(part.weight * static_cast<double>(delta.scale));
    }
  }
  AdapterDeltas result;
  Draws draws(merge.seed);
  for (const auto& [module, parts] : modules) result.modules.push_back(merged_module(merge, parts, draws));
  result.digest = to_hex(sha256(made_from));
  return result;
}

}  // namespace llmhost::engine
