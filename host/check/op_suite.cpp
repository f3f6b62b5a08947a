#include "check/op_suite.h"

#include <cmath>
#include <vector>

#include "check/bench.h"
#include "check/child.h"
#include "check/expected.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "graph/lifetimes.h"
#include "graph/reference.h"
#include "plugin/host_table.h"

namespace llmhost::check {
namespace {

using graph::Graph;
using graph::make_attrs;

constexpr int64_t kWidth = 32;
constexpr int64_t kVocabulary = 64;
constexpr int32_t kTokens = 11;
constexpr int32_t kHeads = 4;
constexpr int32_t kHeadDim = 8;

llmh_tensor constant(Graph& graph, std::vector<int64_t> shape, uint32_t seed) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  const std::vector<float> data = fixed_values(n, seed);
  return graph.add_constant({}, LLMH_DTYPE_F32, shape, std::as_bytes(std::span(data)));
}

llmh_tensor node(Graph& graph, llmh_op op, const std::vector<llmh_tensor>& inputs) {
  return graph.add_node(op, {}, inputs).front();
}
template <typename Attrs>
llmh_tensor node(Graph& graph, llmh_op op, const std::vector<llmh_tensor>& inputs, const Attrs& attrs) {
  return graph.add_node(op, {}, inputs, &attrs, sizeof attrs).front();
}

template <int32_t Kind>
llmh_tensor activation(Graph& graph, llmh_tensor x) {
  auto attrs = make_attrs<llmh_activation_attrs>();
  attrs.kind = Kind;
  return node(graph, LLMH_OP_ACTIVATION, {x}, attrs);
}

template <int32_t Kind>
llmh_tensor gated(Graph& graph, llmh_tensor x) {
  auto attrs = make_attrs<llmh_activation_attrs>();
  attrs.kind = Kind;
  const llmh_tensor up = node(graph, LLMH_OP_LINEAR, {x, constant(graph, {kWidth, kWidth}, 3)});
  return node(graph, LLMH_OP_GATED_ACTIVATION, {x, up}, attrs);
}

template <llmh_op Op>
llmh_tensor scalar(Graph& graph, llmh_tensor x) {
  auto attrs = make_attrs<llmh_scalar_attrs>();
  attrs.value = 0.7F;
  return node(graph, Op, {x}, attrs);
}

template <llmh_op Op>
llmh_tensor binary(Graph& graph, llmh_tensor x) {
  return node(graph, Op, {x, constant(graph, {kWidth}, 4)});
}

llmh_tensor linear(Graph& graph, llmh_tensor x) {
  return node(graph, LLMH_OP_LINEAR, {x, constant(graph, {40, kWidth}, 5), constant(graph, {40}, 6)});
}

llmh_norm_attrs norm_attrs() {
  auto attrs = make_attrs<llmh_norm_attrs>();
  attrs.eps = 1e-5F;
  attrs.weight_offset = 1.0F;
  return attrs;
}

llmh_tensor rms_norm(Graph& graph, llmh_tensor x) {
  return node(graph, LLMH_OP_RMS_NORM, {x, constant(graph, {kWidth}, 7)}, norm_attrs());
}

llmh_tensor layer_norm(Graph& graph, llmh_tensor x) {
  return node(graph, LLMH_OP_LAYER_NORM, {x, constant(graph, {kWidth}, 8), constant(graph, {kWidth}, 9)},
              norm_attrs());
}

llmh_tensor softmax(Graph& graph, llmh_tensor x) {
  return node(graph, LLMH_OP_SOFTMAX, {x});
}

template <int32_t Style>
llmh_tensor rope(Graph& graph, llmh_tensor x) {
  auto angles = make_attrs<llmh_rope_angles_attrs>();
  angles.rotary_dim = kHeadDim;
  angles.theta = 10000.0F;
  const std::vector<llmh_tensor> inputs{graph.add_input(LLMH_INPUT_POSITIONS),
                                        graph.add_input(LLMH_INPUT_ROPE_LENGTHS)};
  const auto made = graph.add_node(LLMH_OP_ROPE_ANGLES, {}, inputs, &angles, sizeof angles);
  auto attrs = make_attrs<llmh_rope_attrs>();
  attrs.n_heads = kHeads;
  attrs.head_dim = kHeadDim;
  attrs.rotary_dim = kHeadDim;
  attrs.style = Style;
  return node(graph, LLMH_OP_ROPE, {x, made[0], made[1]}, attrs);
}

llmh_attention_attrs attention_attrs() {
  auto attrs = make_attrs<llmh_attention_attrs>();
  attrs.n_heads = kHeads;
  attrs.n_kv_heads = 2;
  attrs.k_head_dim = kHeadDim;
  attrs.v_head_dim = kHeadDim;
  attrs.scale = 0.5F;
  attrs.causal = 1;
  return attrs;
}

llmh_tensor attend(Graph& graph, llmh_tensor x, const llmh_attention_attrs& attrs) {
  const llmh_tensor k = node(graph, LLMH_OP_LINEAR, {x, constant(graph, {16, kWidth}, 10)});
  const llmh_tensor v = node(graph, LLMH_OP_LINEAR, {x, constant(graph, {16, kWidth}, 11)});
  return node(graph, LLMH_OP_ATTENTION, {x, k, v}, attrs);
}

llmh_tensor attention(Graph& graph, llmh_tensor x) {
  return attend(graph, x, attention_attrs());
}

llmh_tensor windowed_attention(Graph& graph, llmh_tensor x) {
  auto attrs = attention_attrs();
  attrs.window = 4;
  attrs.softcap = 2.0F;
  return attend(graph, x, attrs);
}

llmh_tensor experts(Graph& graph, llmh_tensor x) {
  auto attrs = make_attrs<llmh_top_k_attrs>();
  attrs.k = 2;
  const llmh_tensor scores = node(graph, LLMH_OP_LINEAR, {x, constant(graph, {5, kWidth}, 12)});
  const auto best = graph.add_node(LLMH_OP_TOP_K, {}, std::vector{scores}, &attrs, sizeof attrs);
  const llmh_tensor y =
      node(graph, LLMH_OP_EXPERT_LINEAR, {x, constant(graph, {5, 12, kWidth}, 13), best[1]});
  auto shape = make_attrs<llmh_shape_attrs>();
  shape.rank = 2;
  shape.dims[0] = graph::symbol_dim(LLMH_DIM_TOKENS);
  shape.dims[1] = graph::constant_dim(24);
  return node(graph, LLMH_OP_RESHAPE, {y}, shape);
}

constexpr OpCase kCases[] = {
    {"add", &binary<LLMH_OP_ADD>},
    {"mul", &binary<LLMH_OP_MUL>},
    {"linear", &linear},
    {"rms_norm", &rms_norm},
    {"layer_norm", &layer_norm},
    {"softmax", &softmax},
    {"scale", &scalar<LLMH_OP_SCALE>},
    {"softcap", &scalar<LLMH_OP_SOFTCAP>},
    {"silu", &activation<LLMH_ACT_SILU>},
    {"gelu", &activation<LLMH_ACT_GELU>},
    {"gelu_tanh", &activation<LLMH_ACT_GELU_TANH>},
    {"relu_squared", &activation<LLMH_ACT_RELU_SQUARED>},
    {"gated_silu", &gated<LLMH_ACT_SILU>},
    {"gated_gelu_tanh", &gated<LLMH_ACT_GELU_TANH>},
    {"rope_halves", &rope<LLMH_ROPE_HALVES>},
    {"rope_interleaved", &rope<LLMH_ROPE_INTERLEAVED>},
    {"attention", &attention},
    {"attention_window_softcap", &windowed_attention},
    {"experts", &experts},
};

Graph graph_of(const OpCase& op) {
  Graph graph;
  const llmh_tensor x =
      node(graph, LLMH_OP_EMBEDDING,
           {constant(graph, {kVocabulary, kWidth}, 1), graph.add_input(LLMH_INPUT_TOKEN_IDS)});
  const llmh_tensor y = op.build(graph, x);
  graph.add_output(LLMH_OUTPUT_LOGITS,
                   node(graph, LLMH_OP_GATHER, {y, graph.add_input(LLMH_INPUT_OUTPUT_ROWS)}));
  return graph;
}

// All rows of the op's result: 7 tokens at once, the rest one after another.
std::vector<float> run_on(const engine::Device& device, const Graph& source) {
  const Graph graph = lowered(source, device);
  engine::RunnerOptions options;
  options.max_tokens = options.max_outputs = kTokens;
  options.max_sequences = 1;
  options.max_context = 32;
  const graph::ArenaPlan arena = graph::plan_arena(graph, options.limits());
  const std::vector<llmh_weight*> weights(graph.tensor_count(), nullptr);
  const llmh_state_spec state{sizeof(llmh_state_spec), LLMH_STATE_PAGED_KV, 0, 2, kHeadDim, kHeadDim, 0};
  engine::ModelRunner runner(
      device, {&graph.view(), weights, std::span(&state, 1), arena.offsets, arena.bytes}, options);
  engine::StepBatch batch(options.limits(), options.max_pages());
  const int32_t pages[] = {0};
  std::vector<float> rows;
  for (int32_t done = 0; done < kTokens;) {
    batch.clear();
    batch.begin_sequence(done, pages);
    for (const int32_t end = done == 0 ? 7 : done + 1; done < end; ++done)
      batch.add_token(done * 13 % static_cast<int32_t>(kVocabulary), kTokens, true);
    const std::span<const float> step = runner.step(batch);
    rows.insert(rows.end(), step.begin(), step.end());
  }
  return rows;
}

}  // namespace

