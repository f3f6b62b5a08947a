// One general decoder for several small families. The environment variable LLMHOST_TEST_FAULT gives it one of
// the faults that authors make; without it the plugin is right.
#include "llmhost/decoder.hpp"

#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

using llmh::Bias;

bool has_fault(std::string_view name) {
  const char* fault = std::getenv("LLMHOST_TEST_FAULT");
  return fault != nullptr && name == fault;
}

struct Traits {
  bool bias = false;      // of q, k and v
  bool experts = false;   // in place of the MLP
  bool sandwich = false;  // norms before and after each block, caps, a scaled embedding
};

class Decoder {
 public:
  static int match(const llmh::Model& model) {
    if (has_fault("match_crash") && !model.has("hidden_size")) return *static_cast<volatile int*>(nullptr);
    const std::string type = model.string_or("model_type", "");
    for (const char* known : {"mistral", "mixtral", "qwen2", "gemma2"})
      if (type == known) return LLMH_MATCH_EXACT;
    return LLMH_MATCH_NONE;
  }

  explicit Decoder(const llmh::Model& model) : sizes_(llmh::read_sizes(model)) {
    const std::string type = model.string_or("model_type", "");
    traits_ = {type == "qwen2", type == "mixtral", type == "gemma2"};
    sizes_.intermediate_size = model.require_size("intermediate_size");
    norm_ = {.eps = model.float_or("rms_norm_eps", 1e-6), .weight_offset = traits_.sandwich ? 1.0F : 0.0F};
    if (has_fault("norm_eps")) norm_.eps = norm_.eps > 5e-6F ? 1e-6F : 1e-5F;
    activation_ =
        llmh::activation_kind(model.string_or(traits_.sandwich ? "hidden_activation" : "hidden_act", "silu"));
    tied_ = llmh::is_tied(model, traits_.sandwich);
    rope_ = llmh::read_rope(model, sizes_.head_dim);
    if (has_fault("rope_base")) rope_.angles.theta *= 1.1F;
    read_windows(model, type);
    if (traits_.experts) {
      router_ = {.n_experts = model.require_size("num_local_experts"),
                 .n_experts_per_tok = model.require_size("num_experts_per_tok"),
                 .normalise = !has_fault("moe_weights")};
    }
    if (traits_.sandwich) {
      scale_ = 1.0F / std::sqrt(model.float_or("query_pre_attn_scalar", 256));
      score_cap_ = model.float_or("attn_logit_softcapping", 50);
      logit_cap_ = model.float_or("final_logit_softcapping", 30);
    }
    if (has_fault("scale")) scale_ = traits_.sandwich ? 0.0F : 1.0F;
    if (has_fault("score_cap")) score_cap_ = 0.0F;
    if (has_fault("logit_cap")) logit_cap_ = 0.0F;
    model.ignore({"hidden_act", "attention_bias", "router_jitter_noise"});
    llmh::ignore_usual_keys(model);
    if (has_fault("leak")) static_cast<void>(new std::vector<float>(100));
    if (has_fault("endless"))
      for (volatile bool stay = true; stay;) continue;
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_ != has_fault("tied"));
    llmh::add_states(states, sizes_, [this](int64_t i) { return windows_[static_cast<size_t>(i)]; });
    if (has_fault("extra_state")) states.paged_kv(77, 1, 8, 8);
    if (has_fault("context")) info.context_length = 0;
  }

  void names(llmh::Names& names) const {
    if (traits_.experts) llmh::expert_names(names, "model.layers.{i}.block_sparse_moe.", "w1", "w3", "w2");
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    const llmh::Scope model = graph.scope("model");
    llmh::Tensor x = model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size,
                                     sizes_.hidden_size);
    if (traits_.sandwich) x = llmh::scale(x, std::sqrt(static_cast<float>(sizes_.hidden_size)));
    for (int64_t i = 0; i < sizes_.n_layers; ++i) {
      const llmh::Tensor next = layer(model.scope("layers", i), i, x, angles);
      if (!has_fault("last_layer") || i + 1 < sizes_.n_layers) x = next;
    }
    x = llmh::norm(model, "norm", llmh::output_rows(x), norm_);
    llmh::Tensor logits = head(graph, x);
    if (logit_cap_ != 0.0F) logits = llmh::softcap(logits, logit_cap_);
    llmh::outputs(graph, x, logits);
  }

 private:
  void read_windows(const llmh::Model& model, const std::string& type) {
    if (type == "qwen2") {
      windows_ = llmh::read_switched_windows(model, sizes_);
    } else {
      const int64_t pattern = traits_.sandwich ? 2 : 0;
      windows_ = llmh::layer_windows(model, sizes_.n_layers, model.int_or("sliding_window", 0), pattern);
    }
    for (int64_t& window : windows_)
      if (window != 0 && has_fault("window")) ++window;
  }

  llmh::Tensor head(llmh::Graph& graph, llmh::Tensor x) const {
    try {
      return llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "model.embed_tokens.weight");
    } catch (...) {
      if (!has_fault("swallow")) throw;
      return llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "model.embed_tokens.weight");
    }
  }

  // As if head h of the queries belonged to key h % n_kv_heads.
  llmh::Tensor regroup(llmh::Tensor q) const {
    if (!has_fault("head_groups")) return q;
    std::vector<llmh::Tensor> heads;
    const int64_t group = sizes_.n_heads / sizes_.n_kv_heads;
    for (int64_t h = 0; h < sizes_.n_heads; ++h) {
      const int64_t from = (h % group) * sizes_.n_kv_heads + h / group;
      heads.push_back(llmh::slice(q, from * sizes_.head_dim, (from + 1) * sizes_.head_dim));
    }
    return llmh::concat(heads);
  }

  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                         const llmh::RopeAngles& angles) const {
    const bool drop = has_fault("bias_dropped");
    const llmh::AttentionConfig c{
        .layer = index,
        .n_heads = sizes_.n_heads,
        .n_kv_heads = sizes_.n_kv_heads,
        .head_dim = sizes_.head_dim,
        .qkv_bias = traits_.bias && !has_fault("bias_unread") && !drop ? Bias::kRequired : Bias::kNone,
        .scale = scale_,
        .softcap = score_cap_,
        .window = windows_[static_cast<size_t>(index)]};
    if (traits_.bias && drop)
      for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
        const bool is_q = name[0] == 'q';
        at.scope(name).weight("bias", {(is_q ? sizes_.n_heads : sizes_.n_kv_heads) * sizes_.head_dim});
      }
    llmh::Qkv qkv = llmh::project_qkv(at, x, c);
    const int32_t style = has_fault("rope_style") ? LLMH_ROPE_INTERLEAVED : LLMH_ROPE_HALVES;
    qkv = llmh::rotate_qk(qkv, angles, c, style);
    qkv.q = regroup(qkv.q);
    const llmh::Scope out = has_fault("path") ? at.graph().root() : at;
    if (has_fault("path"))
      return out.linear_with("o_proj", llmh::attend(at, qkv, c),
                             at.scope("o_proj").weight("weight", {x.width(), c.n_heads * c.head_dim}));
    return at.linear("o_proj", llmh::attend(at, qkv, c), x.width());
  }

  llmh::Tensor feed_forward(const llmh::Scope& at, llmh::Tensor x) const {
    if (!traits_.experts) return llmh::gated_mlp(at.scope("mlp"), x, sizes_.intermediate_size, activation_);
    const llmh::Scope mixture = at.scope("block_sparse_moe");
    const llmh::Routing routing = llmh::route(mixture.linear("gate", x, router_.n_experts), router_);
    return llmh::gated_experts(mixture.scope("experts"), x, routing, router_.n_experts,
                               sizes_.intermediate_size, activation_);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    h = attention(at.scope("self_attn"), index, h, angles);
    if (traits_.sandwich) h = llmh::norm(at, "post_attention_layernorm", h, norm_);
    x = x + h;
    h = llmh::norm(at, traits_.sandwich ? "pre_feedforward_layernorm" : "post_attention_layernorm", x, norm_);
    h = feed_forward(at, h);
    if (traits_.sandwich) h = llmh::norm(at, "post_feedforward_layernorm", h, norm_);
    return at.name("output", x + h);
  }

  llmh::DecoderSizes sizes_;
  Traits traits_;
  llmh::NormConfig norm_;
  llmh::RouterConfig router_;
  int32_t activation_ = 0;
  bool tied_ = false;
  llmh::RopeConfig rope_;
  float scale_ = 0.0F, score_cap_ = 0.0F, logit_cap_ = 0.0F;
  std::vector<int64_t> windows_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Decoder);
