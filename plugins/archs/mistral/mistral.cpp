// Mistral (Jiang et al. 2023): the Llama decoder with a sliding window in all layers, or in those that
// layer_types names (Ministral). Ministral 3 also makes queries beyond the original context longer. Most GGUF
// files of these models say "llama" and need nothing of this; the newest say "mistral3".
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "llmhost/decoder.hpp"

namespace {

class Mistral {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    for (const char* known : {"mistral", "ministral", "ministral3", "mistral3"})
      if (type == known) return LLMH_MATCH_EXACT;
    return LLMH_MATCH_NONE;
  }

  explicit Mistral(const llmh::Model& checkpoint) : part_(llmh::find_text_part(checkpoint)) {
    const llmh::Model model = part_.config(checkpoint);
    const std::string type = model.string_or("model_type", "mistral");
    const bool third = type == "ministral3" || (type == "mistral3" && model.is_gguf());
    if (type != "mistral" && type != "ministral" && !third) llmh::refuse("'model_type' is '" + type + "'");
    sizes_ = llmh::read_sizes(model, {}, 131072);
    sizes_.intermediate_size = model.require_size("intermediate_size");
    norm_.eps = model.float_or("rms_norm_eps", third ? 1e-5 : 1e-6);
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(checkpoint, part_.with_images, part_.head);
    if (part_.with_images) model.ignore({"tie_word_embeddings"});  // the whole config says it
    rope_ = llmh::read_rope(model, llmh::read_rotary_dim(model, sizes_.head_dim));
    sizes_.context_length = llmh::stretched_context(model, sizes_.context_length, rope_);
    if (third) read_temperature(model);
    read_windows(model, type, third ? 0 : 4096);
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model, {"attention_bias", "mlp_bias", "use_qk_norm"});
    llmh::refuse_if_false(model, {"is_causal"});
    llmh::ignore_usual_keys(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_, [this](int64_t i) { return windows_[static_cast<size_t>(i)]; });
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer, sizes_.n_heads, sizes_.n_kv_heads);
    llmh::gguf_fused_qkv(names, layer, sizes_.n_heads, sizes_.n_kv_heads, sizes_.head_dim, true);
    llmh::gguf_gated_mlp(names, layer);
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    llmh::ignore_buffers(names);
    part_.add_names(names, tied_);
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    const llmh::Tensor temperature = query_temperature(graph);
    const auto build_layer = [&](const llmh::Scope& at, int64_t i, llmh::Tensor x) {
      return layer(at, i, x, angles, temperature);
    };
    llmh::build_decoder(graph, sizes_, norm_, tied_, build_layer, part_.path);
  }

 private:
  void read_temperature(const llmh::Model& model) {
    if (rope_.angles.scaling != LLMH_ROPE_SCALING_YARN)
      llmh::refuse("'rope_parameters.rope_type' is not yarn");
    const char* section = model.has("rope_scaling") ? "rope_scaling." : "rope_parameters.";
    temperature_beta_ = model.is_gguf() ? model.float_or("gguf.attention.temperature_scale", 0.0)
                                        : model.float_or(std::string(section) + "llama_4_scaling_beta", 0.0);
    // The context again.
    model.ignore({std::string(section) + "max_position_embeddings", "gguf.attention.temperature_length"});
  }

  // A config without the key has the first model's window; one with null has none.
  void read_windows(const llmh::Model& model, const std::string& type, int64_t fallback) {
    const bool none = model.is_gguf() || llmh::is_null(model, "sliding_window");
    const int64_t window = model.int_or("sliding_window", none ? 0 : fallback);
    // The reference implementation takes a "mistral" that lists its layers for a "ministral".
    const bool lists = type == "mistral" && !part_.with_images && !model.is_gguf() &&
                       (model.has("layer_types") || llmh::is_null(model, "layer_types"));
    const bool by_layer = type == "ministral" || lists;
    if (!by_layer) model.ignore({"layer_types"});  // the reference implementation does not read it here
    for (int64_t i = 0; i < sizes_.n_layers; ++i)
      windows_.push_back(!by_layer || llmh::is_sliding(model, i, true) ? window : 0);
  }

  // [T, 1]: 1 + beta ln(1 + floor(position / original context)), or absent.
  llmh::Tensor query_temperature(llmh::Graph& graph) const {
    if (temperature_beta_ == 0.0F) return {};
    std::vector<float> table(static_cast<size_t>(sizes_.context_length));
    for (size_t p = 0; p < table.size(); ++p)
      table[p] =
          1.0F + temperature_beta_ *
                     std::log(1.0F + std::floor(static_cast<float>(p) / rope_.angles.original_context));
    return llmh::gather_rows(graph.constant("query_temperature", {sizes_.context_length, 1}, table),
                             graph.input(LLMH_INPUT_POSITIONS));
  }

  llmh::Tensor attention(const llmh::Scope& at, int64_t index, llmh::Tensor x, const llmh::RopeAngles& angles,
                         llmh::Tensor temperature) const {
    const llmh::AttentionConfig c{.layer = index,
                                  .n_heads = sizes_.n_heads,
                                  .n_kv_heads = sizes_.n_kv_heads,
                                  .head_dim = sizes_.head_dim,
                                  .window = windows_[static_cast<size_t>(index)]};
    llmh::Qkv qkv = llmh::rotate_qk(llmh::project_qkv(at, x, c), angles, c);
    if (temperature.present()) qkv.q = qkv.q * temperature;
    return at.linear("o_proj", llmh::attend(at, qkv, c), x.width());
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x, const llmh::RopeAngles& angles,
                     llmh::Tensor temperature) const {
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + attention(at.scope("self_attn"), index, h, angles, temperature);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    return at.name("output", x + llmh::gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_));
  }

  llmh::TextPart part_;
  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_;
  float temperature_beta_ = 0.0F;
  llmh::RopeConfig rope_;
  std::vector<int64_t> windows_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Mistral);
