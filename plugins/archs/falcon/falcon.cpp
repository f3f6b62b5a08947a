// Falcon (Almazrouei et al. 2023), in its three shapes: one key/value head and one norm for both blocks,
// which stand side by side (7B); several key/value heads and a norm for each block, or one again (40B, 11B);
// blocks one after the other with linear biases of the scores instead of rotary positions (RW).
// query_key_value is ordered by key/value head; GGUF files have all of q, then k, then v.
#include <cmath>
#include <string>
#include <vector>

#include "llmhost/decoder.hpp"

namespace {

class Falcon {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    if (type == "falcon") return LLMH_MATCH_EXACT;
    return type == "RefinedWeb" || type == "RefinedWebModel" ? LLMH_MATCH_ALIAS : LLMH_MATCH_NONE;
  }

  explicit Falcon(const llmh::Model& model) : sizes_(llmh::read_sizes(model, keys_of(model))) {
    // The first checkpoints of the new architecture say so by their type alone.
    new_ = model.bool_or("new_decoder_architecture", model.string_or("model_type", "") == "RefinedWeb");
    const bool multi_query = model.bool_or("multi_query", true);
    if (!model.is_gguf() && !new_) sizes_.n_kv_heads = multi_query ? 1 : sizes_.n_heads;
    sizes_.intermediate_size =
        model.size_or(model.is_gguf() ? "intermediate_size" : "ffn_hidden_size", 4 * sizes_.hidden_size);
    norm_ = {.centred = true,
             .eps = model.float_or(model.is_gguf() ? "layer_norm_eps" : "layer_norm_epsilon", 1e-5),
             .bias = llmh::Bias::kRequired};
    activation_ = llmh::activation_kind(model.string_or("activation", "gelu"));
    tied_ = llmh::is_tied(model, true);
    bias_ = llmh::bias_of(model, "bias", false);
    order_ = model.is_gguf() ? llmh::QkvOrder::kContiguous : llmh::QkvOrder::kGrouped;
    read_blocks(model);
    alibi_ = model.bool_or("alibi", false);
    if (alibi_)
      model.ignore({"rope_theta", "rope_scaling", "rope_parameters"});  // of the other shapes
    else
      rope_ = llmh::read_rope(model, sizes_.head_dim);
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    llmh::refuse_experts(model);
    llmh::ignore_usual_keys(model);
    // The first key is one of a related family and has no effect here; ff_factor repeats the width; GGUF
    // files give the head size as the rotary one.
    model.ignore({"apply_residual_connection_post_layernorm", "ff_factor", "rotary_dim"});
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "transformer.h.{i}.";
    llmh::gguf_ends(names, "transformer.word_embeddings", "transformer.ln_f");
    names.gguf_module(layer + (two_norms_ ? "ln_mlp" : "input_layernorm"), "blk.{i}.attn_norm");
    names.gguf_module(layer + "ln_attn", "blk.{i}.attn_norm_2");
    names.gguf_module(layer + "self_attention.query_key_value", "blk.{i}.attn_qkv");
    names.gguf_module(layer + "self_attention.dense", "blk.{i}.attn_output");
    names.gguf_module(layer + "mlp.dense_h_to_4h", "blk.{i}.ffn_up");
    names.gguf_module(layer + "mlp.dense_4h_to_h", "blk.{i}.ffn_down");
    llmh::ignore_buffers(names, layer + "self_attention.");
  }

  void build(llmh::Graph& graph) const {
    llmh::RopeAngles angles;
    llmh::AttentionExtras extras;
    if (alibi_)
      extras.alibi_slopes = graph.constant("alibi_slopes", {sizes_.n_heads}, scaled_slopes());
    else
      angles = llmh::rope_angles(graph, rope_);
    const llmh::Scope model = graph.scope("transformer");
    llmh::Tensor x = model.embedding("word_embeddings", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size,
                                     sizes_.hidden_size);
    for (int64_t i = 0; i < sizes_.n_layers; ++i) x = layer(model.scope("h", i), i, x, angles, extras);
    x = llmh::norm(model, "ln_f", llmh::output_rows(x), norm_);
    llmh::outputs(graph, x,
                  llmh::lm_head(graph, x, sizes_.vocab_size, tied_, "transformer.word_embeddings.weight"));
  }

 private:
  static llmh::SizeKeys keys_of(const llmh::Model& model) {
    if (model.is_gguf()) return {};
    // The first checkpoints have the older names; some have both.
    const auto either = [&](const char* newer, const char* older) {
      return model.has(newer) ? newer : older;
    };
    llmh::SizeKeys keys;
    keys.n_layers = either("num_hidden_layers", "n_layer");
    keys.hidden_size = either("hidden_size", "n_embed");
    keys.intermediate_size = "";
    keys.n_heads = either("num_attention_heads", "n_head");
    keys.n_kv_heads = either("num_kv_heads", "n_head_kv");
    model.ignore({"n_layer", "n_embed", "n_head", "n_head_kv"});
    return keys;
  }

  void read_blocks(const llmh::Model& model) {
    parallel_ = model.bool_or("parallel_attn", true);
    const int64_t norms = model.int_or("num_ln_in_parallel_attn", new_ ? 2 : 1);
    two_norms_ = model.is_gguf() ? model.has_tensor("blk.0.attn_norm_2.weight") : norms == 2;
    if (new_ && !parallel_) llmh::refuse("'parallel_attn' is false with 'new_decoder_architecture'");
    if (norms != 1 && norms != 2) llmh::refuse("'num_ln_in_parallel_attn' is " + std::to_string(norms));
    if (!model.is_gguf() && two_norms_ && !new_)
      llmh::refuse("'num_ln_in_parallel_attn' is 2 without 'new_decoder_architecture'");
  }

  // The biases are added before the scores are scaled. The reference implementation adds them once more with
  // the mask when it computes attention step by step (its fused kernels, and the model's first code, do not);
  // expected values come from the former.
  std::vector<float> scaled_slopes() const {
    constexpr float kTimesAdded = 2.0F;
    std::vector<float> slopes = llmh::alibi_slopes(sizes_.n_heads);
    for (float& slope : slopes) slope *= kTimesAdded / std::sqrt(static_cast<float>(sizes_.head_dim));
    return slopes;
  }

  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x, const llmh::RopeAngles& angles,
                         const llmh::AttentionExtras& extras) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim,
                                  .qkv_bias = bias_,
                                  .out_bias = bias_};
    llmh::Qkv qkv = llmh::project_fused_qkv(at, "query_key_value", x, order_, c);
    if (!alibi_) qkv = llmh::rotate_qk(qkv, angles, c);
    return at.linear("dense", llmh::attend(at, qkv, c, extras), x.width(), c.out_bias);
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x, const llmh::RopeAngles& angles,
                     const llmh::AttentionExtras& extras) const {
    llmh::Tensor h = llmh::norm(at, two_norms_ ? "ln_attn" : "input_layernorm", x, norm_);
    const llmh::Tensor after = x + attention(at.scope("self_attention"), index, h, angles, extras);
    if (two_norms_) h = llmh::norm(at, "ln_mlp", x, norm_);
    if (!parallel_) h = llmh::norm(at, "post_attention_layernorm", after, norm_);
    return at.name("output", after + llmh::plain_mlp(at.scope("mlp"), h, sizes_.intermediate_size,
                                                     activation_, bias_, {"dense_h_to_4h", "dense_4h_to_h"}));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool new_, tied_, alibi_, parallel_ = true, two_norms_ = false;
  llmh::Bias bias_;
  llmh::QkvOrder order_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Falcon);
