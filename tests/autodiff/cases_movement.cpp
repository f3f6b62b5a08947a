// Cases of data movement and selection.
#include "cases.h"

namespace llmhost::graph::vjp_test {
namespace {

const llmh_dim kTokenRows = symbol_dim(LLMH_DIM_TOKENS);

void add_shapes(Cases& cases) {
  cases.push_back({"reshape", [](CaseGraph& c) {
                     return c.at.reshape(c.tokens({2, 3}), {kTokenRows, constant_dim(6)});
                   }});
  cases.push_back({"permute", [](CaseGraph& c) { return c.at.permute(c.tokens({2, 3}), {2, 0, 1}); }});
  cases.push_back({"permute, a swap", [](CaseGraph& c) {
                     return c.at.permute(c.parameter({3, 3}), {1, 0});
                   }});
  cases.push_back(
      {"broadcast", [](CaseGraph& c) {
         return c.at.broadcast(c.parameter({3, 1}), {constant_dim(2), constant_dim(3), constant_dim(4)});
       }});
  cases.push_back({"reduce to", [](CaseGraph& c) {
                     return c.at.reduce_to(c.tokens({2, 3}), {constant_dim(2), constant_dim(1)});
                   }});
  for (const llmh_dtype dtype : {LLMH_DTYPE_BF16, LLMH_DTYPE_F16, LLMH_DTYPE_F32, LLMH_DTYPE_F64}) {
    VjpCase cast{
        "cast to " + std::string(llmh_dtype_layout_of(dtype).name), [dtype](CaseGraph& c) {
          auto attrs = make_attrs<llmh_cast_attrs>();
          attrs.dtype = dtype;
          return c.op(LLMH_OP_MUL, {c.op(LLMH_OP_CAST, {c.tokens({3})}, attrs), c.graph.scalar(1.5F)});
        }};
    cast.step = 1;  // it is linear but for rounding
    cast.tolerance = 2e-2;
    cases.push_back(cast);
  }
}

void add_parts(Cases& cases) {
  cases.push_back({"slice", [](CaseGraph& c) { return c.at.slice(c.tokens({5}), 1, 1, 4); }});
  cases.push_back({"slice of a parameter", [](CaseGraph& c) {
                     return c.at.slice(c.parameter({5, 2}), 0, 2, 5);
                   }});
  cases.push_back({"slices side by side", [](CaseGraph& c) {
                     const llmh_tensor x = c.at.scale(c.tokens({6}), 2);
                     const llmh_tensor last = c.at.slice(x, 1, 4, 6);
                     const llmh_tensor first = c.at.slice(x, 1, 0, 2);
                     const llmh_tensor middle = c.at.slice(x, 1, 2, 4);
                     return c.at.add(c.at.mul(first, middle), last);
                   }});
  cases.push_back({"slices that overlap, and the whole", [](CaseGraph& c) {
                     const llmh_tensor x = c.at.scale(c.tokens({4}), 2);
                     const llmh_tensor first = c.at.slice(x, 1, 0, 3);
                     const llmh_tensor second = c.at.slice(x, 1, 1, 4);
                     return c.at.concat({c.at.mul(first, second), x}, 1);
                   }});
  cases.push_back({"slices with gaps along two axes", [](CaseGraph& c) {
                     const llmh_tensor x = c.at.scale(c.tokens({4, 3}), 2);
                     const llmh_tensor outer = c.at.slice(x, 1, 1, 2);
                     const llmh_tensor inner = c.at.slice(x, 2, 2, 3);
                     const llmh_tensor apart = c.at.slice(x, 1, 3, 4);
                     return c.at.add(c.at.mul(outer, inner), apart);
                   }});
  cases.push_back({"slices, many", [](CaseGraph& c) {
                     const llmh_tensor x = c.at.scale(c.tokens({20}), 2);
                     llmh_tensor y = c.at.slice(x, 1, 19, 20);
                     for (int64_t i = 0; i < 19; ++i) {
                       const llmh_tensor weighted =
                           c.at.scale(c.at.slice(x, 1, i, i + 1), 0.83F + 0.02F * static_cast<float>(i));
                       y = c.at.add(y, c.at.unary(LLMH_UNARY_SQUARE, weighted));
                     }
                     return y;
                   }});
  cases.push_back({"pad", [](CaseGraph& c) { return c.at.pad(c.tokens({3}), 1, 1, 6); }});
  cases.push_back({"concat", [](CaseGraph& c) {
                     const llmh_tensor a = c.tokens({2});
                     const llmh_tensor b = c.tokens({2});
                     return c.at.concat({a, b, a}, 1);
                   }});
}

void add_rows(Cases& cases) {
  cases.push_back(
      {"embedding", [](CaseGraph& c) {  // positions come twice
         return c.op(LLMH_OP_EMBEDDING, {c.parameter({5, 3}), c.graph.add_input(LLMH_INPUT_POSITIONS)});
       }});
  cases.push_back({"embedding of a table of ids", [](CaseGraph& c) {
                     const llmh_tensor table = c.parameter({5, 3});
                     return c.op(LLMH_OP_EMBEDDING, {table, c.token_ids({2}, 5)});
                   }});
  cases.push_back({"gather", [](CaseGraph& c) {
                     const llmh_tensor x = c.parameter({4, 2, 2});
                     return c.op(LLMH_OP_GATHER, {x, c.ids({7}, 4)});
                   }});
  cases.push_back({"scatter add", [](CaseGraph& c) {
                     const llmh_tensor x = c.parameter({7, 2});
                     return c.at.scatter_add(x, c.ids({7}, 4), {constant_dim(4), constant_dim(2)});
                   }});
  cases.push_back({"take", [](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({5});
                     return c.op(LLMH_OP_TAKE, {x, c.token_ids({3}, 5)});
                   }});
  cases.push_back({"scatter last", [](CaseGraph& c) {
                     auto attrs = make_attrs<llmh_width_attrs>();
                     attrs.width = 5;
                     const llmh_tensor x = c.tokens({3});
                     return c.op(LLMH_OP_SCATTER_LAST, {x, c.token_ids({3}, 5)}, attrs);
                   }});
  auto best = make_attrs<llmh_top_k_attrs>();
  best.k = 2;
  cases.push_back({"top k", [best](CaseGraph& c) { return c.op(LLMH_OP_TOP_K, {c.tokens({5})}, best); }});
  cases.push_back({"top k, its ids", [best](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({5});
                     const llmh_tensor inputs[] = {x};
                     const auto chosen = c.at.node(LLMH_OP_TOP_K, inputs, &best, sizeof best);
                     return c.op(LLMH_OP_TAKE, {c.op(LLMH_OP_SOFTMAX, {x}), chosen[1]});
                   }});
  cases.push_back({"top k mask", [best](CaseGraph& c) {
                     const llmh_tensor x = c.tokens({5});
                     return c.op(LLMH_OP_MUL, {c.op(LLMH_OP_TOP_K_MASK, {x}, best), x});
                   }});
}

}  // namespace

void add_movement_cases(Cases& cases) {
  add_shapes(cases);
  add_parts(cases);
  add_rows(cases);
}

}  // namespace llmhost::graph::vjp_test
