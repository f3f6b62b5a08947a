// Cases of losses, and of gradients that have several parts or end.
#include "cases.h"

namespace llmhost::graph::vjp_test {
namespace {

llmh_head_attrs head_attrs(float value, float softcap) {
  auto attrs = make_attrs<llmh_head_attrs>();
  attrs.value = value;
  attrs.softcap = softcap;
  return attrs;
}

llmh_tensor head_loss(CaseGraph& c, const llmh_head_attrs& attrs, bool has_bias) {
  const llmh_tensor x = c.outputs({3});
  const llmh_tensor weight = c.weight(LLMH_DTYPE_F32, {5, 3});
  const llmh_tensor bias = has_bias ? c.weight(LLMH_DTYPE_F32, {5}) : LLMH_NO_TENSOR;
  return c.op(LLMH_OP_LINEAR_CROSS_ENTROPY, {x, weight, bias, c.graph.add_input(LLMH_INPUT_LABELS)}, attrs);
}

}  // namespace

void add_loss_cases(Cases& cases) {
  for (const bool is_loss : {false, true}) {
    const std::string name = is_loss ? ", as the loss" : "";
    VjpCase logits{"cross entropy" + name, [](CaseGraph& c) {
                     const llmh_tensor x = c.outputs({5});
                     return c.op(LLMH_OP_CROSS_ENTROPY, {x, c.graph.add_input(LLMH_INPUT_LABELS)});
                   }};
    logits.is_loss = is_loss;
    cases.push_back(logits);
    VjpCase plain{"loss of a head" + name,
                  [](CaseGraph& c) { return head_loss(c, head_attrs(0, 0), false); }};
    plain.is_loss = is_loss;
    cases.push_back(plain);
    VjpCase full{"loss of a head, bias, scale and softcap" + name,
                 [](CaseGraph& c) { return head_loss(c, head_attrs(0.7F, 1.5F), true); }};
    full.is_loss = is_loss;
    cases.push_back(full);
  }
}

void add_composed_cases(Cases& cases) {
  cases.push_back({"detach", [](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({3});
                     return c.op(LLMH_OP_MUL, {x, c.op(LLMH_OP_DETACH, {c.op(LLMH_OP_MUL, {x, x})})});
                   }});
  cases.push_back({"row norms", [](CaseGraph& c) {
                     auto attrs = make_attrs<llmh_scalar_attrs>();
                     attrs.value = 0.5F;
                     const llmh_tensor a = c.parameter({2, 4});
                     const llmh_tensor b = c.parameter({3, 2});
                     const llmh_tensor weight = c.weight(LLMH_DTYPE_F32, {3, 4});
                     const llmh_tensor norms = c.op(LLMH_OP_LOW_RANK_ROW_NORMS, {weight, a, b}, attrs);
                     const llmh_tensor gain = c.op(LLMH_OP_DIV, {c.parameter({3}), norms});
                     const llmh_tensor x = c.tokens({4});
                     const llmh_tensor low = c.op(LLMH_OP_LINEAR, {x, a});
                     const llmh_tensor delta = c.op(LLMH_OP_SCALE, {c.op(LLMH_OP_LINEAR, {low, b})}, attrs);
                     const llmh_tensor y = c.op(LLMH_OP_ADD, {c.op(LLMH_OP_LINEAR, {x, weight}), delta});
                     return c.op(LLMH_OP_MUL, {gain, y});
                   }});
  cases.push_back({"many readers", [](CaseGraph& c) {
                     const llmh_tensor x = c.at.scale(c.tokens({3}), 1.5F);
                     llmh_tensor y = c.at.mul(x, x);
                     y = c.at.add(y, c.op(LLMH_OP_SOFTMAX, {x}));
                     return c.at.mul(c.at.add(y, x), x);
                   }});
  cases.push_back(
      {"a parameter in several places", [](CaseGraph& c) {
         const llmh_tensor table = c.parameter({6, 3});
         const llmh_tensor rows = c.op(LLMH_OP_EMBEDDING, {table, c.graph.add_input(LLMH_INPUT_TOKEN_IDS)});
         return c.op(LLMH_OP_LINEAR, {c.op(LLMH_OP_SOFTMAX, {rows}), table});
       }});
  cases.push_back({"a parameter as it is", [](CaseGraph& c) { return c.parameter({4}); }});
}

std::vector<VjpCase> vjp_cases() {
  Cases cases;
  add_elementwise_cases(cases);
  add_product_cases(cases);
  add_movement_cases(cases);
  add_attention_cases(cases);
  add_loss_cases(cases);
  add_composed_cases(cases);
  return cases;
}

}  // namespace llmhost::graph::vjp_test
