// Cases of arithmetic, functions of single elements, norms and reductions.
#include <limits>

#include "cases.h"

namespace llmhost::graph::vjp_test {
namespace {

template <typename Attrs>
Attrs kind_of(int32_t kind) {
  auto attrs = make_attrs<Attrs>();
  attrs.kind = kind;
  return attrs;
}

llmh_scalar_attrs scalar(float value) {
  auto attrs = make_attrs<llmh_scalar_attrs>();
  attrs.value = value;
  return attrs;
}

llmh_norm_attrs norm_attrs(float offset) {
  auto attrs = make_attrs<llmh_norm_attrs>();
  attrs.eps = 0.1F;
  attrs.weight_offset = offset;
  return attrs;
}

void add_binary(Cases& cases) {
  const std::pair<llmh_op, std::string> ops[] = {
      {LLMH_OP_ADD, "add"}, {LLMH_OP_SUB, "sub"}, {LLMH_OP_MUL, "mul"}, {LLMH_OP_DIV, "div"}};
  for (const auto& [op, name] : ops) {
    const auto node = op;
    cases.push_back({name, [node](CaseGraph& c) {
                       const llmh_tensor a = c.tokens({3});
                       return c.op(node, {a, c.away_from_zero({3}, false)});
                     }});
    cases.push_back({name + ", both stretched", [node](CaseGraph& c) {
                       const llmh_tensor a = c.parameter({4, 1});
                       return c.op(node, {a, c.away_from_zero({2, 1, 3}, false)});
                     }});
    cases.push_back({name + ", a scalar", [node](CaseGraph& c) {
                       return c.op(node, {c.tokens({2}), c.graph.scalar(0.7F)});
                     }});
    cases.push_back({name + ", one tensor in both", [node](CaseGraph& c) {
                       const llmh_tensor x = c.away_from_zero({5}, false);
                       return c.op(node, {x, c.op(LLMH_OP_MUL, {x, x})});
                     }});
  }
}

void add_unary(Cases& cases) {
  const std::pair<int32_t, std::string> kinds[] = {
      {LLMH_UNARY_NEG, "neg"},         {LLMH_UNARY_EXP, "exp"},       {LLMH_UNARY_LOG, "log"},
      {LLMH_UNARY_SQRT, "sqrt"},       {LLMH_UNARY_RSQRT, "rsqrt"},   {LLMH_UNARY_TANH, "tanh"},
      {LLMH_UNARY_SIGMOID, "sigmoid"}, {LLMH_UNARY_ERF, "erf"},       {LLMH_UNARY_RELU, "relu"},
      {LLMH_UNARY_ABS, "abs"},         {LLMH_UNARY_SQUARE, "square"}, {LLMH_UNARY_SIN, "sin"},
      {LLMH_UNARY_COS, "cos"},         {LLMH_UNARY_STEP, "step"}};
  for (const auto& [kind, name] : kinds) {
    const auto attrs = kind_of<llmh_unary_attrs>(kind);
    const bool positive = kind == LLMH_UNARY_LOG || kind == LLMH_UNARY_SQRT || kind == LLMH_UNARY_RSQRT;
    cases.push_back({"unary " + name, [attrs, positive](CaseGraph& c) {
                       return c.op(LLMH_OP_UNARY, {c.away_from_zero({7}, positive)}, attrs);
                     }});
  }
  for (int32_t kind = LLMH_ACT_SILU; kind <= LLMH_ACT_GELU_QUICK; ++kind) {
    const auto attrs = kind_of<llmh_activation_attrs>(kind);
    const std::string name = std::to_string(kind);
    cases.push_back({"activation " + name, [attrs](CaseGraph& c) {
                       return c.op(LLMH_OP_ACTIVATION, {c.away_from_zero({2, 4}, false)}, attrs);
                     }});
    cases.push_back({"gated activation " + name, [attrs](CaseGraph& c) {
                       const llmh_tensor gate = c.away_from_zero({2, 4}, false);
                       return c.op(LLMH_OP_GATED_ACTIVATION, {gate, c.parameter({2, 4})}, attrs);
                     }});
  }
}

void add_scaled(Cases& cases) {
  cases.push_back(
      {"scale", [](CaseGraph& c) { return c.op(LLMH_OP_SCALE, {c.tokens({2})}, scalar(-1.7F)); }});
  cases.push_back(
      {"softcap", [](CaseGraph& c) { return c.op(LLMH_OP_SOFTCAP, {c.parameter({8}, 2)}, scalar(1.5F)); }});
  auto clamp = make_attrs<llmh_clamp_attrs>();
  clamp.min = -0.6F;
  clamp.max = 0.5F;
  const auto add_clamped = [&cases](const std::string& name, llmh_clamp_attrs attrs) {
    VjpCase clamped{name,
                    [attrs](CaseGraph& c) { return c.op(LLMH_OP_CLAMP, {c.parameter({24}, 1.0F)}, attrs); }};
    clamped.step = kStepAtKinks;
    cases.push_back(clamped);
  };
  add_clamped("clamp", clamp);
  clamp.min = -std::numeric_limits<float>::infinity();
  add_clamped("clamp above", clamp);
  clamp.min = -0.3F;
  clamp.max = std::numeric_limits<float>::infinity();
  add_clamped("clamp below", clamp);
  auto dropout = make_attrs<llmh_dropout_attrs>();
  dropout.p = 0.4F;
  dropout.site = 3;
  cases.push_back(
      {"dropout", [dropout](CaseGraph& c) { return c.op(LLMH_OP_DROPOUT, {c.tokens({5})}, dropout); }});
}

void add_reductions(Cases& cases) {
  const std::pair<int32_t, std::string> kinds[] = {
      {LLMH_REDUCE_SUM, "sum"}, {LLMH_REDUCE_MEAN, "mean"}, {LLMH_REDUCE_MAX, "max"}};
  for (const auto& [kind, name] : kinds) {
    const auto attrs = kind_of<llmh_reduce_attrs>(kind);
    cases.push_back({"reduce " + name, [attrs](CaseGraph& c) {
                       return c.op(LLMH_OP_REDUCE, {c.tokens({2, 5})}, attrs);
                     }});
  }
  cases.push_back({"softmax", [](CaseGraph& c) { return c.op(LLMH_OP_SOFTMAX, {c.tokens({5})}); }});
}

void add_norms(Cases& cases) {
  for (const float offset : {0.0F, 1.0F}) {
    const auto attrs = norm_attrs(offset);
    const std::string with = offset == 0 ? "" : ", weight offset";
    cases.push_back({"rms norm" + with, [attrs](CaseGraph& c) {
                       const llmh_tensor x = c.tokens({2, 4});
                       return c.op(LLMH_OP_RMS_NORM, {x, c.parameter({4})}, attrs);
                     }});
    cases.push_back({"layer norm" + with, [attrs](CaseGraph& c) {
                       const llmh_tensor x = c.tokens({2, 4}, 1, 0.5F);
                       const llmh_tensor weight = c.parameter({4});
                       return c.op(LLMH_OP_LAYER_NORM, {x, weight, c.parameter({4})}, attrs);
                     }});
    cases.push_back({"add rms norm" + with, [attrs](CaseGraph& c) {
                       const llmh_tensor a = c.tokens({4});
                       const llmh_tensor b = c.tokens({4});
                       const llmh_tensor inputs[] = {a, b, c.parameter({4})};
                       const auto made = c.at.node(LLMH_OP_ADD_RMS_NORM, inputs, &attrs, sizeof attrs);
                       return c.op(LLMH_OP_MUL, {made[0], made[1]});
                     }});
  }
  const auto attrs = norm_attrs(0);
  cases.push_back({"rms norm, no weight",
                   [attrs](CaseGraph& c) { return c.op(LLMH_OP_RMS_NORM, {c.tokens({4})}, attrs); }});
  cases.push_back({"layer norm, no weight", [attrs](CaseGraph& c) {
                     return c.op(LLMH_OP_LAYER_NORM, {c.tokens({4}, 1, 0.5F)}, attrs);
                   }});
  cases.push_back({"rms norm, frozen weight", [attrs](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({4});
                     return c.op(LLMH_OP_RMS_NORM, {x, c.weight(LLMH_DTYPE_F32, {4})}, attrs);
                   }});
}

}  // namespace

void add_elementwise_cases(Cases& cases) {
  add_binary(cases);
  add_unary(cases);
  add_scaled(cases);
  add_reductions(cases);
  add_norms(cases);
}

}  // namespace llmhost::graph::vjp_test
