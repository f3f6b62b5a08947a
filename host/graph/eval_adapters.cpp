// Adapters in the reference evaluator: plain copies of the deltas, and what they make of the rows that they
// own.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>

#include "core/dequantize.h"
#include "graph/eval.h"
#include "plugin/status.h"

namespace llmhost::graph {
namespace {

struct Delta {
  llmh_site_delta fields{};  // its pointers are into `data`
  std::vector<std::vector<float>> data;
};

// What llmh_adapter stands for here. Deleted by release_adapter().
struct ReferenceAdapter {
  std::map<int32_t, Delta> by_site;
};

void check_delta(const llmh_site_delta& delta) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const auto fits = [](int64_t size) { return size >= 1 && size <= kMost; };
  const bool is_linear = delta.kind == LLMH_MODULE_LINEAR;
  const bool is_norm = delta.kind == LLMH_MODULE_NORM;
  if (!is_linear && !is_norm && delta.kind != LLMH_MODULE_EMBEDDING)
    throw_invalid("adapter: site {} is of kind {}", delta.site, delta.kind);
  if (delta.site < 1) throw_invalid("adapter: site {}, sites are numbered from 1", delta.site);
  if (!fits(delta.in_features) || !fits(delta.out_features) || delta.rank < 0 ||
      (is_norm && delta.in_features != delta.out_features))
    throw_invalid("adapter: site {} has {} inputs, {} outputs, rank {}", delta.site, delta.in_features,
                  delta.out_features, delta.rank);
  if (!std::isfinite(delta.scale)) throw_invalid("adapter: the scale of site {} is not finite", delta.site);
  if ((delta.rank > 0) != (delta.a != nullptr) || (delta.rank > 0) != (delta.b != nullptr))
    throw_invalid("adapter: site {} of rank {} must have both of A and B or neither", delta.site, delta.rank);
  if ((is_norm && delta.rank != 0) || (delta.kind == LLMH_MODULE_EMBEDDING && delta.bias != nullptr) ||
      (!is_linear && (delta.b_bias != nullptr || delta.row_scale != nullptr)))
    throw_invalid("adapter: site {} has fields that a module of its kind has not", delta.site);
}

// Calls body(pointer, elements) for each array of the delta.
template <typename Body>
void for_each_array(llmh_site_delta& delta, Body&& body) {
  const int64_t in = delta.in_features;
  const int64_t out = delta.out_features;
  body(delta.a, delta.rank * in);
  body(delta.b, delta.rank * out);
  body(delta.b_bias, out);
  body(delta.row_scale, out);
  body(delta.weight, delta.kind == LLMH_MODULE_NORM ? out : in * out);
  body(delta.bias, out);
}

uint64_t bytes_of(const llmh_site_delta& delta) {
  check_delta(delta);
  uint64_t bytes = 0;
  llmh_site_delta fields = delta;
  for_each_array(fields, [&](const float* data, int64_t count) {
    if (data != nullptr) bytes += static_cast<uint64_t>(count) * sizeof(float);
  });
  return bytes;
}

llmh_status* adapter_bytes(llmh_instance*, const llmh_site_delta* const* deltas, uint32_t n, uint64_t* out) {
  return plugin::guard([&] {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; ++i) bytes += bytes_of(*deltas[i]);
    *out = bytes;
  });
}

llmh_status* prepare_adapter(llmh_instance*, const llmh_site_delta* const* deltas, uint32_t n,
                             llmh_adapter** out) {
  return plugin::guard([&] {
    auto adapter = std::make_unique<ReferenceAdapter>();
    for (uint32_t i = 0; i < n; ++i) {
      check_delta(*deltas[i]);
      Delta& copy = adapter->by_site[deltas[i]->site];
      if (copy.fields.site != 0) throw_invalid("adapter: two deltas for site {}", deltas[i]->site);
      copy.fields = *deltas[i];
      for_each_array(copy.fields, [&](const float*& data, int64_t count) {
        if (data == nullptr) return;
        copy.data.emplace_back(data, data + count);
        data = copy.data.back().data();
      });
    }
    *out = reinterpret_cast<llmh_adapter*>(adapter.release());
  });
}

