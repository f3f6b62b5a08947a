// What `llmhost arch new` starts a description with: @NAME@ is the name, @CLASS@ a class name made of it.
#pragma once

namespace llmhost::cli {

inline constexpr const char* kArchYaml =
    R"(# @NAME@: say here what is special about it, and where that is described.
# All sections and keys: docs/declarative-archs.md. What a key of config.json is for stands where it is used: every key that
# may change the maths must occur here, or in ignore_keys with the reason.
schema: 1
name: @NAME@
model_types: [@NAME@]        # model_type of config.json
gguf_architectures: []       # general.architecture of GGUF files
sizes:
  layers: $num_hidden_layers
  hidden: $hidden_size
  vocab: $vocab_size
  heads: $num_attention_heads
  kv_heads: $num_key_value_heads | heads
  head_dim: $head_dim | hidden / heads
  context: $max_position_embeddings | 2048
norm: {kind: rms, eps: $rms_norm_eps | 1e-6}
embedding: {module: model.embed_tokens}
layer:
  module: model.layers.{i}
  blocks:
    - {norm: input_layernorm, run: attention}
    - {norm: post_attention_layernorm, run: mlp}
attention:
  module: self_attn
  q: q_proj
  k: k_proj
  v: v_proj
  out: o_proj
  bias: $attention_bias | false
  out_bias: $attention_bias | false
  rope: {style: halves, theta: $rope_theta | 10000}
mlp: {module: mlp, kind: gated, width: $intermediate_size, activation: $hidden_act | silu, bias: $mlp_bias | false}
head: {norm: model.norm, module: lm_head, tied: $tie_word_embeddings | false}
ignore_keys: []
ignore_tensors: []
)";

inline constexpr const char* kArchCpp =
    R"(// @NAME@: say here what is special about it, and where that is described.
#include <string>

#include "llmhost/decoder.hpp"

namespace {

class @CLASS@ {
 public:
  static int match(const llmh::Model& model) {
    return model.string_or("model_type", "") == "@NAME@" ? LLMH_MATCH_EXACT : LLMH_MATCH_NONE;
  }

  // Every key of the config that may change the maths is read here, or named in ignore() with the reason.
  explicit @CLASS@(const llmh::Model& model) : sizes_(llmh::read_sizes(model)) {
    sizes_.intermediate_size = model.require_size("intermediate_size");
    norm_.eps = model.float_or("rms_norm_eps", 1e-6);
    activation_ = llmh::activation_kind(model.string_or("hidden_act", "silu"));
    tied_ = llmh::is_tied(model, false);
    attention_bias_ = llmh::bias_of(model, "attention_bias", false);
    mlp_bias_ = llmh::bias_of(model, "mlp_bias", false);
    rope_ = llmh::read_rope(model, sizes_.head_dim);
    llmh::ignore_usual_keys(model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, sizes_, tied_);
    llmh::add_states(states, sizes_);
  }

  void names(llmh::Names& names) const {
    const std::string layer = "model.layers.{i}.";
    llmh::gguf_ends(names);
    llmh::gguf_attention(names, layer);
    llmh::gguf_gated_mlp(names, layer);
    names.gguf_module(layer + "input_layernorm", "blk.{i}.attn_norm");
    names.gguf_module(layer + "post_attention_layernorm", "blk.{i}.ffn_norm");
    llmh::ignore_buffers(names);
  }

  void build(llmh::Graph& graph) const {
    const llmh::RopeAngles angles = llmh::rope_angles(graph, rope_);
    llmh::build_decoder(graph, sizes_, norm_, tied_, [&](const llmh::Scope& at, int64_t i, llmh::Tensor x) {
      return layer(at, i, x, angles);
    });
  }

 private:
  llmh::Tensor layer(const llmh::Scope& at, int64_t index, llmh::Tensor x, const llmh::RopeAngles& angles) const {
    const llmh::AttentionConfig attention{.layer = index,
                                          .n_heads = sizes_.n_heads,
                                          .n_kv_heads = sizes_.n_kv_heads,
                                          .head_dim = sizes_.head_dim,
                                          .qkv_bias = attention_bias_,
                                          .out_bias = attention_bias_};
    llmh::Tensor h = llmh::norm(at, "input_layernorm", x, norm_);
    x = x + llmh::self_attention(at.scope("self_attn"), h, attention, angles);
    h = llmh::norm(at, "post_attention_layernorm", x, norm_);
    return at.name("output",
                   x + llmh::gated_mlp(at.scope("mlp"), h, sizes_.intermediate_size, activation_, mlp_bias_));
  }

  llmh::DecoderSizes sizes_;
  llmh::NormConfig norm_;
  llmh::RopeConfig rope_;
  llmh::Bias attention_bias_, mlp_bias_;
  int32_t activation_;
  bool tied_;
};

}  // namespace

LLMH_ARCH_PLUGIN(@CLASS@);
)";

inline constexpr const char* kArchManifest = R"(id: @NAME@
kind: arch
version: 0.1.0
description: @NAME@
provides: [@NAME@]
)";

inline constexpr const char* kArchCmake = R"(cmake_minimum_required(VERSION 3.25)
project(@NAME@ LANGUAGES CXX)
find_package(llmhost REQUIRED)
llmhost_add_plugin(@NAME@ KIND arch SOURCES @NAME@.cpp)
)";

}  // namespace llmhost::cli
