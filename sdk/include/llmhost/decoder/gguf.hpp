// Names and layouts in GGUF files of modules that most families share. Header-only. [control]
#pragma once

#include <string>
#include <string_view>

#include "llmhost/arch.hpp"

namespace llmh {

// Embedding, final norm, output head.
inline void gguf_ends(Names& names, std::string_view embedding = "model.embed_tokens",
                      std::string_view final_norm = "model.norm", std::string_view head = "lm_head") {
  names.gguf_module(embedding, "token_embd");
  names.gguf_module(final_norm, "output_norm");
  names.gguf_module(head, "output");
}

// self_attn.{q,k,v,o}_proj and the norms of q and k, below `layer` ("model.layers.{i}."). Files of families that llama.cpp
// rotates in adjacent pairs have the rows of q and k in that order: their head counts go here, else 0.
inline void gguf_attention(Names& names, const std::string& layer, int64_t paired_heads = 0,
                           int64_t paired_kv_heads = 0) {
  const auto steps = [](int64_t heads) { return heads != 0 ? LayoutSteps{rotary_pairs(heads)} : LayoutSteps{}; };
  names.gguf_module(layer + "self_attn.q_proj", "blk.{i}.attn_q", steps(paired_heads));
  names.gguf_module(layer + "self_attn.k_proj", "blk.{i}.attn_k", steps(paired_kv_heads));
  names.gguf_module(layer + "self_attn.v_proj", "blk.{i}.attn_v");
  names.gguf_module(layer + "self_attn.o_proj", "blk.{i}.attn_output");
  names.gguf_module(layer + "self_attn.q_norm", "blk.{i}.attn_q_norm");
  names.gguf_module(layer + "self_attn.k_norm", "blk.{i}.attn_k_norm");
  names.ignore("blk.{i}.attn_rot_embd");
}

// self_attn.{q,k,v}_proj of files that store the three as one tensor, one below the other.
inline void gguf_fused_qkv(Names& names, const std::string& layer, int64_t n_heads, int64_t n_kv_heads,
                           int64_t head_dim, bool paired = false) {
  const auto part = [&](const char* hub, int64_t first_head, int64_t heads, bool rotated) {
    LayoutSteps steps{rows(first_head * head_dim, (first_head + heads) * head_dim)};
    if (rotated && paired) steps.push_back(rotary_pairs(heads));
    names.gguf_module(layer + "self_attn." + hub, "blk.{i}.attn_qkv", steps);
  };
  part("q_proj", 0, n_heads, true);
  part("k_proj", n_heads, n_kv_heads, true);
  part("v_proj", n_heads + n_kv_heads, n_kv_heads, false);
}

// mlp.{gate,up,down}_proj below `layer`.
inline void gguf_gated_mlp(Names& names, const std::string& layer) {
  names.gguf_module(layer + "mlp.gate_proj", "blk.{i}.ffn_gate");
  names.gguf_module(layer + "mlp.up_proj", "blk.{i}.ffn_up");
  names.gguf_module(layer + "mlp.down_proj", "blk.{i}.ffn_down");
}

// The norms before and after both blocks of a layer.
inline void gguf_sandwich_norms(Names& names, const std::string& layer) {
  names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
  names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.post_attention_norm");
  names.gguf_module(layer + "pre_feedforward_layernorm", "blk.{i}.ffn_norm");
  names.gguf_module(layer + "post_feedforward_layernorm", "blk.{i}.post_ffw_norm");
}

// The experts of `block` ("model.layers.{i}.mlp."): in GGUF files stacked already, or one tensor an expert in older ones;
// on the Hub one tensor an expert, called `gate`, `up` and `down`. They become <block>experts.{gate,up,down}_proj.
inline void expert_names(Names& names, const std::string& block, const std::string& gate = "gate_proj",
                         const std::string& up = "up_proj", const std::string& down = "down_proj") {
  const std::string experts = block + "experts.";
  const struct {
    const char* hub;
    const std::string& stored;
    const char* gguf;
  } parts[] = {{"gate_proj", gate, "gate"}, {"up_proj", up, "up"}, {"down_proj", down, "down"}};
  for (const auto& part : parts)
    for (const char* kind : {".weight", ".bias"}) {
      const std::string hub = experts + part.hub + kind;
      if (names.is_gguf()) {
        names.map(hub, std::string("blk.{i}.ffn_") + part.gguf + "_exps" + kind);
        names.map(hub, std::string("blk.{i}.ffn_") + part.gguf + ".{j}" + kind);
      } else {
        names.map(hub, experts + "{j}." + part.stored + kind);
      }
    }
}

// What older checkpoints carry and nobody needs: rotary frequencies and masks.
inline void ignore_buffers(Names& names, const std::string& attention = "model.layers.{i}.self_attn.") {
  for (const char* buffer : {"rotary_emb.inv_freq", "masked_bias", "bias"}) names.ignore(attention + buffer);
  names.ignore("model.rotary_emb.inv_freq");
}

}  // namespace llmh