void release_adapter(llmh_instance*, llmh_adapter* adapter) {
  delete reinterpret_cast<ReferenceAdapter*>(adapter);
}

}  // namespace

const llmh_adapters* reference_adapters() {
  static const llmh_adapters table = {sizeof(llmh_adapters), adapter_bytes, prepare_adapter, release_adapter};
  return &table;
}

namespace eval {
namespace {

struct SiteShape {
  int32_t site;
  int32_t kind;
  int64_t in_features;
  int64_t out_features;
  int32_t row_symbol;
};

// Calls body(delta, row) for each row that an adapter with a delta for the site owns.
template <typename Body>
void for_each_row(const NodeCall& call, const SiteShape& shape, Body&& body) {
  const llmh_step& step = call.step();
  const bool is_output = shape.row_symbol == LLMH_DIM_OUTPUTS;
  const int32_t most = is_output ? step.n_outputs : step.n_tokens;
  for (int32_t s = 0; s < step.n_adapter_segments; ++s) {
    const llmh_adapter_segment& segment = step.adapter_segments[s];
    const auto& by_site = reinterpret_cast<const ReferenceAdapter*>(segment.adapter)->by_site;
    const auto found = by_site.find(shape.site);
    if (found == by_site.end()) continue;
    const llmh_site_delta& delta = found->second.fields;
    if (delta.kind != shape.kind || delta.in_features != shape.in_features ||
        delta.out_features != shape.out_features)
      call.fail(ErrorCode::kInvalidArgument,
                fmt::format("the adapter's delta is of kind {}, [{},{}]; the site is of kind {}, [{},{}]",
                            delta.kind, delta.out_features, delta.in_features, shape.kind, shape.out_features,
                            shape.in_features));
    const int32_t* rows = is_output ? segment.output_rows : segment.token_rows;
    const int32_t n = is_output ? segment.n_output_rows : segment.n_token_rows;
    for (int32_t i = 0; i < n; ++i) {
      if (rows[i] < 0 || rows[i] >= most)
        call.fail(ErrorCode::kOutOfRange, fmt::format("row {} of an adapter is not below {}", rows[i], most));
      body(delta, rows[i]);
    }
  }
}

double product_of(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// s (u B^T), rounded once an output, added by the caller.
double expanded(const llmh_site_delta& delta, const std::vector<float>& u, int64_t n) {
  return product_of(u.data(), delta.b + n * delta.rank, delta.rank);
}

}  // namespace

void adapt_linear(const NodeCall& call) {
  const int64_t in = call.in(1).sizes[1];
  const int64_t out = call.in(1).sizes[0];
  const Floats x(call.in(0));
  std::optional<Floats> base;  // decoded when a row needs it
  std::optional<Floats> bias;
  if (call.has(2)) bias.emplace(call.in(2));
  const SiteShape shape{call.as<llmh_site_attrs>().adapter_site, LLMH_MODULE_LINEAR, in, out,
                        call.row_symbol(0)};
  std::vector<float> u;
  for_each_row(call, shape, [&](const llmh_site_delta& delta, int64_t row) {
    if (!base && delta.weight == nullptr) base.emplace(call.in(1));
    const float* weight = delta.weight != nullptr ? delta.weight : base->data();
    const float* values = x.data() + row * in;
    u.resize(static_cast<size_t>(delta.rank));
    for (int64_t r = 0; r < delta.rank; ++r)
      u[static_cast<size_t>(r)] = static_cast<float>(product_of(values, delta.a + r * in, in));
    for (int64_t n = 0; n < out; ++n) {
      double low_rank = expanded(delta, u, n);
      if (delta.b_bias != nullptr) low_rank += static_cast<double>(delta.b_bias[n]);
      double y = product_of(values, weight + n * in, in) + static_cast<double>(delta.scale) * low_rank;
      if (delta.row_scale != nullptr) y *= static_cast<double>(delta.row_scale[n]);
      if (delta.bias != nullptr)
        y += static_cast<double>(delta.bias[n]);
      else if (bias)
        y += static_cast<double>((*bias)[n]);
      call.out_floats()[row * out + n] = static_cast<float>(y);
    }
  });
}

void adapt_embedding(const NodeCall& call) {
  const int64_t in = call.in(0).sizes[0];
  const int64_t out = call.in(0).sizes[1];
  const auto* ids = reinterpret_cast<const int32_t*>(call.in(1).data);
  const SiteShape shape{call.as<llmh_site_attrs>().adapter_site, LLMH_MODULE_EMBEDDING, in, out,
                        LLMH_DIM_TOKENS};
  std::vector<float> u;
  for_each_row(call, shape, [&](const llmh_site_delta& delta, int64_t row) {
    float* y = call.out_floats() + row * out;  // E[t], which has seen that the id is a row of the table
    const int64_t id = ids[row];
    if (delta.weight != nullptr) std::copy_n(delta.weight + id * out, out, y);
    u.resize(static_cast<size_t>(delta.rank));
    for (int64_t r = 0; r < delta.rank; ++r) u[static_cast<size_t>(r)] = delta.a[r * in + id];
    for (int64_t n = 0; n < out; ++n)
      y[n] = static_cast<float>(static_cast<double>(y[n]) +
                                static_cast<double>(delta.scale) * expanded(delta, u, n));
  });
}

// One norm of `width` values with an adapter's weight (and bias) where it has them.
struct NormWithDelta {
  const llmh_norm_attrs& attrs;
  bool centres;
  int64_t width;
  const Floats& weight;
  const std::optional<Floats>& bias;