std::vector<float> fixed_values(int64_t n, uint32_t seed) {
  std::vector<float> result(static_cast<size_t>(n));
  uint32_t state = seed * 2654435761U + 1;
  for (float& value : result) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(state >> 8) / 8388608.0F - 1.0F;
  }
  return result;
}

std::span<const OpCase> all_op_cases() {
  return kCases;
}

std::string run_op_case(const OpCase& op, const llmh_backend& backend, const std::string& backend_id) {
  plugin::register_host_extension(LLMH_REFERENCE_EXTENSION, graph::reference_extension());
  ThreadPool pool(2);
  const Graph graph = graph_of(op);
  at("the op on the reference evaluator");
  const engine::Device reference(*graph::reference_backend(), engine::kReferenceBackend, {}, nullptr);
  const std::vector<float> expected = run_on(reference, graph);
  at("the op on the backend");
  const engine::Device device(backend, backend_id, {}, pool.api());
  const std::vector<float> actual = run_on(device, graph);
  // Sums of 32 products of numbers below 1: f32 rounds them to a few 1e-6.
  const double allowed = 1e-4 * std::max(1.0, standard_deviation(expected));
  const Difference off = largest_difference(actual, expected);
  if (actual.size() != expected.size() || !(off.largest <= allowed))
    throw_error(ErrorCode::kInternal,
                "{} of {} values, off by {:.3g} from the reference evaluator, allowed {:.3g}", actual.size(),
                expected.size(), off.largest, allowed);
  return fmt::format("off by {:.3g}", off.largest);
}

}  // namespace llmhost::check
