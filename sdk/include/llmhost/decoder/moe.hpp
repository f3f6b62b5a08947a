// Mixtures of experts: routing variants and the experts' feed-forward. Header-only. [control]
//
//   const llmh::Routing routing = llmh::route(at.linear("gate", x, n_experts), router);
//   Tensor y = llmh::gated_experts(at.scope("experts"), x, routing, n_experts, intermediate_size, act);
#pragma once

#include <string_view>
#include <vector>

#include "llmhost/decoder/mlp.hpp"
#include "llmhost/tensor_ops.hpp"

namespace llmh {

// How a router's logits become weights.
enum class RouterScore {
  kSoftmax,      // softmax over all experts, then the k best
  kTopKSoftmax,  // the k best, then softmax over those
  kSigmoid       // sigmoid of each, then the k best
};

struct RouterConfig {
  int64_t n_experts = 0;
  int64_t n_experts_per_tok = 0;
  RouterScore score = RouterScore::kSoftmax;
  bool rank_logits = false;    // the k best are those of the logits, not of the scores
  bool normalise = false;      // the chosen weights are divided by their sum
  float scale = 1.0F;          // of the weights, after that
  int64_t n_groups = 1;        // experts in groups, of which only the best are eligible
  int64_t n_top_groups = 1;    // how many groups are
  int64_t group_best = 1;      // a group's score is the sum of so many of its best
  float normalise_eps = 0.0F;  // added to the sum
};

// The experts of each token and their weights.
struct Routing {
  Tensor ids;      // i32 [T, n_experts_per_tok]
  Tensor weights;  // f32 [T, n_experts_per_tok]
};

namespace detail {

// Scores [T, E], those outside the best groups far below all others. (DeepSeek-AI 2024)
inline Tensor in_best_groups(Tensor scores, const RouterConfig& c) {
  const Tensor groups = split_last(scores, {c.n_groups, c.n_experts / c.n_groups});
  const Tensor best = reduce(top_k(groups, c.group_best).values, LLMH_REDUCE_SUM);  // [T, G, 1]
  const Tensor mask = top_k_mask(merge_last(best), c.n_top_groups);                 // [T, G]
  const Tensor eligible = split_last(mask, {c.n_groups, 1});
  return merge_last(groups * eligible + scale(shift(eligible, -1.0F), 1e30F));
}

}  // namespace detail

// The k best of the logits [T, n_experts] and their weights. `correction` f32 [n_experts] takes part in the choice, not
// in the weights.
inline Routing route(Tensor logits, const RouterConfig& c, Tensor correction = {}) {
  if (c.score == RouterScore::kTopKSoftmax) {
    const TopK best = top_k(logits, c.n_experts_per_tok);
    return {best.ids, scale(softmax(best.values), c.scale)};
  }
  const Tensor scores = c.score == RouterScore::kSoftmax ? softmax(logits) : activation(logits, LLMH_ACT_SIGMOID);
  Tensor ranking = c.rank_logits ? logits : scores;
  if (correction.present()) ranking = ranking + correction;
  if (c.n_groups > 1) ranking = detail::in_best_groups(ranking, c);
  Routing routing;
  routing.ids = top_k(ranking, c.n_experts_per_tok).ids;
  routing.weights = take(scores, routing.ids);
  if (c.normalise) {
    Tensor sum = reduce(routing.weights, LLMH_REDUCE_SUM);
    if (c.normalise_eps != 0.0F) sum = shift(sum, c.normalise_eps);
    routing.weights = routing.weights / sum;
  }
  if (c.scale != 1.0F) routing.weights = scale(routing.weights, c.scale);
  return routing;
}

// One matrix an expert, `<at>.<name>.weight` [n_experts, out_features, K]: x [T, K] or [T, k, K] -> [T, k, out_features].
inline Tensor expert_linear(const Scope& at, std::string_view name, Tensor x, Tensor ids, int64_t n_experts,
                            int64_t out_features, Bias bias = Bias::kNone) {
  const Scope module = at.scope(name);
  std::vector<Tensor> inputs{x, module.weight("weight", {n_experts, out_features, x.width()}), ids};
  if (bias != Bias::kNone) {
    const uint32_t flags = bias == Bias::kIfStored ? LLMH_WEIGHT_OPTIONAL : LLMH_WEIGHT_REQUIRED;
    inputs.push_back(module.weight("bias", {n_experts, out_features}, flags));
  }
  return module.op(LLMH_OP_EXPERT_LINEAR, inputs);
}

// The weighted sum of the experts' results: y [T, k, D] -> [T, D].
inline Tensor combine(Tensor y, const Routing& routing) {
  const int64_t k = routing.weights.width();
  return merge_last(matmul(split_last(routing.weights, {1, k}), y));
}

// gate_proj, up_proj and down_proj of each expert below `at`, combined. x [T, D] -> [T, D].
inline Tensor gated_experts(const Scope& at, Tensor x, const Routing& routing, int64_t n_experts,
                            int64_t intermediate_size, int32_t act, Bias bias = Bias::kNone) {
  const Tensor gate = expert_linear(at, "gate_proj", x, routing.ids, n_experts, intermediate_size, bias);
  const Tensor up = expert_linear(at, "up_proj", x, routing.ids, n_experts, intermediate_size, bias);
  const Tensor hidden = gated_activation(gate, up, act);
  return combine(expert_linear(at, "down_proj", hidden, routing.ids, n_experts, x.width(), bias), routing);
}

// The same with gate_up_proj, whose first half is the gate.
inline Tensor fused_gated_experts(const Scope& at, Tensor x, const Routing& routing, int64_t n_experts,
                                  int64_t intermediate_size, int32_t act, Bias bias = Bias::kNone) {
  const Tensor gate_up = expert_linear(at, "gate_up_proj", x, routing.ids, n_experts, 2 * intermediate_size, bias);
  const Tensor hidden = gated_halves(gate_up, act);
  return combine(expert_linear(at, "down_proj", hidden, routing.ids, n_experts, x.width(), bias), routing);
}

}  // namespace llmh