  void run(const llmh_site_delta& delta, const float* values, float* out) const {
    double mean = 0;
    double square = 0;
    for (int64_t i = 0; centres && i < width; ++i) mean += static_cast<double>(values[i]);
    mean /= static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i) {
      const double deviation = static_cast<double>(values[i]) - mean;
      square += deviation * deviation;
    }
    const double inverse =
        1.0 / std::sqrt(square / static_cast<double>(width) + static_cast<double>(attrs.eps));
    for (int64_t i = 0; i < width; ++i) {
      const float w = delta.weight != nullptr ? delta.weight[i] : weight[i];
      double y =
          (static_cast<double>(values[i]) - mean) * inverse * static_cast<double>(w + attrs.weight_offset);
      if (delta.bias != nullptr)
        y += static_cast<double>(delta.bias[i]);
      else if (bias)
        y += static_cast<double>((*bias)[i]);
      out[i] = static_cast<float>(y);
    }
  }
};

void adapt_norm(const NodeCall& call) {
  const auto& attrs = call.as<llmh_norm_attrs>();
  const llmh_op op = call.node().op;
  const bool adds = op == LLMH_OP_ADD_RMS_NORM;
  const bool centres = op == LLMH_OP_LAYER_NORM;
  const Operand& input = adds ? call.out(0) : call.in(0);
  const Floats x(input);
  const Floats weight(call.in(adds ? 2 : 1));
  std::optional<Floats> bias;
  if (centres && call.has(2)) bias.emplace(call.in(2));
  const int64_t width = input.sizes.back();
  int64_t n_norms = 1;  // of a row: one for each head
  for (size_t i = 1; i + 1 < input.sizes.size(); ++i) n_norms *= input.sizes[i];
  float* const out = call.out_floats(adds ? 1 : 0);
  const SiteShape shape{attrs.adapter_site, LLMH_MODULE_NORM, width, width, call.row_symbol(0)};
  const NormWithDelta norm{attrs, centres, width, weight, bias};
  for_each_row(call, shape, [&](const llmh_site_delta& delta, int64_t row) {
    if (!centres && delta.bias != nullptr)
      call.fail(ErrorCode::kInvalidArgument, "the adapter's delta has a bias, the norm has not");
    for (int64_t at = row * n_norms; at < (row + 1) * n_norms; ++at)
      norm.run(delta, x.data() + at * width, out + at * width);
  });
}

}  // namespace eval
}  // namespace llmhost::graph
