#include "adapter.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "kernels/half.h"
#include "llmhost/plugin.hpp"

namespace llmhost::cpu {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr int32_t kMostSites = 1 << 20;

[[noreturn]] void refuse(const llmh_site_delta& delta, const std::string& why) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, "[cpu] adapter, site " + std::to_string(delta.site) + ": " + why);
}

// Sizes are small enough for every product of two of them.
void check_delta(const llmh_site_delta& delta) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const bool is_linear = delta.kind == LLMH_MODULE_LINEAR;
  const bool is_norm = delta.kind == LLMH_MODULE_NORM;
  if (delta.site < 1 || delta.site > kMostSites)
    refuse(delta, "sites go from 1 to " + std::to_string(kMostSites));
  if (!is_linear && !is_norm && delta.kind != LLMH_MODULE_EMBEDDING)
    refuse(delta, "kind " + std::to_string(delta.kind) + " is not known");
  for (const int64_t size : {delta.in_features, delta.out_features})
    if (size < 1 || size > kMost) refuse(delta, "a size of " + std::to_string(size));
  if (delta.rank < 0 || delta.rank > (1 << 20)) refuse(delta, "rank " + std::to_string(delta.rank));
  if (is_norm && delta.in_features != delta.out_features)
    refuse(delta, "a norm of two sizes, " + std::to_string(delta.in_features) + " and " +
                      std::to_string(delta.out_features));
  if (!std::isfinite(delta.scale)) refuse(delta, "the scale is not finite");
  if ((delta.rank > 0) != (delta.a != nullptr) || (delta.rank > 0) != (delta.b != nullptr))
    refuse(delta, "rank " + std::to_string(delta.rank) + " needs both of A and B or neither");
  if ((is_norm && delta.rank != 0) || (delta.kind == LLMH_MODULE_EMBEDDING && delta.bias != nullptr) ||
      (!is_linear && (delta.b_bias != nullptr || delta.row_scale != nullptr)))
    refuse(delta, "fields that a module of kind " + std::to_string(delta.kind) + " has not");
}

// --- Where everything lies

uint64_t unit_columns(int64_t columns) {
  return static_cast<uint64_t>((columns + kLowRankColumns - 1) / kLowRankColumns) * kLowRankColumns;
}

// Places in the memory, handed out one after another. Nothing overflows: what would not fit into memory by
// far is refused.
class Places {
 public:
  uint64_t take(uint64_t elements, uint64_t element_bytes) {
    constexpr uint64_t kMost = uint64_t{1} << 50;
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(elements, element_bytes, &bytes) || bytes > kMost || end_ > kMost)
      throw llmh::Error(LLMH_RESOURCE_EXHAUSTED, "[cpu] an adapter of more than 2^50 bytes");
    const uint64_t place = end_;
    end_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return place;
  }
  uint64_t end() const { return end_; }

 private:
  uint64_t end_ = 0;
};

struct Arrangement {
  int32_t n_sites = 0;
  struct Site {
    uint64_t a, b, weight, b_bias, row_scale, bias;
  };
  std::vector<Site> sites;  // by delta
  uint64_t bytes = 0;
};

std::vector<uint32_t> in_order_of_sites(const llmh_site_delta* const* deltas, uint32_t n_deltas) {
  std::vector<uint32_t> order(n_deltas);
  for (uint32_t i = 0; i < n_deltas; ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](uint32_t i) { return deltas[i]->site; });
  for (uint32_t i = 0; i + 1 < n_deltas; ++i)
    if (deltas[order[i]]->site == deltas[order[i + 1]]->site) refuse(*deltas[order[i]], "is there twice");
  return order;
}

Arrangement arrange(const llmh_instance& instance, const llmh_site_delta* const* deltas, uint32_t n_deltas) {
  Arrangement layout;
  layout.sites.resize(n_deltas);
  for (uint32_t i = 0; i < n_deltas; ++i) {
    check_delta(*deltas[i]);
    layout.n_sites = std::max(layout.n_sites, deltas[i]->site);
  }
  const auto order = in_order_of_sites(deltas, n_deltas);
  const uint64_t element = instance.rounds_activations ? sizeof(uint16_t) : sizeof(float);
  Places places;
  places.take(static_cast<uint64_t>(layout.n_sites), sizeof(SiteDelta));
  for (const uint32_t i : order) {
    const auto rank = static_cast<uint64_t>(deltas[i]->rank);
    layout.sites[i].a = places.take(rank * static_cast<uint64_t>(deltas[i]->in_features), element);
    layout.sites[i].b = places.take(rank * unit_columns(deltas[i]->out_features), element);
  }
  for (const uint32_t i : order) {
    const llmh_site_delta& delta = *deltas[i];
    const auto out = static_cast<uint64_t>(delta.out_features);
    const auto vector = [&](const float* data) {
      return data != nullptr ? places.take(out, sizeof(float)) : 0;
    };
    layout.sites[i].b_bias = vector(delta.b_bias);
    layout.sites[i].row_scale = vector(delta.row_scale);
    layout.sites[i].bias = vector(delta.bias);
    if (delta.weight == nullptr) continue;
    layout.sites[i].weight = delta.kind == LLMH_MODULE_NORM
                                 ? vector(delta.weight)
                                 : places.take(out * static_cast<uint64_t>(delta.in_features), element);
  }
  layout.bytes = places.end();
  return layout;
}

// --- Types

