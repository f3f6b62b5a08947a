// Cases of attention over a step's own tokens, and of rotations.
#include "cases.h"

namespace llmhost::graph::vjp_test {
namespace {

constexpr int32_t kHeads = 4;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kDim = 2;

llmh_attention_attrs attention_attrs() {
  auto attrs = make_attrs<llmh_attention_attrs>();
  attrs.n_heads = kHeads;
  attrs.n_kv_heads = kKvHeads;
  attrs.k_head_dim = kDim;
  attrs.v_head_dim = kDim;
  attrs.scale = 0.8F;
  attrs.causal = 1;
  return attrs;
}

enum class Extra { kNone, kSlopes, kSinks };

void add_attention(Cases& cases, const std::string& name, const llmh_attention_attrs& attrs,
                   Extra extra = Extra::kNone) {
  cases.push_back({"attention" + name, [attrs, extra](CaseGraph& c) {
                     const llmh_tensor q = c.tokens({attrs.n_heads * attrs.k_head_dim});
                     const llmh_tensor k = c.tokens({attrs.n_kv_heads * attrs.k_head_dim});
                     const llmh_tensor v = c.tokens({attrs.n_kv_heads * attrs.v_head_dim});
                     const llmh_tensor slopes =
                         extra == Extra::kSlopes ? c.constant({kHeads}) : LLMH_NO_TENSOR;
                     const llmh_tensor sinks =
                         extra == Extra::kSinks ? c.parameter({kHeads}) : LLMH_NO_TENSOR;
                     return c.op(LLMH_OP_ATTENTION_TRAIN, {q, k, v, slopes, sinks}, attrs);
                   }});
}

void add_attentions(Cases& cases) {
  add_attention(cases, "", attention_attrs());
  add_attention(cases, ", slopes", attention_attrs(), Extra::kSlopes);
  add_attention(cases, ", sinks", attention_attrs(), Extra::kSinks);
  auto attrs = attention_attrs();
  attrs.causal = 0;
  add_attention(cases, " in both directions", attrs);
  attrs = attention_attrs();
  attrs.softcap = 0.7F;
  add_attention(cases, ", softcap", attrs);
  attrs = attention_attrs();
  attrs.window = 2;
  add_attention(cases, ", window", attrs);
  attrs = attention_attrs();
  attrs.chunk = 2;
  add_attention(cases, ", chunks", attrs);
  attrs = attention_attrs();
  attrs.block_size = 1;
  attrs.local_blocks = 1;
  attrs.vertical_stride = 2;
  attrs.head_step = 1;
  add_attention(cases, ", sparse blocks", attrs);
  attrs = attention_attrs();
  attrs.top_k_ratio = 0.5F;
  add_attention(cases, ", the best keys", attrs);
  cases.back().step = kStepAtKinks;
  attrs = attention_attrs();
  attrs.v_head_dim = 3;
  add_attention(cases, ", wider values", attrs);
}

void add_ropes(Cases& cases) {
  for (const int32_t style : {LLMH_ROPE_HALVES, LLMH_ROPE_INTERLEAVED})
    for (const int32_t rotary : {4, 6}) {
      cases.push_back({"rope " + std::to_string(style) + " of " + std::to_string(rotary), [=](CaseGraph& c) {
                         auto angles = make_attrs<llmh_rope_angles_attrs>();
                         angles.rotary_dim = rotary;
                         angles.theta = 100;
                         const llmh_tensor inputs[] = {c.graph.add_input(LLMH_INPUT_POSITIONS),
                                                       c.graph.add_input(LLMH_INPUT_ROPE_LENGTHS)};
                         const auto made = c.frame.node(LLMH_OP_ROPE_ANGLES, inputs, &angles, sizeof angles);
                         auto attrs = make_attrs<llmh_rope_attrs>();
                         attrs.n_heads = 2;
                         attrs.head_dim = 6;
                         attrs.rotary_dim = rotary;
                         attrs.style = style;
                         return c.op(LLMH_OP_ROPE, {c.tokens({12}), made[0], made[1]}, attrs);
                       }});
    }
}

}  // namespace

void add_attention_cases(Cases& cases) {
  add_attentions(cases);
  add_ropes(cases);
}

}  // namespace llmhost::graph::vjp_test
