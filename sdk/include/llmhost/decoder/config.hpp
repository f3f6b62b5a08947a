// Reading a decoder's sizes from its config, telling the host about them, refusing what is computed otherwise.
// Header-only. [control]
#pragma once

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "llmhost/arch.hpp"

namespace llmh {

// Counts of the text model; see llmh_model_info.
struct DecoderSizes {
  int64_t n_layers = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // of the feed-forward block; 0 where the caller works it out
  int64_t vocab_size = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t context_length = 0;
};

// What a family calls them. An empty key is not read.
struct SizeKeys {
  std::string n_layers = "num_hidden_layers";
  std::string hidden_size = "hidden_size";
  std::string intermediate_size = "intermediate_size";
  std::string n_heads = "num_attention_heads";
  std::string n_kv_heads = "num_key_value_heads";
  std::string context_length = "max_position_embeddings";
};

// GPT-2's names, which several families took over.
inline SizeKeys gpt_size_keys() {
  return {"n_layer", "n_embd", "n_inner", "n_head", "", "n_positions"};
}

// Files in GGUF format come with the usual names, whatever the family's are.
inline SizeKeys size_keys(const Model& model, const SizeKeys& hub) {
  return model.is_gguf() ? SizeKeys{} : hub;
}

// Throws on a missing or senseless count. Without a number of key/value heads every head has its own; without a head size
// it is the hidden size divided by the number of heads. `default_context` is that of configs that name none.
inline DecoderSizes read_sizes(const Model& model, const SizeKeys& keys = {}, int64_t default_context = 2048) {
  DecoderSizes s;
  s.n_layers = model.require_size(keys.n_layers);
  s.hidden_size = model.require_size(keys.hidden_size);
  if (!keys.intermediate_size.empty() && model.has(keys.intermediate_size))
    s.intermediate_size = model.require_size(keys.intermediate_size);
  s.vocab_size = model.require_size("vocab_size");
  s.n_heads = model.require_size(keys.n_heads);
  s.n_kv_heads = keys.n_kv_heads.empty() ? s.n_heads : model.size_or(keys.n_kv_heads, s.n_heads);
  s.head_dim = model.size_or("head_dim", std::max<int64_t>(1, s.hidden_size / s.n_heads));
  if (s.n_heads % s.n_kv_heads != 0)
    throw Error(LLMH_INVALID_ARGUMENT, "config: '" + keys.n_heads + "' " + std::to_string(s.n_heads) +
                                           " is no multiple of '" + keys.n_kv_heads + "' " +
                                           std::to_string(s.n_kv_heads));
  s.context_length =
      keys.context_length.empty() ? default_context : model.size_or(keys.context_length, default_context);
  return s;
}

// The feed-forward width that the config gives, or `fallback`; for families that may leave it out.
inline int64_t intermediate_or(const DecoderSizes& sizes, int64_t fallback) {
  return sizes.intermediate_size != 0 ? sizes.intermediate_size : fallback;
}

inline void fill_info(llmh_model_info& info, const DecoderSizes& s, bool tied_embeddings) {
  info.n_layers = static_cast<int32_t>(s.n_layers);
  info.hidden_size = s.hidden_size;
  info.vocab_size = s.vocab_size;
  info.context_length = s.context_length;
  info.n_heads = static_cast<int32_t>(s.n_heads);
  info.n_kv_heads = static_cast<int32_t>(s.n_kv_heads);
  info.head_dim = static_cast<int32_t>(s.head_dim);
  info.tied_embeddings = tied_embeddings ? 1 : 0;
}

// Keys and values of every layer; `window_of` gives the positions that layer i looks back, 0 for all.
inline void add_states(States& states, const DecoderSizes& s, const std::function<int64_t(int64_t)>& window_of = {}) {
  for (int64_t i = 0; i < s.n_layers; ++i)
    states.paged_kv(i, s.n_kv_heads, s.head_dim, s.head_dim, window_of ? window_of(i) : 0);
}

// A stored output layer is used even where the config ties it: the two may differ.
inline bool is_tied(const Model& model, bool default_tied, std::string_view head = "lm_head.weight") {
  const bool stored = model.has_tensor(model.is_gguf() ? "output.weight" : head);
  return model.bool_or("tie_word_embeddings", default_tied) ? !stored : model.is_gguf() && !stored;
}

// As the config says; GGUF files have no flags, there what is stored is used.
inline Bias bias_of(const Model& model, std::string_view key, bool fallback) {
  if (model.is_gguf()) return Bias::kIfStored;
  return model.bool_or(key, fallback) ? Bias::kRequired : Bias::kNone;
}

// --- Refusals: keys of related models are fine while they leave everything as it is computed here

[[noreturn]] inline void refuse(const std::string& what) {
  throw Error(LLMH_UNIMPLEMENTED, "config: " + what + ", which this architecture does not compute");
}
inline void refuse_if_true(const Model& model, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (model.kind_of(key) == LLMH_KIND_OF_BOOL && model.bool_or(key, false))
      refuse("'" + std::string(key) + "' is true");
}
inline void refuse_if_false(const Model& model, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (!model.bool_or(key, true)) refuse("'" + std::string(key) + "' is false");
}
// A number that must be absent or this one.
inline void refuse_unless(const Model& model, const char* key, double neutral) {
  if (const float value = model.float_or(key, neutral); value != static_cast<float>(neutral))
    refuse("'" + std::string(key) + "' is " + std::to_string(value));
}
inline void refuse_experts(const Model& model) {
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"})
    if (const int64_t n = model.int_or(key, 0); n > 1)
      refuse("'" + std::string(key) + "' is " + std::to_string(n) + ", a mixture of experts");
}
// layer_types that are all `only`.
inline void refuse_other_layer_types(const Model& model, std::string_view only = "full_attention") {
  const int64_t n = model.size_of("layer_types");
  for (int64_t i = 0; i < n; ++i)
    if (const std::string type = model.string_or("layer_types." + std::to_string(i), only); type != only)
      refuse("'layer_types' has a layer of '" + type + "'");
}

// Whether layer i looks back over a window only: by layer_types where the config has them, else by `fallback`.
inline bool is_sliding(const Model& model, int64_t layer, bool fallback) {
  const std::string key = "layer_types." + std::to_string(layer);
  if (!model.has(key)) return fallback;
  const std::string type = model.string_or(key, "");
  if (type != "sliding_attention" && type != "full_attention") refuse("'" + key + "' is '" + type + "'");
  return type == "sliding_attention";
}

// Positions that each layer looks back, 0 for all, of families that switch their window on with use_sliding_window: the
// layers from max_window_layers on have it, or those that layer_types names.
inline std::vector<int64_t> read_switched_windows(const Model& model, const DecoderSizes& sizes) {
  std::vector<int64_t> windows(static_cast<size_t>(sizes.n_layers), 0);
  if (!model.bool_or("use_sliding_window", false)) {
    model.ignore({"sliding_window", "max_window_layers", "layer_types"});
    return windows;
  }
  // Switched on and null is the same as switched off.
  const int64_t window = model.int_or("sliding_window", 0);
  const int64_t first = model.int_or("max_window_layers", 28);
  for (int64_t i = 0; i < sizes.n_layers; ++i)
    if (is_sliding(model, i, i >= first)) windows[static_cast<size_t>(i)] = window;
  return windows;
}

// True when the key is there and null: switched off, where an absent one has its default.
inline bool is_null(const Model& model, std::string_view key) {
  const std::vector<std::string> keys = model.keys();
  return !model.has(key) && std::find(keys.begin(), keys.end(), key) != keys.end();
}

// The window of each layer, 0 where it sees everything: `window` in those that layer_types calls sliding, that a GGUF file's
// list marks, or else in all but every n-th, where n is a pattern key's or `pattern`.
inline std::vector<int64_t> layer_windows(const Model& model, int64_t n_layers, int64_t window, int64_t pattern) {
  const std::string gguf_key = "gguf.attention.sliding_window_pattern";
  const bool listed = model.kind_of(gguf_key) == LLMH_KIND_OF_LIST;
  int64_t n = model.int_or("sliding_window_pattern", model.int_or("_sliding_window_pattern", pattern));
  if (!listed) n = model.int_or(gguf_key, n);
  if (n < 0) throw Error(LLMH_INVALID_ARGUMENT, "config: 'sliding_window_pattern' is " + std::to_string(n));
  std::vector<int64_t> windows;
  for (int64_t i = 0; i < n_layers; ++i) {
    const std::string element = gguf_key + "." + std::to_string(i);
    bool slides = n == 0 || (i + 1) % n != 0;
    if (listed && model.kind_of(element) == LLMH_KIND_OF_INT) slides = model.int_or(element, 0) != 0;
    if (listed && model.kind_of(element) == LLMH_KIND_OF_BOOL) slides = model.bool_or(element, false);
    windows.push_back(is_sliding(model, i, slides) ? window : 0);
  }
  return windows;
}

// The keys that most families' configs carry and that change nothing here: pretraining_tp splits the products of
// training, not their values; the lengths repeat the context.
inline void ignore_usual_keys(const Model& model) {
  model.ignore({"pretraining_tp", "max_sequence_length", "max_seq_len", "max_seq_length", "seq_length", "seq_len",
                "n_ctx", "max_window_layers", "tensor_data_layout", "gguf.pooling_type"});
}

}  // namespace llmh
