// How a recipe's modules are stored: on the Hub under their own names, in GGUF files under those of their
// roles.
#include "recipe.h"

namespace declarative {

namespace {

constexpr std::array<const char*, 2> kKinds = {".weight", ".bias"};

// Names of layer 0's modules with {i} for the number, and of what they are called in GGUF files.
class Roles {
 public:
  Roles(const Recipe& recipe, llmh::Names& names) : recipe_(recipe), names_(names) {}

  void ends() {
    names_.gguf_module(recipe_.embedding.module, "token_embd");
    if (recipe_.embedding.norm.present())
      names_.gguf_module(recipe_.embedding.norm.module, "token_embd_norm");
    if (!recipe_.embedding.positions.empty())
      names_.gguf_module(recipe_.embedding.positions, "position_embd");
    if (recipe_.head.norm.present()) names_.gguf_module(recipe_.head.norm.module, "output_norm");
    names_.gguf_module(recipe_.head.module, "output");
    names_.ignore("rope_freqs.weight");
  }

  // Every layer may be built in its own way: the modules of all of them are collected.
  void layer(const LayerSpec& layer) {
    prefix_ = layer.module + ".";
    for (const BlockSpec& block : layer.blocks)
      for (const BranchSpec& branch : block.branches) this->branch(branch);
  }

 private:
  void module(const std::string& hub, const std::string& role, const llmh::LayoutSteps& steps = {}) {
    if (hub.empty()) return;
    const std::string within = hub.substr(prefix_.size());
    const std::string pattern = recipe_.layer_pattern + "." + within;
    if (seen_.insert(pattern).second) names_.gguf_module(pattern, "blk.{i}." + role, steps);
  }

  void branch(const BranchSpec& b) {
    const bool attends = b.attention.has_value();
    if (b.pre.present()) module(b.pre.module, attends ? "attn_norm" : "ffn_norm");
    if (b.post.present()) module(b.post.module, attends ? "post_attention_norm" : "post_ffw_norm");
    const std::string in = b.module + ".";
    if (attends) attention(in, *b.attention);
    if (b.mlp) mlp(in, *b.mlp, "");
    if (b.moe) moe(in, *b.moe);
  }

  void attention(const std::string& in, const AttentionSpec& a) {
    const auto pairs = [&](int64_t heads) {
      return recipe_.gguf.paired_rows ? llmh::LayoutSteps{llmh::rotary_pairs(heads)} : llmh::LayoutSteps{};
    };
    if (!a.fused.empty()) {
      module(in + a.fused, "attn_qkv");
    } else {
      module(in + a.q, "attn_q", pairs(a.config.n_heads));
      module(in + a.k, "attn_k", pairs(a.config.n_kv_heads));
      module(in + a.v, "attn_v");
    }
    module(in + a.out, "attn_output");
    if (a.q_norm.norm.present()) module(in + a.q_norm.norm.module, "attn_q_norm");
    if (a.k_norm.norm.present()) module(in + a.k_norm.norm.module, "attn_k_norm");
    if (a.out_norm.present()) module(in + a.out_norm.module, "attn_sub_norm");
    if (a.latent) {
      module(in + "q_a_proj", "attn_q_a");
      module(in + "q_a_layernorm", "attn_q_a_norm");
      module(in + "q_b_proj", "attn_q_b");
      module(in + "kv_a_proj_with_mqa", "attn_kv_a_mqa");
      module(in + "kv_a_layernorm", "attn_kv_a_norm");
      module(in + "kv_b_proj", "attn_kv_b");
      module(in + "k_b_proj", "attn_k_b", {llmh::transposed()});
      module(in + "v_b_proj", "attn_v_b");
    }
    if (!a.sinks.empty() && names_.is_gguf())
      names_.map(recipe_.layer_pattern + "." + (in + a.sinks).substr(prefix_.size()),
                 "blk.{i}.attn_sinks.weight");
  }

  void mlp(const std::string& in, const MlpSpec& m, const std::string& suffix) {
    if (m.kind == MlpKind::kGated) module(in + m.gate, "ffn_gate" + suffix);
    module(in + m.up, "ffn_up" + suffix);
    module(in + m.down, "ffn_down" + suffix);
    if (m.inner_norm.present()) module(in + m.inner_norm.module, "ffn_sub_norm");
  }

  void moe(const std::string& in, const MoeSpec& m) {
    module(in + m.router, "ffn_gate_inp");
    if (!m.correction.empty() && names_.is_gguf())
      names_.map(recipe_.layer_pattern + "." + (in + m.correction).substr(prefix_.size()),
                 "blk.{i}.exp_probs_b.bias");
    const std::string experts = in + m.experts + ".";
    if (m.kind == MlpKind::kGated) expert(experts, m, m.gate, "gate_proj", "gate");
    expert(experts, m, m.up, m.kind == MlpKind::kFused ? "gate_up_proj" : "up_proj", "up");
    expert(experts, m, m.down, "down_proj", "down");
    if (!m.shared) return;
    mlp(in + m.shared_module + ".", *m.shared, "_shexp");
    if (!m.shared_gate.empty()) module(in + m.shared_gate, "ffn_gate_inp_shexp");
  }

  // One matrix of all experts: stacked as stored, or one tensor an expert.
  void expert(const std::string& experts, const MoeSpec& m, const std::string& stored, const char* part,
              const char* role) {
    const std::string hub = recipe_.layer_pattern + "." + experts.substr(prefix_.size()) + part;
    if (!seen_.insert(hub).second) return;
    for (const char* kind : kKinds) {
      if (names_.is_gguf()) {
        names_.map(hub + kind, std::string("blk.{i}.ffn_") + role + "_exps" + kind);
        continue;
      }
      const std::string at = recipe_.layer_pattern + "." + experts.substr(prefix_.size());
      const bool is_weight = kind == kKinds[0];
      llmh::LayoutSteps steps;
      if (is_weight && m.transposed) steps.push_back(llmh::transposed());
      if (!m.stacked) {
        names_.map(hub + kind, at + "{j}." + stored + kind, steps);
      } else {
        // Stacked tensors are stored with the ending of a module or without.
        names_.map(hub + kind, at + stored + (is_weight ? "" : "_bias"), steps);
        if (at + stored != hub || !steps.empty()) names_.map(hub + kind, at + stored + kind, steps);
      }
    }
  }

  const Recipe& recipe_;
  llmh::Names& names_;
  std::string prefix_;
  std::set<std::string> seen_;
};

}  // namespace

void add_names(const Recipe& recipe, llmh::Names& names) {
  Roles roles(recipe, names);
  roles.ends();
  for (const LayerSpec& layer : recipe.layers) roles.layer(layer);
  for (const NameRule& rule : recipe.names) names.map(rule.hub, rule.stored, rule.steps);
  for (const NameRule& rule : recipe.gguf.modules) names.gguf_module(rule.hub, rule.stored, rule.steps);
  for (const std::string& ignored : recipe.ignored_tensors) names.ignore(ignored);
  if (const EmbeddingSpec& e = recipe.embedding; e.position_offset != 0 && !e.positions.empty())
    names.map(e.positions + ".weight", e.positions + ".weight",
              {llmh::rows(e.position_offset, e.position_offset + e.n_positions)});
}

}  // namespace declarative
