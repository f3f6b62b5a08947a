// Cases of matrix products, and of every type that a frozen weight may have.
#include "cases.h"
#include "core/dequantize.h"

namespace llmhost::graph::vjp_test {
namespace {

llmh_matmul_attrs matmul_attrs(bool transpose_b) {
  auto attrs = make_attrs<llmh_matmul_attrs>();
  attrs.transpose_b = transpose_b ? 1 : 0;
  return attrs;
}

void add_linears(Cases& cases) {
  cases.push_back({"linear", [](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({4});
                     const llmh_tensor weight = c.parameter({3, 4});
                     return c.op(LLMH_OP_LINEAR, {x, weight, c.parameter({3})});
                   }});
  cases.push_back({"linear, square", [](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({2, 3});
                     return c.op(LLMH_OP_LINEAR, {x, c.parameter({3, 3})});
                   }});
  cases.push_back({"linear, a vector", [](CaseGraph& c) {
                     const llmh_tensor x = c.parameter({4});
                     const llmh_tensor weight = c.parameter({3, 4});
                     return c.op(LLMH_OP_LINEAR, {x, weight, c.parameter({3})});
                   }});
  cases.push_back({"linear, made weight", [](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({3});
                     const llmh_tensor weight = c.op(LLMH_OP_SCALE, {c.parameter({3, 3})}, [] {
                       auto attrs = make_attrs<llmh_scalar_attrs>();
                       attrs.value = 0.5F;
                       return attrs;
                     }());
                     return c.op(LLMH_OP_LINEAR, {x, weight});
                   }});
  cases.push_back({"linear input gradient", [](CaseGraph& c) {
                     const llmh_tensor dy = c.tokens({3});
                     return c.op(LLMH_OP_LINEAR_INPUT_GRAD, {dy, c.parameter({3, 3})});
                   }});
  cases.push_back({"linear weight gradient", [](CaseGraph& c) {
                     const llmh_tensor dy = c.tokens({3});
                     return c.op(LLMH_OP_LINEAR_WEIGHT_GRAD, {dy, c.tokens({3})});
                   }});
}

void add_experts(Cases& cases) {
  cases.push_back({"expert linear, one row a token", [](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({3});
                     const llmh_tensor weight = c.parameter({4, 3, 3});
                     const llmh_tensor ids = c.token_ids({2}, 4);
                     return c.op(LLMH_OP_EXPERT_LINEAR, {x, weight, ids, c.parameter({4, 3})});
                   }});
  cases.push_back({"expert linear, a row an expert", [](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({2, 3});
                     const llmh_tensor weight = c.parameter({4, 2, 3});
                     return c.op(LLMH_OP_EXPERT_LINEAR, {x, weight, c.token_ids({2}, 4)});
                   }});
}

void add_matmuls(Cases& cases) {
  for (const bool transposed : {false, true}) {
    const auto attrs = matmul_attrs(transposed);
    const std::string name = transposed ? "matmul transposed" : "matmul";
    cases.push_back({name + ", square", [attrs](CaseGraph& c) {
                       const llmh_tensor a = c.parameter({3, 3});
                       return c.op(LLMH_OP_MATMUL, {a, c.parameter({3, 3})}, attrs);
                     }});
    cases.push_back({name + ", stretched", [attrs](CaseGraph& c) {
                       const llmh_tensor a = c.parameter({2, 1, 3, 3});
                       return c.op(LLMH_OP_MATMUL, {a, c.parameter({4, 3, 3})}, attrs);
                     }});
    cases.push_back({name + ", tokens", [attrs](CaseGraph& c) {
                       const llmh_tensor a = c.tokens({2, 3});
                       return c.op(LLMH_OP_MATMUL, {a, c.tokens({3, 3})}, attrs);
                     }});
    cases.push_back({name + ", one matrix", [attrs](CaseGraph& c) {
                       const llmh_tensor a = c.tokens({2, 3});
                       return c.op(LLMH_OP_MATMUL, {a, c.parameter({3, 3})}, attrs);
                     }});
  }
}

}  // namespace

void add_product_cases(Cases& cases) {
  add_linears(cases);
  add_experts(cases);
  add_matmuls(cases);
}

std::vector<VjpCase> weight_type_cases() {
  Cases cases;
  for (llmh_dtype dtype = 0; dtype < 256; ++dtype) {
    const auto layout = llmh_dtype_layout_of(dtype);
    if (layout.name == nullptr || !can_dequantize(dtype) || dtype == LLMH_DTYPE_F64) continue;
    const auto width = static_cast<int64_t>(layout.block_elements > 1 ? layout.block_elements : 8);
    const std::string name = std::string(", ") + layout.name;
    cases.push_back({"linear" + name, [dtype, width](CaseGraph& c) {
                       const llmh_tensor x = c.tokens({width});
                       return c.op(LLMH_OP_LINEAR, {x, c.weight(dtype, {5, width})});
                     }});
    cases.push_back({"expert linear" + name, [dtype, width](CaseGraph& c) {
                       const llmh_tensor x = c.tokens({width});
                       const llmh_tensor weight = c.weight(dtype, {3, 4, width});
                       return c.op(LLMH_OP_EXPERT_LINEAR, {x, weight, c.token_ids({2}, 3)});
                     }});
    cases.push_back({"matmul" + name, [dtype, width](CaseGraph& c) {
                       const llmh_tensor a = c.parameter({3, 2, width});
                       return c.op(LLMH_OP_MATMUL, {a, c.weight(dtype, {3, 4, width})}, matmul_attrs(true));
                     }});
    cases.push_back(
        {"loss of a head" + name, [dtype, width](CaseGraph& c) {
           auto attrs = make_attrs<llmh_head_attrs>();
           attrs.value = 0.3F;
           const llmh_tensor x = c.outputs({width}, 0.5F);
           return c.op(LLMH_OP_LINEAR_CROSS_ENTROPY,
                       {x, c.weight(dtype, {6, width}), LLMH_NO_TENSOR, c.graph.add_input(LLMH_INPUT_LABELS)},
                       attrs);
         }});
    cases.push_back({"embedding" + name, [dtype, width](CaseGraph& c) {
                       const llmh_tensor row =
                           c.op(LLMH_OP_EMBEDDING,
                                {c.weight(dtype, {6, width}), c.graph.add_input(LLMH_INPUT_TOKEN_IDS)});
                       return c.op(LLMH_OP_MUL, {row, c.parameter({width})});
                     }});
  }
  return cases;
}

}  // namespace llmhost::graph::vjp_test
