// Gemma 3, text (Gemma Team 2025): norms before and after each block, norms of the heads of q and k, and five
// layers with a window and a rotary base of their own to each that sees everything. Of a checkpoint with a
// vision tower the text model is taken; its config is then the object text_config, whose absent keys have the
// family's defaults.
#include <cmath>
#include <string>
#include <vector>

#include "llmhost/decoder.hpp"

namespace {

class Gemma3 {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    return type == "gemma3" || type == "gemma3_text" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Gemma3(const llmh::Model& checkpoint)
      : vision_(checkpoint.kind_of("text_config") == LLMH_KIND_OF_OBJECT), path_(text_path(checkpoint)) {
    const llmh::Model model = vision_ ? checkpoint.section("text_config") : checkpoint;
    read_sizes(model);
    norm_ = {.eps = model.float_or("rms_norm_eps", 1e-6), .weight_offset = model.is_gguf() ? 0.0F : 1.0F};
    activation_ = llmh::activation_kind(model.string_or("hidden_activation", "gelu_pytorch_tanh"));
    tied_ = llmh::is_tied(checkpoint, true, head_name());
    bias_ = llmh::bias_of(model, "attention_bias", false);
    scale_ = read_scale(model);
    // The class with a vision tower does not cap.
    if (!vision_) logit_cap_ = model.float_or("final_logit_softcapping", 0.0);
    read_positions(model);
    refuse_other_maths(model);
    if (vision_) ignore_vision(checkpoint);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_, [this](int64_t i) { return windows_[static_cast<size_t>(i)]; });
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer);
    llmh::gguf_gated_mlp(names, layer);
    llmh::gguf_sandwich_norms(names, layer);
    llmh::ignore_buffers(names);
    if (!tied_ && head_name() != "lm_head.weight") names.map("lm_head.weight", head_name());
    for (const std::string& name : image_tensors_) names.ignore(name);
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles global = llmh::rope_angles(graph, global_rope_);
    const llmh::RopeAngles local = llmh::rope_angles(graph, local_rope_);
    const llmh::Scope model = graph.scope(path_);
    llmh::Tensor x = model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), sizes_.vocab_size,
                                     sizes_.hidden_size);
    x = llmh::scale(x, std::sqrt(static_cast<float>(sizes_.hidden_size)));
    for (int64_t i = 0; i < sizes_.n_layers; ++i)
      x = layer(model.scope("layers", i), i, x, slides_[static_cast<size_t>(i)] ? local : global);
    x = llmh::norm(model, "norm", llmh::output_rows(x), norm_);
    llmh::Tensor logits = llmh::lm_head(graph, x, sizes_.vocab_size, tied_, path_ + ".embed_tokens.weight");
    if (logit_cap_ != 0.0F) logits = llmh::softcap(logits, logit_cap_);
    llmh::outputs(graph, x, logits);
  }

 private:
  // Checkpoints with a vision tower put the text model below one of these, by the version that wrote them.
  static std::string text_path(const llmh::Model& model) {
    for (const char* path : {"language_model.model", "model.language_model"})
      if (model.has_tensor(std::string(path) + ".embed_tokens.weight")) return path;
    return "model";
  }
  std::string head_name() const {
    return path_ == "language_model.model" ? "language_model.lm_head.weight" : "lm_head.weight";
  }

  void read_sizes(const llmh::Model& model) {
    sizes_.n_layers = model.size_or("num_hidden_layers", 26);
    sizes_.hidden_size = model.size_or("hidden_size", 2304);
    sizes_.intermediate_size = model.size_or("intermediate_size", 9216);
    sizes_.vocab_size = model.size_or("vocab_size", 262208);
    sizes_.n_heads = model.size_or("num_attention_heads", 8);
    sizes_.n_kv_heads = model.size_or("num_key_value_heads", 4);
    sizes_.head_dim = model.size_or("head_dim", 256);
    sizes_.context_length = model.size_or("max_position_embeddings", 131072);
    if (sizes_.n_heads % sizes_.n_kv_heads != 0)
      throw llmh::Error(LLMH_INVALID_ARGUMENT,
                        "config: 'num_attention_heads' " + std::to_string(sizes_.n_heads) +
                            " is no multiple of 'num_key_value_heads' " + std::to_string(sizes_.n_kv_heads));
  }

  // GGUF files do not store the scalar: it is the head size in all published models but the largest.
  float read_scale(const llmh::Model& model) const {
    const bool largest = model.is_gguf() && sizes_.n_layers == 62;
    const int64_t usual = largest           ? sizes_.hidden_size / sizes_.n_heads
                          : model.is_gguf() ? sizes_.head_dim
                                            : 256;
    const float scalar = model.float_or("query_pre_attn_scalar", static_cast<double>(usual));
    return model.float_or("attention_multiplier", 1.0F / std::sqrt(scalar));
  }

  void read_positions(const llmh::Model& model) {
    const bool older = model.has("rope_scaling");
    const double global =
        model.find_float("rope_theta")
            .value_or(older ? model.find_float("rope_parameters.full_attention.rope_theta").value_or(1e6)
                            : 1e6);
    const double local = model.find_float("rope_local_base_freq").value_or(1e4);
    global_rope_ = llmh::read_rope_section(model, older ? "rope_scaling" : "rope_parameters.full_attention",
                                           sizes_.head_dim, global);
    local_rope_ = llmh::read_rope_section(model, "rope_parameters.sliding_attention", sizes_.head_dim, local);
    const bool no_window = model.is_gguf() && !model.has("sliding_window");
    const int64_t window = llmh::is_null(model, "sliding_window") ? 0 : model.int_or("sliding_window", 4096);
    // Marked first, so that a layer keeps its local base whatever the window.
    for (const int64_t marked : llmh::layer_windows(model, sizes_.n_layers, no_window ? 0 : 1, 6)) {
      slides_.push_back(marked != 0);
      windows_.push_back(marked != 0 ? window : 0);
    }
  }

  void refuse_other_maths(const llmh::Model& model) const {
    llmh::refuse_experts(model);
    llmh::refuse_if_true(model, {"use_bidirectional_attention"});
    llmh::ignore_usual_keys(model);
    // The family has no cap of the scores: the key is left from the one before, and without effect.
    // hidden_act repeats hidden_activation. GGUF files give the head size as the rotary one.
    model.ignore({"attn_logit_softcapping", "hidden_act", "rotary_dim"});
    // Of a checkpoint with a vision tower the whole config says whether the head is tied.
    if (vision_) model.ignore({"final_logit_softcapping", "tie_word_embeddings"});
  }

  // What is there for images has no effect on text alone.
  void ignore_vision(const llmh::Model& model) {
    model.ignore({"vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index",
                  "image_token_index", "boi_token_id", "eoi_token_id", "image_token_id"});
    for (const std::string& name : model.tensor_names())
      if (name.find("vision_tower.") != std::string::npos ||
          name.find("multi_modal_projector.") != std::string::npos)
        image_tensors_.push_back(name);
    llmh::log(LLMH_LOG_WARN, "images are not understood: the " + std::to_string(image_tensors_.size()) +
                                 " tensors of the vision tower are left out");
  }

  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x,
                     const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig attention{.layer = index,
                                          .n_heads = sizes_.n_heads,
                                          .n_kv_heads = sizes_.n_kv_heads,
                                          .head_dim = sizes_.head_dim,
                                          .qkv_bias = bias_,
                                          .out_bias = bias_,
                                          .scale = scale_,
                                          .window = windows_[static_cast<size_t>(index)]};
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    h = self_attention(at.scope("self_attn"), h, attention, angles);
    x = x + llmh::norm(at, "post_attention_layernorm", h, norm_);
    h = llmh::norm(at, "pre_feedforward_layernorm", x, norm_);
    h = llmh::gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_);
    return at.name("output", x + llmh::norm(at, "post_feedforward_layernorm", h, norm_));
  }

  llmh::Tensor self_attention(const llmh::Scope& at, llmh::Tensor x, const llmh::AttentionConfig& c,
                              const llmh::RopeAngles& angles) const {
    const llmh::Qkv qkv = llmh::norm_qk(at, llmh::project_qkv(at, x, c), norm_, c);
    return at.linear("o_proj", llmh::attend(at, llmh::rotate_qk(qkv, angles, c), c), x.width(), c.out_bias);
  }

  bool vision_;
  std::string path_;
  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  int32_t activation_;
  bool tied_;
  llmh::Bias bias_;
  llmh::RopeConfig global_rope_, local_rope_;
  float scale_, logit_cap_ = 0.0F;
  std::vector<bool> slides_;
  std::vector<int64_t> windows_;
  std::vector<std::string> image_tensors_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Gemma3);
