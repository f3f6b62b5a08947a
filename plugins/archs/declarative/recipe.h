// A model's recipe: what a declarative architecture says of one checkpoint, with every number worked out.
// Read once when the model is opened; names and graph are made from it alone.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "document.h"
#include "llmhost/decoder.hpp"

namespace declarative {

using llmh::Bias;

// A norm at a place. An empty module: there is none.
struct NormSpec {
  std::string module;
  llmh::NormConfig config;
  bool present() const { return !module.empty(); }
};

// What one learned norm of q or k covers.
enum class HeadNormOver { kHead, kAll, kEachHead };

struct HeadNormSpec {
  NormSpec norm;
  HeadNormOver over = HeadNormOver::kHead;
  bool after_rope = false;
};

enum class MlpKind { kGated, kPlain, kFused };

struct AttentionSpec {
  llmh::AttentionConfig config;
  std::string q, k, v, out;
  std::string fused;  // one projection of q, k and v; empty: three
  llmh::QkvOrder order = llmh::QkvOrder::kContiguous;
  HeadNormSpec q_norm, k_norm, v_norm;
  int rope = -1;  // index into Recipe::ropes; -1: no rotation
  int32_t rope_style = LLMH_ROPE_HALVES;
  bool rope_reversed = false;  // the angles are negative
  float clip = 0.0F;           // of the projections; 0: none
  float clip_normed = 0.0F;    // the same behind the norms of q and k
  float q_scale = 1.0F, k_scale = 1.0F, v_scale = 1.0F;
  std::string sinks;               // weight below the module; empty: none
  std::vector<float> alibi;        // slopes; empty: none
  NormSpec out_norm;               // of the attended values, before the output projection
  std::string gate;                // linear whose sigmoid multiplies the attended values; empty: none
  bool gate_per_head = false;      // one gate a head
  bool gate_softplus = false;      // its softplus instead
  float temperature_scale = 0.0F;  // q times 1 + scale * log(1 + floor((position + 1) / floor)); 0: none
  float temperature_floor = 1.0F;
  float temperature_first = 1.0F;  // the number of the first position in that formula
  std::optional<llmh::LatentAttentionConfig> latent;
  float latent_q_scale = 1.0F, latent_kv_scale = 1.0F;
};

struct MlpSpec {
  MlpKind kind = MlpKind::kGated;
  std::string gate, up, down;  // kFused: `up` makes both
  int64_t width = 0;
  int32_t activation = LLMH_ACT_SILU;
  bool xielu = false;  // learned activation instead (Huang, Schlag 2024), of a plain block
  Bias bias = Bias::kNone;
  Bias down_bias = Bias::kNone;
  NormSpec inner_norm;  // before the down projection
  float gate_scale = 1.0F, out_scale = 1.0F;
};

struct MoeSpec {
  std::string router;  // linear
  Bias router_bias = Bias::kNone;
  std::string correction;       // weight below the module; empty: none
  bool correction_row = false;  // it is stored as [1, experts]
  llmh::RouterConfig routing;
  float router_softcap = 0.0F;  // of the router's logits; 0: none
  float out_scale = 1.0F;       // of the whole result
  bool weigh_input = false;     // the weights multiply the experts' input
  std::string experts;          // module
  MlpKind kind = MlpKind::kGated;
  std::string gate, up, down;  // as stored, below the experts' module
  bool stacked = false;        // one tensor for all experts
  bool transposed = false;     // stored [in, out]
  bool interleaved = false;    // kFused: gate and up take turns
  Bias bias = Bias::kNone;
  int64_t width = 0;
  int32_t activation = LLMH_ACT_SILU;
  float clamp = 0.0F;             // gate at most, up within +- this; 0: no limits
  float gate_alpha = 0.0F;        // gate * sigmoid(alpha * gate) instead of the activation; 0: not
  float up_shift = 0.0F;          // added to up
  std::optional<MlpSpec> shared;  // an expert that sees every token
  std::string shared_module, shared_gate;
};

// Something that runs on the stream and is added to it.
struct BranchSpec {
  std::string module;  // full path with the layer's number
  NormSpec pre, post;
  float scale = 1.0F;
  std::optional<AttentionSpec> attention;
  std::optional<MlpSpec> mlp;
  std::optional<MoeSpec> moe;
};

// x = after(x * residual_scale + sum of the branches); branches of one block run side by side.
struct BlockSpec {
  std::vector<BranchSpec> branches;
  NormSpec after;
  float residual_scale = 1.0F;
  bool from_norm = false;  // the branch's normalised input is what it is added to
};

struct LayerSpec {
  std::string module;
  std::vector<BlockSpec> blocks;
};

struct EmbeddingSpec {
  std::string module;
  int64_t width = 0;
  float scale = 1.0F;
  NormSpec norm;
  std::string projection;  // linear to the hidden size; empty: none
  std::string positions;   // learned table; empty: none
  int64_t n_positions = 0, position_offset = 0;
  bool sinusoidal = false;
  bool whole_frequencies = false;  // their last frequency is that of 10000^(-1 + 2 / width), not of 1 / 10000
};

struct HeadSpec {
  NormSpec norm;
  std::string projection;  // linear back to the embedding's width; empty: none
  std::string transform;   // linear, activation and norm in front of the head; empty: none
  int32_t transform_activation = LLMH_ACT_GELU;
  Bias transform_bias = Bias::kIfStored;
  NormSpec transform_norm;
  std::string module;
  bool tied = false;
  Bias bias = Bias::kNone;
  float scale = 1.0F, softcap = 0.0F;
};

struct NameRule {
  std::string hub, stored;
  llmh::LayoutSteps steps;
};

// How GGUF files of this architecture differ from the usual roles.
struct GgufSpec {
  bool paired_rows = false;       // rows of q and k in rotary pairs
  std::vector<NameRule> modules;  // without .weight or .bias
};

struct Recipe {
  std::string name;
  llmh::DecoderSizes sizes;
  std::string layer_pattern;  // "model.layers.{i}"
  EmbeddingSpec embedding;
  std::vector<LayerSpec> layers;
  HeadSpec head;
  std::vector<llmh::RopeConfig> ropes;
  std::vector<NameRule> names;
  std::vector<std::string> ignored_tensors;
  GgufSpec gguf;
  bool is_gguf = false;
};

// Works a document out for one checkpoint. Throws llmh::Error with the place in the document.
Recipe read_recipe(const std::string& origin, const YAML::Node& document, const llmh::Model& model);

// Name rules for the checkpoint's format.
void add_names(const Recipe& recipe, llmh::Names& names);

void build_graph(const Recipe& recipe, llmh::Graph& graph);

// Parts of read_recipe, by subject. `ropes` collects the distinct settings.
NormSpec read_norm(const Section& section, const std::string& fallback_module, const llmh::NormConfig& usual);
AttentionSpec read_attention(const Section& section, const Recipe& recipe, int64_t layer,
                             const llmh::NormConfig& usual, std::vector<llmh::RopeConfig>& ropes);
MlpSpec read_mlp(const Section& section, const Recipe& recipe, const llmh::NormConfig& usual);
MoeSpec read_moe(const Section& section, const Recipe& recipe, const llmh::NormConfig& usual);
Bias read_bias(const Section& section, const std::string& key, const llmh::Model& model);

}  // namespace declarative
