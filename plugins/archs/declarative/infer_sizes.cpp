// How large the model is, and how token ids become its stream and the stream logits.
#include <algorithm>

#include "infer_state.h"

namespace declarative {

namespace {

// A size that a key and the tensors tell alike.
void set_size(Inference& in, const char* what, const std::string& expression, int64_t value,
              const std::string& source, int certainty = 100) {
  in.document.section("sizes").set(
      what, expression, in.choose(std::string("sizes.") + what, std::to_string(value), source, certainty));
}

void infer_layers(Inference& in) {
  const std::string key = in.key({"num_hidden_layers", "n_layer", "n_layers", "num_layers", "n_blocks"});
  const int64_t stored = in.tensors.stored_layers();
  if (key.empty()) {
    in.layers = stored;
    return set_size(in, "layers", std::to_string(stored), stored, "tensors: the largest number of a layer");
  }
  in.layers = in.integer(key);
  if (in.layers < 1 || in.layers > stored)
    Inference::refuse("config key '" + key + "' is " + std::to_string(in.layers) + ", but " +
                      std::to_string(stored) + " layers are stored");
  set_size(in, "layers", "$" + key, in.layers, "config: " + key);
  const std::vector<std::string> beyond = in.tensors.take_layers_from(in.layers);
  if (beyond.empty()) return;
  if (!in.has("num_nextn_predict_layers") && !in.has("num_mtp_layers"))
    Inference::refuse("tensor '" + beyond.front() + "' lies beyond the " + std::to_string(in.layers) +
                      " layers that config key '" + key + "' names");
  in.ignored_tensors = beyond;
  in.choose("layers.further", std::to_string(stored - in.layers),
            "layers that predict more than one token: not run", 90);
}

// The table of token embeddings among the tensors outside the layers.
std::string find_embedding(const Inference& in) {
  std::string found;
  for (const auto& [name, shape] : in.tensors.globals()) {
    const std::string module = module_of(name);
    const std::string last = last_of(module);
    const bool is_table = last == "embed_tokens" || last == "wte" || last == "embed_in" ||
                          last == "word_embeddings" || last == "tok_embeddings" || last == "tokens_embed" ||
                          last == "token_embeddings" || last == "embedding" || last == "embeddings" ||
                          last == "w" || last == "token_embedding" || last == "word_embedding" ||
                          last == "embed";
    if (!is_table || shape.size() != 2) continue;
    if (!found.empty())
      Inference::refuse("'" + found + "' and '" + module + "' may both be the token embeddings");
    found = module;
  }
  if (found.empty()) Inference::refuse("no tensor is known as the token embeddings");
  return found;
}

void infer_embedding(Inference& in) {
  in.embedding_module = find_embedding(in);
  in.tensors.claim_module(in.embedding_module);
  const Shape& table = *in.tensors.find_global(in.embedding_module + ".weight");
  Draft& embedding = in.document.section("embedding");
  embedding.set("module", in.embedding_module);
  in.choose("embedding.module", in.embedding_module, "tensors", 95);
  const std::string hidden = in.key({"hidden_size", "n_embd", "d_model", "model_dim", "dim", "embed_dim"});
  if (hidden.empty()) Inference::refuse("no config key tells the width of the model (hidden_size)");
  in.hidden = in.integer(hidden);
  set_size(in, "hidden", "$" + hidden, in.hidden, "config: " + hidden);
  in.vocab = table[0];
  const bool keyed = in.has("vocab_size") && in.integer("vocab_size") == in.vocab;
  set_size(in, "vocab", keyed ? "$vocab_size" : "rows('" + in.embedding_module + ".weight')", in.vocab,
           keyed ? "config: vocab_size" : "tensors: rows of the token embeddings");
  if (table[1] == in.hidden) return;
  // Narrower embeddings are projected to the stream and back.
  const std::string parent = parent_of(in.embedding_module);
  const std::string to = joined(parent, "project_in");
  const std::string back = joined(parent, "project_out");
  const Shape* project = in.tensors.find_global(to + ".weight");
  if (project == nullptr || *project != Shape{in.hidden, table[1]} ||
      in.tensors.find_global(back + ".weight") == nullptr)
    Inference::refuse("tensor '" + in.embedding_module + ".weight' is " + std::to_string(table[1]) +
                      " wide, the model " + std::to_string(in.hidden));
  in.tensors.claim(to + ".weight");
  in.tensors.claim(back + ".weight");
  embedding.set("width", in.has("word_embed_proj_dim") ? "$word_embed_proj_dim" : std::to_string(table[1]));
  embedding.set("projection", to);
  in.document.section("head").set("projection", back);
  in.choose("embedding.width", std::to_string(table[1]), "tensors: " + to, 95);
}

void infer_context(Inference& in) {
  const std::string key = in.key({"max_position_embeddings", "n_positions", "max_sequence_length",
                                  "max_seq_len", "n_ctx", "max_seq_length", "seq_length", "context_length"});
  in.context = key.empty() ? 2048 : in.integer(key);
  set_size(in, "context", key.empty() ? "2048" : "$" + key, in.context,
           key.empty() ? "default: no config key tells it" : "config: " + key, key.empty() ? 70 : 100);
}

// Where the linears of GPT-2's kind are stored [in, out], all of them are.
void infer_orientation(Inference& in) {
  static const std::vector<std::string> kUp = {"c_attn",       "c_fc",    "qkv_proj",  "query_key_value",
                                               "Wqkv",         "up_proj", "gate_proj", "dense_h_to_4h",
                                               "fc_in",        "fc1",     "w1",        "w3",
                                               "gate_up_proj", "W_pack",  "qkv"};
  std::string straight;
  std::string turned;
  for (const auto& [name, tensor] : in.tensors.layer()) {
    const std::string module = module_of(name);
    const Shape& shape = tensor.shape();
    const bool counts = shape.size() == 2 && tensor.parts == 0 && shape[0] != shape[1] &&
                        std::find(kUp.begin(), kUp.end(), last_of(module)) != kUp.end();
    if (counts && shape[1] == in.hidden) straight = name;
    if (counts && shape[0] == in.hidden) turned = name;
  }
  if (!straight.empty() && !turned.empty())
    Inference::refuse("tensor '" + turned + "' is stored [in, out], '" + straight + "' [out, in]");
  in.transposed = !turned.empty();
  if (in.transposed) in.choose("linears", "stored [in, out]", "shape of " + turned, 95);
}

}  // namespace

void infer_sizes(Inference& in) {
  if (in.has("text_config"))
    Inference::refuse("config key 'text_config': the model is part of a larger one, with images or sound");
  if (in.model.is_gguf())
    Inference::refuse("a GGUF file of an unknown architecture; checkpoints of the Hub only");
  infer_layers(in);
  infer_embedding(in);
  const std::string heads = in.key({"num_attention_heads", "n_head", "n_heads", "num_heads",
                                    "attention_heads", "decoder_attention_heads"});
  if (heads.empty()) Inference::refuse("no config key tells the number of heads (num_attention_heads)");
  in.heads = in.integer(heads);
  if (in.heads < 1 || in.heads > 65536) Inference::refuse("config key '" + heads + "' is out of range");
  set_size(in, "heads", "$" + heads, in.heads, "config: " + heads);
  infer_context(in);
  infer_orientation(in);
}

void infer_head(Inference& in) {
  Draft& head = in.document.section("head");
  std::string module;
  for (const char* name :
       {"lm_head", "embed_out", "output", "head", "output_projection", "model.lm_head", "lm_head.decoder"})
    if (const Shape* shape = in.tensors.find_global(std::string(name) + ".weight");
        shape != nullptr && shape->size() == 2 && (*shape)[0] == in.vocab && module.empty())
      module = name;
  const bool stored = !module.empty();
  if (!stored) module = "lm_head";
  in.tensors.claim_module(module);
  head.set("module", module);
  const bool tied = in.flag("tie_word_embeddings", true);
  if (!stored && !tied)
    Inference::refuse(
        "config key 'tie_word_embeddings' is false, but no tensor is known as the output projection");
  head.set("tied", in.has("tie_word_embeddings") ? "$tie_word_embeddings" : "true");
  head.set("bias", "if_stored");
  in.choose("head", stored ? module : "tied to " + in.embedding_module, "tensors", 95);
}

}  // namespace declarative