// Squared error of all values together; infinite where one leaves the type's range.
template <typename Round>
double error_of(std::span<const float> values, const Round& round) {
  double error = 0;
  for (const float value : values) {
    const double difference = static_cast<double>(value) - static_cast<double>(round(value));
    error += difference * difference;
  }
  return error;
}

llmh_dtype choose_dtype(const llmh_instance& instance, const float* data, int64_t count) {
  if (!instance.rounds_activations) return LLMH_DTYPE_F32;
  const std::span values(data, static_cast<size_t>(count));
  const double bf16 = error_of(values, [](float v) { return bf16_to_f32(f32_to_bf16(v)); });
  if (bf16 == 0) return LLMH_DTYPE_BF16;
  const double f16 = error_of(values, [](float v) { return f16_to_f32(f32_to_f16(v)); });
  return f16 < bf16 ? LLMH_DTYPE_F16 : LLMH_DTYPE_BF16;  // a NaN of the former is not less
}

void store(llmh_dtype dtype, float value, uint8_t* place, int64_t index) {
  if (dtype == LLMH_DTYPE_F32) {
    std::memcpy(place + index * 4, &value, sizeof value);
    return;
  }
  const uint16_t bits = dtype == LLMH_DTYPE_F16 ? f32_to_f16(value) : f32_to_bf16(value);
  std::memcpy(place + index * 2, &bits, sizeof bits);
}

// --- Filling

void store_a(const llmh_site_delta& delta, llmh_dtype dtype, uint8_t* place) {
  const bool is_table = delta.kind == LLMH_MODULE_EMBEDDING;
  for (int64_t r = 0; r < delta.rank; ++r)
    for (int64_t k = 0; k < delta.in_features; ++k)
      store(dtype, delta.a[r * delta.in_features + k], place,
            is_table ? k * delta.rank + r : r * delta.in_features + k);
}

void store_b(const llmh_site_delta& delta, llmh_dtype dtype, uint8_t* place) {
  for (int64_t n = 0; n < delta.out_features; ++n)
    for (int64_t r = 0; r < delta.rank; ++r)
      store(dtype, delta.b[n * delta.rank + r], place,
            (n / kLowRankColumns * delta.rank + r) * kLowRankColumns + n % kLowRankColumns);
}

const float* store_vector(const float* data, int64_t count, uint8_t* place) {
  if (data == nullptr) return nullptr;
  std::memcpy(place, data, static_cast<size_t>(count) * sizeof(float));
  return reinterpret_cast<const float*>(place);
}

SiteDelta store_site(const llmh_instance& instance, const llmh_site_delta& delta, const Arrangement::Site& at,
                     uint8_t* memory) {
  SiteDelta site;
  site.kind = delta.kind;
  site.rank = delta.rank;
  site.in_features = delta.in_features;
  site.out_features = delta.out_features;
  site.scale = delta.scale;
  if (delta.rank > 0) {
    site.a_dtype = choose_dtype(instance, delta.a, delta.rank * delta.in_features);
    site.b_dtype = choose_dtype(instance, delta.b, delta.rank * delta.out_features);
    store_a(delta, site.a_dtype, memory + at.a);
    store_b(delta, site.b_dtype, memory + at.b);
    site.a = memory + at.a;
    site.b = memory + at.b;
  }
  site.b_bias = store_vector(delta.b_bias, delta.out_features, memory + at.b_bias);
  site.row_scale = store_vector(delta.row_scale, delta.out_features, memory + at.row_scale);
  site.bias = store_vector(delta.bias, delta.out_features, memory + at.bias);
  if (delta.weight == nullptr) return site;
  site.weight = memory + at.weight;
  if (delta.kind == LLMH_MODULE_NORM) {
    store_vector(delta.weight, delta.out_features, memory + at.weight);
    return site;
  }
  const int64_t count = delta.in_features * delta.out_features;
  site.weight_dtype = choose_dtype(instance, delta.weight, count);
  for (int64_t i = 0; i < count; ++i) store(site.weight_dtype, delta.weight[i], memory + at.weight, i);
  return site;
}

}  // namespace

uint64_t adapter_memory_bytes(const llmh_instance& instance, const llmh_site_delta* const* deltas,
                              uint32_t n_deltas) {
  return arrange(instance, deltas, n_deltas).bytes;
}

llmh_adapter* make_adapter(const llmh_instance& instance, const llmh_site_delta* const* deltas,
                           uint32_t n_deltas) {
  static std::atomic<uint64_t> next_id{1};
  const Arrangement layout = arrange(instance, deltas, n_deltas);
  auto adapter = std::make_unique<llmh_adapter>();
  adapter->memory = allocate_pages(layout.bytes);  // nothing below throws
  adapter->n_sites = layout.n_sites;
  adapter->id = next_id.fetch_add(1);
  auto* sites = reinterpret_cast<SiteDelta*>(adapter->memory.data);
  for (int32_t i = 0; i < layout.n_sites; ++i) new (sites + i) SiteDelta();
  for (uint32_t i = 0; i < n_deltas; ++i) {
    sites[deltas[i]->site - 1] = store_site(instance, *deltas[i], layout.sites[i], adapter->memory.data);
    adapter->max_rank = std::max(adapter->max_rank, deltas[i]->rank);
  }
  adapter->sites = sites;
  return adapter.release();
}

void free_adapter(llmh_adapter* adapter) {
  if (adapter == nullptr) return;
  free_pages(adapter->memory);
  delete adapter;
}

}  // namespace llmhost::cpu
