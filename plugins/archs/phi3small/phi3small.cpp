// Phi 3 small (Abdin et al. 2024): layers whose attention is block-sparse alternate with dense ones; a gated
// GELU with limits whose branches are interleaved; multipliers of the maximal update parametrisation (Yang et
// al. 2022). Tokens that were never trained get the lowest logit.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "llmhost/decoder.hpp"

namespace {

using llmh::Bias;
using llmh::Tensor;

llmh::SizeKeys hub_keys() {
  llmh::SizeKeys keys;
  keys.intermediate_size = "ff_intermediate_size";
  return keys;
}

class Phi3Small {
 public:
  static int match(const llmh::Model& model) {
    const bool known = model.string_or("model_type", "") == "phi3small" && !model.is_gguf();
    return known ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Phi3Small(const llmh::Model& model) : sizes_(llmh::read_sizes(model, hub_keys(), 8192)) {
    sizes_.intermediate_size = model.require_size("ff_intermediate_size");
    norm_ = {.centred = true, .eps = model.float_or("layer_norm_epsilon", 1e-5), .bias = Bias::kRequired};
    tied_ = llmh::is_tied(model, true);
    if (const std::string act = model.string_or("hidden_act", "gegelu"); act != "gegelu")
      llmh::refuse("'hidden_act' is '" + act + "'");
    rope_ = llmh::read_rope(model, llmh::read_rotary_dim(model, sizes_.head_dim), 1000000.0,
                            "rope_embedding_base");
    scales_ = llmh::read_length_scales(model, rope_);
    read_multipliers(model);
    read_sparsity(model);
    dummy_tokens_ = model.find_floats("dummy_token_indices").value_or(std::vector<float>{});
    llmh::refuse_experts(model);
    llmh::refuse_unless(model, "rope_position_scale", 1.0);
    llmh::ignore_usual_keys(model);
    // How the width follows from a factor when it is not given; number formats and padding of the original
    // code; the biases are as stored.
    model.ignore({"ff_dim_multiplier", "gegelu_pad_to_256", "reorder_and_upcast_attn",
                  "pad_sequence_to_multiple_of_64", "blocksparse_triton_kernel_block_size",
                  "attention_bias"});
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    llmh::ignore_buffers(names);
    names.ignore("model.layers.{i}.self_attn.rotary_emb.range_vector");
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles_by_length(graph, rope_, scales_);
    const llmh::Scope model = graph.scope("model");
    Tensor x = model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size,
                               sizes_.hidden_size);
    if (embedding_multiplier_ != 0.0F) x = llmh::scale(x, embedding_multiplier_);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("layers", i), i, x, angles);
    x = llmh::norm(model, "final_layernorm", llmh::output_rows(x), norm_);
    Tensor logits = llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "model.embed_tokens.weight");
    if (width_multiplier_ != 0.0F) logits = llmh::scale(logits, 1.0F / width_multiplier_);
    llmh::outputs(graph, x, without_dummies(graph, logits));
  }

 private:
  void read_multipliers(const llmh::Model& model) {
    embedding_multiplier_ = model.float_or("mup_embedding_multiplier", 10.0);
    width_multiplier_ = model.float_or("mup_width_multiplier", 8.0);
    gegelu_limit_ = model.float_or("gegelu_limit", 0.0);
    const auto head_dim = static_cast<float>(sizes_.head_dim);
    const float attention_multiplier = model.float_or("mup_attn_multiplier", 1.0);
    scale_ =
        model.bool_or("mup_use_scaling", true) ? attention_multiplier / head_dim : 1.0F / std::sqrt(head_dim);
  }

  void read_sparsity(const llmh::Model& model) {
    dense_every_ = model.int_or("dense_attention_every_n_layers", 0);
    block_size_ = model.size_or("blocksparse_block_size", 64);
    local_blocks_ = model.size_or("blocksparse_num_local_blocks", 16);
    vertical_stride_ = model.size_or("blocksparse_vert_stride", 8);
    // Either all heads see the same stripes, or each head's are moved on from those of the one before it.
    const bool same = model.bool_or("blocksparse_homo_head_pattern", false);
    head_step_ = same ? 0 : std::max<int64_t>(1, vertical_stride_ / sizes_.n_heads);
  }

  Tensor attention(const llmh::Scope& at, int64_t index, Tensor x, const llmh::RopeAngles& angles) const {
    llmh::AttentionConfig c{.layer = index,
                            .n_heads = sizes_.n_heads,
                            .n_kv_heads = sizes_.n_kv_heads,
                            .head_dim = sizes_.head_dim,
                            .qkv_bias = Bias::kIfStored,
                            .scale = scale_};
    if (dense_every_ == 0 || (index + 1) % dense_every_ != 0) {
      c.block_size = block_size_;
      c.local_blocks = local_blocks_;
      c.vertical_stride = vertical_stride_;
      c.head_step = head_step_;
    }
    const llmh::Qkv qkv = llmh::project_fused_qkv(at, "query_key_value", x, llmh::QkvOrder::kGrouped, c);
    return at.linear("dense", llmh::attend(at, llmh::rotate_qk(qkv, angles, c), c), x.width(),
                     Bias::kIfStored);
  }

  // a sigmoid(1.702 a) (b + 1) of neighbours a and b.
  Tensor mlp(const llmh::Scope& at, Tensor x) const {
    const int64_t width = sizes_.intermediate_size;
    const Tensor both = llmh::split_last(at.linear("up_proj", x, 2 * width, Bias::kRequired), {width, 2});
    Tensor gate = llmh::merge_last(llmh::slice(both, 0, 1));
    Tensor linear = llmh::merge_last(llmh::slice(both, 1, 2));
    if (gegelu_limit_ != 0.0F) {
      gate = llmh::at_most(gate, gegelu_limit_);
      linear = llmh::clamp(linear, -gegelu_limit_, gegelu_limit_);
    }
    const Tensor hidden = llmh::gated_activation(gate, llmh::shift(linear, 1.0F), LLMH_ACT_GELU_QUICK);
    return at.linear("down_proj", hidden, x.width(), Bias::kRequired);
  }

  Tensor layer(const llmh::Scope& at, int64_t index, Tensor x, const llmh::RopeAngles& angles) const {
    x = x + attention(at.scope("self_attn"), index, llmh::norm(at, "input_layernorm", x, norm_), angles);
    return at.name("output", x + mlp(at.scope("mlp"), llmh::norm(at, "post_attention_layernorm", x, norm_)));
  }

  Tensor without_dummies(llmh::Graph& graph, Tensor logits) const {
    if (dummy_tokens_.empty()) return logits;
    std::vector<float> kept(static_cast<size_t>(sizes_.vocab_size), 1.0F);
    std::vector<float> lowest(kept.size(), 0.0F);
    for (const float token : dummy_tokens_) {
      if (token < 0.0F || token >= static_cast<float>(sizes_.vocab_size)) continue;
      kept[static_cast<size_t>(token)] = 0.0F;
      lowest[static_cast<size_t>(token)] = std::numeric_limits<float>::lowest();
    }
    return logits * graph.constant("trained_tokens", {sizes_.vocab_size}, kept) +
           graph.constant("dummy_tokens", {sizes_.vocab_size}, lowest);
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  bool tied_;
  llmh::RopeConfig rope_;
  llmh::LengthScales scales_;
  float embedding_multiplier_, width_multiplier_, gegelu_limit_, scale_;
  int64_t dense_every_, block_size_, local_blocks_, vertical_stride_, head_step_;
  std::vector<float> dummy_tokens_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Phi3Small);
