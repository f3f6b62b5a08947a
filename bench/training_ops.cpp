// What a training step runs beside products, at the widths of a model of 135M parameters (576, heads 9/3 of
// 64, 1536 in the middle): microseconds a node, GB/s of what it reads and writes, and for attention GFLOP/s
// of the scores that are seen. Of 1024 tokens, in four sequences or one. usage: training_ops [--isa NAME]
// [--threads N] [--seconds S] [--clock wall|cpu] [--only PART]
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>

#include "backend_bench.h"
#include "graph/emit.h"

namespace llmhost::bench {
namespace {

constexpr int32_t kTokens = 1024;
constexpr int64_t kWidth = 576;
constexpr int64_t kMiddle = 1536;
constexpr int32_t kHeads = 9;
constexpr int32_t kKvHeads = 3;
constexpr int32_t kHeadDim = 64;
constexpr int kNodes = 4;  // the same one, so that what surrounds it weighs little

struct Inputs {
  llmh_tensor x, y, z;           // [T, kWidth]
  llmh_tensor gate, up, middle;  // [T, kMiddle]
  llmh_tensor k, v;              // [T, kKvHeads * kHeadDim]
  llmh_tensor weight;            // [kWidth]
};

using Maker = std::function<void(graph::Emit& emit, const Inputs& in)>;

struct Case {
  const char* name;
  double bytes;  // read and written, a token
  Maker make;
};

// Rows of random numbers of size 1: the bytes of weights are numbers near 1e-17.
llmh_tensor rows_of(graph::Emit& emit, const char* name, int64_t width) {
  graph::Graph& graph = emit.graph();
  const std::vector<int64_t> table{64, width};
  const llmh_tensor rows = emit.op(LLMH_OP_EMBEDDING, {graph.add_weight(name, LLMH_DTYPE_F32, table),
                                                       graph.add_input(LLMH_INPUT_TOKEN_IDS)});
  return emit.scale(rows, 1e17F);
}

// A step of `sequences` sequences of equal length.
struct Step {
  explicit Step(int32_t sequences) {
    const int32_t each = kTokens / sequences;
    for (int32_t t = 0; t < kTokens; ++t) {
      ids.push_back(t * 7 % 64);
      positions.push_back(t % each);
      sequence.push_back(t / each);
      lengths.push_back(each);
    }
    for (int32_t s = 0; s <= sequences; ++s) begin.push_back(s * each);
    for (int32_t s = 1; s <= sequences; ++s) rows.push_back(s * each - 1);
    step.struct_size = sizeof step;
    step.n_tokens = kTokens;
    step.n_sequences = sequences;
    step.n_outputs = sequences;
    step.token_ids = ids.data();
    step.positions = positions.data();
    step.rope_lengths = lengths.data();
    step.token_sequence = sequence.data();
    step.output_rows = rows.data();
    step.sequence_begin = begin.data();
    step.state_lengths = lengths.data();
    step.dropout_seed = 1;
  }
  std::vector<int32_t> ids, positions, sequence, lengths, begin, rows;
  llmh_step step{};
};

double seconds_of(const Options& options, const llmh_step& step, int n_nodes, const Maker& make) {
  graph::Graph graph;
  graph::Emit emit(graph, "m");
  const std::vector<int64_t> vector{kWidth};
  const Inputs in{rows_of(emit, "x", kWidth),
                  rows_of(emit, "y", kWidth),
                  rows_of(emit, "z", kWidth),
                  rows_of(emit, "gate", kMiddle),
                  rows_of(emit, "up", kMiddle),
                  rows_of(emit, "middle", kMiddle),
                  rows_of(emit, "k", kKvHeads * kHeadDim),
                  rows_of(emit, "v", kKvHeads * kHeadDim),
                  graph.add_weight("w", LLMH_DTYPE_F32, vector)};
  for (int i = 0; i < n_nodes; ++i) make(emit, in);
  const llmh_limits limits{sizeof(llmh_limits), kTokens, 4, 4, kTokens, 0, 0};
  Model model(options, graph, limits);
  return best_time(options.seconds, [&] { model.run(step); });
}

void report(const Options& options, const char* name, int32_t sequences, double seconds, const char* unit,
            double rate) {
  std::printf(
      "{\"bench\":\"training_ops\",\"op\":\"%s\",\"threads\":%d,\"sequences\":%d,\"us\":%.1f,\"%s\":%.2f}\n",
      name, options.threads, sequences, seconds * 1e6, unit, rate);
  std::fflush(stdout);
}

template <typename Attrs>
std::vector<llmh_tensor> node(graph::Emit& emit, llmh_op op, const std::vector<llmh_tensor>& inputs,
                              const Attrs& attrs) {
  return emit.graph().add_node(op, "m", inputs, &attrs, sizeof attrs);
}

// --- Elementwise ops and norms

template <typename Attrs, typename Field, typename Value>
Attrs with(Field Attrs::*field, Value value) {
  auto attrs = graph::make_attrs<Attrs>();
  attrs.*field = static_cast<Field>(value);
  return attrs;
}

std::vector<Case> cases() {
  const auto norm = with(&llmh_norm_attrs::eps, 1e-5);
  const auto silu = with(&llmh_activation_attrs::kind, LLMH_ACT_SILU);
  const auto drop = with(&llmh_dropout_attrs::p, 0.1);
  constexpr double kRow = kWidth * 4.0;
  constexpr double kWide = kMiddle * 4.0;
  return {
      {"add", 3 * kRow, [](auto& emit, const Inputs& in) { emit.add(in.x, in.y); }},
      {"mul by a vector", 2 * kRow, [](auto& emit, const Inputs& in) { emit.mul(in.x, in.weight); }},
      {"rms_norm", 2 * kRow,
       [=](auto& emit, const Inputs& in) {
         node(emit, LLMH_OP_RMS_NORM, {in.x, in.weight}, norm);
       }},
      {"rms_norm_grad", 3 * kRow,
       [=](auto& emit, const Inputs& in) {
         node(emit, LLMH_OP_RMS_NORM_GRAD, {in.x, in.weight, in.y}, norm);
       }},
      {"rms_norm_weight_grad", 2 * kRow,
       [=](auto& emit, const Inputs& in) {
         node(emit, LLMH_OP_RMS_NORM_WEIGHT_GRAD, {in.x, in.y}, norm);
       }},
      {"layer_norm_grad", 3 * kRow,
       [=](auto& emit, const Inputs& in) {
         node(emit, LLMH_OP_LAYER_NORM_GRAD, {in.x, in.weight, in.y}, norm);
       }},
      {"gated silu", 3 * kWide,
       [=](auto& emit, const Inputs& in) {
         node(emit, LLMH_OP_GATED_ACTIVATION, {in.gate, in.up}, silu);
       }},
      {"gated silu grad", 5 * kWide,
       [=](auto& emit, const Inputs& in) {
         node(emit, LLMH_OP_GATED_ACTIVATION_GRAD, {in.gate, in.up, in.middle}, silu);
       }},
      {"dropout", 2 * kRow, [=](auto& emit, const Inputs& in) { node(emit, LLMH_OP_DROPOUT, {in.x}, drop); }},
      {"softmax_grad", 3 * kRow,
       [](auto& emit, const Inputs& in) {
         emit.op(LLMH_OP_SOFTMAX_GRAD, {in.x, in.y});
       }},
      {"reduce_to a vector", kRow,
       [](auto& emit, const Inputs& in) { emit.reduce_to(in.x, {graph::constant_dim(kWidth)}); }},
      {"reduce_to a column", kRow,
       [](auto& emit, const Inputs& in) {
         emit.reduce_to(in.x, {emit.dims(in.x)[0], graph::constant_dim(1)});
       }},
      {"pad", 1.5 * kRow,
       [](auto& emit, const Inputs& in) { emit.pad(emit.slice(in.x, 1, 0, kWidth / 2), 1, 0, kWidth); }},
      {"cast to bf16", 1.5 * kRow, [](auto& emit, const Inputs& in) { emit.cast(in.x, LLMH_DTYPE_BF16); }},
      {"cast to f16", 1.5 * kRow, [](auto& emit, const Inputs& in) { emit.cast(in.x, LLMH_DTYPE_F16); }},
  };
}

// --- Attention

llmh_attention_attrs attention_attrs(float top_k_ratio) {
  auto attrs = graph::make_attrs<llmh_attention_attrs>();
  attrs.n_heads = kHeads;
  attrs.n_kv_heads = kKvHeads;
  attrs.k_head_dim = kHeadDim;
  attrs.v_head_dim = kHeadDim;
  attrs.scale = 1.0F / std::sqrt(static_cast<float>(kHeadDim));
  attrs.causal = 1;
  attrs.top_k_ratio = top_k_ratio;
  return attrs;
}

std::vector<llmh_tensor> forward(graph::Emit& emit, const Inputs& in, float top_k_ratio) {
  return node(emit, LLMH_OP_ATTENTION_TRAIN, {in.x, in.k, in.v, LLMH_NO_TENSOR, LLMH_NO_TENSOR},
              attention_attrs(top_k_ratio));
}

void measure_attention(const Options& options, int32_t sequences, float top_k_ratio) {
  const Step step(sequences);
  const double each = kTokens / sequences;
  const double products = sequences * each * (each + 1) / 2 * kHeads * kHeadDim * 2;  // of one kind
  const std::string suffix = top_k_ratio > 0 ? " top-k" : "";
  const Maker nothing = [](auto&, const Inputs&) {};
  const Maker run_forward = [=](auto& emit, const Inputs& in) { forward(emit, in, top_k_ratio); };
  const double base = seconds_of(options, step.step, 0, nothing);
  const double one = (seconds_of(options, step.step, kNodes, run_forward) - base) / kNodes;
  report(options, ("attention_train" + suffix).c_str(), sequences, one, "gflops", 2 * products / one * 1e-9);
  const double both = seconds_of(options, step.step, 1, [=](auto& emit, const Inputs& in) {
    const auto made = forward(emit, in, top_k_ratio);
    for (int i = 0; i < kNodes; ++i)
      node(emit, LLMH_OP_ATTENTION_GRAD,
           {in.x, in.k, in.v, LLMH_NO_TENSOR, LLMH_NO_TENSOR, made[0], made[1], in.y},
           attention_attrs(top_k_ratio));
  });
  const double grad = (both - base - one) / kNodes;
  report(options, ("attention_grad" + suffix).c_str(), sequences, grad, "gflops", 5 * products / grad * 1e-9);
}

void measure_rows(const Options& options) {
  const Step step(4);
  const double base = seconds_of(options, step.step, 0, [](auto&, const Inputs&) {});
  for (const Case& one : cases()) {
    const double seconds = (seconds_of(options, step.step, kNodes, one.make) - base) / kNodes;
    report(options, one.name, 4, seconds, "gb_per_s", one.bytes * kTokens / seconds * 1e-9);
  }
}

}  // namespace
}  // namespace llmhost::bench

int main(int argc, char** argv) {
  using namespace llmhost::bench;
  const auto options = parse_options(argc, argv);
  std::string only;
  for (int i = 1; i + 1 < argc; i += 2)
    if (std::strcmp(argv[i], "--only") == 0) only = argv[i + 1];
  if (only != "attention") measure_rows(options);
  if (only == "rows") return 0;
  for (const int32_t sequences : {4, 1}) measure_attention(options, sequences, 0.0F);
  measure_attention(options, 4, 0.5F);
  return 0;
}
