// What inference knows so far. Each part of it, one file, reads config keys and tensors and writes its
// section of the document; whatever nobody reads or claims is left for the host's audit, which refuses the
// model by its name.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "infer.h"
#include "infer_draft.h"
#include "infer_tensors.h"

namespace declarative {

// What the spellings of some families tell about maths that shows nowhere else.
struct Hints {
  bool gemma = false;        // RMS norms of 1 + weight, embeddings times sqrt(hidden)
  bool nemotron = false;     // layer norms of 1 + weight
  bool fairseq = false;      // layer norms with an epsilon of 1e-5, whatever the config says; sine positions
  bool bloom = false;        // ALiBi, tanh gelu
  bool llama4 = false;       // see infer_llama4()
  bool afmoe = false;        // rotations in sliding layers alone
  bool hyperclovax = false;  // logits are multiplied by what Granite divides them by
  bool gpt_neo = false;      // local layers, scores that are not scaled
  bool olmo = false;         // layer norms without weights
};

// The modules that the blocks of a layer run, below the layer.
struct FeedForward {
  bool dense = false;
  std::string dense_module;
  bool sparse = false;
  std::string sparse_module;
  std::string sparse_tensor;  // is there in the layers with experts
  bool beside = false;  // an expert for every token, "mlp_shared", that is no part of the mixture's module
  std::string beside_tensor;
};

class Inference {
 public:
  explicit Inference(const llmh::Model& checkpoint) : model(checkpoint), tensors(checkpoint) {}

  const llmh::Model& model;
  Tensors tensors;
  Draft document;
  std::vector<Choice> choices;
  std::vector<std::string> ignored_keys, ignored_tensors;
  Hints hints;
  FeedForward feed_forward;

  int64_t layers = 0, hidden = 0, vocab = 0, heads = 0, kv_heads = 0, head_dim = 0, context = 0;
  bool transposed = false;  // linears of the layers are stored [in, out]
  bool latent = false;      // latent attention
  bool layer_norms = false;
  std::string attention_module, embedding_module;
  std::string sliding;  // an expression: whether the layer slides; empty: none does

  // The first of the keys that is there and not null; empty: none is.
  std::string key(std::initializer_list<std::string_view> names) const;
  bool has(std::string_view name) const { return model.has(name); }
  bool is_written(const std::string& name) const;  // null or not, at the top of the config
  // These read the key. Another type than asked for is an error.
  int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;
  bool flag(const std::string& name,
            bool fallback) const;                   // `fallback` also where it is no flag, which is not read
  std::string word(const std::string& name) const;  // empty where it is no text
  void ignore(std::initializer_list<std::string_view> names);  // those that are there

  // Keys that were read here and stand in no expression of the document: other checkpoints of the type are
  // refused where they have another value, as it is what the document was made by.
  void pin_keys();

  // Notes a choice; gives the comment beside it in the document, which a sure one does not need.
  std::string choose(const std::string& what, const std::string& value, const std::string& source,
                     int certainty);
  [[noreturn]] static void refuse(const std::string& what);

  // A linear module of the layers: its [out, in], whichever way it is stored.
  Shape linear(const std::string& module) const;
  bool has_module(const std::string& module) const { return tensors.find(module + ".weight") != nullptr; }
  // Understood: claimed, and turned round where it is stored [in, out].
  void use_linear(const std::string& module);
  void name_rule(const std::string& hub, const std::string& stored, bool turned);
  // Throws when a layer lacks the tensor.
  void require_everywhere(const std::string& tensor) const;
  // has('…') of a tensor that only some layers have; empty when all have it.
  std::string only_where(const std::string& tensor) const;

 private:
  void remember(const std::string& name, const std::string& value) const { read_[name] = value; }

  mutable std::map<std::string, std::string> read_;  // keys and the expressions of their values
};

// The parts, in the order in which they run.
void refuse_other_kinds(const llmh::Model& model);  // recurrent layers, encoders
void infer_sizes(Inference& in);
void infer_hints(Inference& in);
void infer_attention(Inference& in);
void infer_feed_forward(Inference& in);
void infer_experts(Inference& in);
void infer_positions(Inference& in);
void infer_windows(Inference& in);
void infer_llama4(Inference& in);
void infer_norms(Inference& in);
void infer_scales(Inference& in);
void infer_head(Inference& in);
void ignore_plain_keys(Inference& in);  // what the tensors say anyway, and what changes nothing

// What multiplies each branch before it is added to the stream, an expression; empty: nothing.
std::string infer_residual_scale(Inference& in);

// The activation's key, written into `section`.
void infer_activation(Inference& in, Draft& section, bool gated);

}  // namespace declarative
