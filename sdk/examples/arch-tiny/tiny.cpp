// An attention-only decoder (Elhage et al. 2021): embeddings, layers of pre-norm attention with rotary
// positions, a tied head. All that the host asks of an architecture, in one class.
#include "llmhost/decoder.hpp"

namespace {

class Tiny {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "attention-only" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  explicit Tiny(const llmh::Model& model)
      : n_layers_(model.require_size("num_hidden_layers")),
        hidden_size_(model.require_size("hidden_size")),
        vocab_size_(model.require_size("vocab_size")),
        context_length_(model.size_or("max_position_embeddings", 2048)),
        eps_(model.float_or("rms_norm_eps", 1e-6)) {
    attention_.n_heads = model.require_size("num_attention_heads");
    attention_.n_kv_heads = attention_.n_heads;
    if (hidden_size_ % (2 * attention_.n_heads) != 0)
      throw llmh::Error(LLMH_INVALID_ARGUMENT,
                        "config: 'hidden_size' must be a multiple of twice 'num_attention_heads'");
    attention_.head_dim = hidden_size_ / attention_.n_heads;
    rope_ = llmh::read_rope(model, attention_.head_dim);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    info.n_layers = static_cast<int32_t>(n_layers_);
    info.hidden_size = hidden_size_;
    info.vocab_size = vocab_size_;
    info.context_length = context_length_;
    info.n_heads = static_cast<int32_t>(attention_.n_heads);
    info.n_kv_heads = info.n_heads;
    info.head_dim = static_cast<int32_t>(attention_.head_dim);
    info.tied_embeddings = 1;
    for (int64_t i = 0; i < n_layers_; ++i)
      states.paged_kv(i, attention_.n_kv_heads, attention_.head_dim, attention_.head_dim);
  }

  // Hub checkpoints store each tensor under the name that build() asks for.
  void names(llmh::Names&) const {}

  void build(llmh::Graph& graph) const {
    const llmh::Scope model = graph.scope("model");
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    llmh::Tensor x =
        model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), vocab_size_, hidden_size_);
    for (int64_t i = 0; i < n_layers_; ++i) {
      const llmh::Scope layer = model.scope("layers", i);
      llmh::AttentionConfig attention = attention_;
      attention.layer = i;
      x = x + self_attention(layer.scope("self_attn"), layer.rms_norm("norm", x, eps_), attention, angles);
    }
    x = model.rms_norm("norm", llmh::output_rows(x), eps_);
    graph.output(LLMH_OUTPUT_LOGITS, llmh::lm_head(graph, x, vocab_size_, true, "model.embed_tokens.weight"));
  }

 private:
  int64_t n_layers_, hidden_size_, vocab_size_, context_length_;
  float eps_;
  llmh::AttentionConfig attention_;
  llmh::RopeConfig rope_;
};

}  // namespace

LLMH_ARCH_PLUGIN(Tiny);
