// A recipe as a graph, in the block vocabulary.
#include <cmath>
#include <limits>

#include "recipe.h"

namespace declarative {

using llmh::Scope;
using llmh::Tensor;

namespace {

// Modules are named by their full path.
Tensor normed(llmh::Graph& graph, const NormSpec& norm, Tensor x) {
  return norm.present() ? llmh::norm(graph.root(), norm.module, x, norm.config) : x;
}

Tensor scaled(Tensor x, float factor) {
  return factor == 1.0F ? x : llmh::scale(x, factor);
}

// log(1 + exp(x)), for x that are not large.
Tensor softplus(Tensor x) {
  return llmh::unary(llmh::shift(llmh::unary(x, LLMH_UNARY_EXP), 1), LLMH_UNARY_LOG);
}

// A scalar that checkpoints may hold.
Tensor scalar_or(const Scope& at, const char* name, float fallback) {
  const Tensor stored = at.weight(name, {}, LLMH_WEIGHT_OPTIONAL);
  return stored.present() ? stored : at.graph().constant(at.path() + "." + name, {1}, {fallback});
}

// alpha_p x^2 + beta x above 0, (exp(min(x, eps)) - 1 - x) alpha_n + beta x below, with both alphas learned
// through softplus. (Huang, Schlag 2024)
Tensor xielu(const Scope& at, Tensor x) {
  const Tensor beta = scalar_or(at, "beta", 0.5F);
  const Tensor eps = scalar_or(at, "eps", -1e-6F);
  const Tensor alpha_p = softplus(at.weight("alpha_p", {1}));
  const Tensor alpha_n = softplus(at.weight("alpha_n", {1})) + beta;
  const Tensor above = llmh::at_least(x, 0);
  const Tensor below = llmh::at_most(x, 0);
  const Tensor limited = below - llmh::at_least(below - eps, 0);  // min(below, eps)
  const Tensor curve = llmh::shift(llmh::unary(limited, LLMH_UNARY_EXP), -1) - below;
  // At x > 0 the curve is that of min(0, eps), about nothing: taken out by the sign of x.
  const Tensor negative = llmh::clamp(llmh::scale(below, -std::numeric_limits<float>::max()), 0, 1);
  return above * above * alpha_p + curve * negative * alpha_n + x * beta;
}

class Builder {
 public:
  Builder(const Recipe& recipe, llmh::Graph& graph) : recipe_(recipe), graph_(graph) {
    for (const llmh::RopeConfig& rope : recipe.ropes) angles_.push_back(llmh::rope_angles(graph, rope));
  }

  void build() {
    Tensor x = embedding();
    for (const LayerSpec& layer : recipe_.layers) {
      for (const BlockSpec& block : layer.blocks) x = run(block, x);
      x = graph_.scope(layer.module).name("output", x);
    }
    x = normed(graph_, recipe_.head.norm, llmh::output_rows(x));
    if (const std::string& projection = recipe_.head.projection; !projection.empty())
      x = graph_.root().linear(projection, x, recipe_.embedding.width);
    if (const HeadSpec& h = recipe_.head; !h.transform.empty()) {
      const Tensor dense = graph_.root().linear(h.transform, x, x.width(), h.transform_bias);
      x = normed(graph_, h.transform_norm, llmh::activation(dense, h.transform_activation));
    }
    llmh::outputs(graph_, x, logits(x));
  }

 private:
  Tensor embedding() {
    const EmbeddingSpec& e = recipe_.embedding;
    const Tensor ids = graph_.input(LLMH_INPUT_TOKEN_IDS);
    Tensor x = scaled(graph_.root().embedding(e.module, ids, recipe_.sizes.vocab_size, e.width), e.scale);
    if (!e.projection.empty()) x = graph_.root().linear(e.projection, x, recipe_.sizes.hidden_size);
    if (!e.positions.empty())
      x = x + llmh::learned_positions(graph_.root(), e.positions, e.n_positions, recipe_.sizes.hidden_size);
    if (e.sinusoidal)
      x = x + llmh::sinusoidal_positions(graph_, e.n_positions, recipe_.sizes.hidden_size, e.position_offset,
                                         e.whole_frequencies);
    return normed(graph_, e.norm, x);
  }

  Tensor logits(Tensor x) {
    const HeadSpec& h = recipe_.head;
    const int64_t vocab = recipe_.sizes.vocab_size;
    std::vector<Tensor> inputs{
        x, graph_.weight((h.tied ? recipe_.embedding.module : h.module) + ".weight", {vocab, x.width()})};
    if (h.bias != Bias::kNone)
      inputs.push_back(
          graph_.weight(h.module + ".bias", {vocab},
                        h.bias == Bias::kIfStored ? LLMH_WEIGHT_OPTIONAL : LLMH_WEIGHT_REQUIRED));
    Tensor logits = scaled(graph_.scope(h.module).op(LLMH_OP_LINEAR, inputs), h.scale);
    return h.softcap != 0.0F ? llmh::softcap(logits, h.softcap) : logits;
  }

  Tensor run(const BlockSpec& block, Tensor x) {
    Tensor sum;
    Tensor normed_once;  // of branches that share a norm
    std::string once;
    Tensor stream = x;
    for (const BranchSpec& branch : block.branches) {
      if (!normed_once.present() || branch.pre.module != once) normed_once = normed(graph_, branch.pre, x);
      once = branch.pre.module;
      if (block.from_norm) stream = normed_once;
      Tensor y = scaled(normed(graph_, branch.post, body(branch, normed_once)), branch.scale);
      sum = sum.present() ? sum + y : y;
    }
    return normed(graph_, block.after, scaled(stream, block.residual_scale) + sum);
  }

  Tensor body(const BranchSpec& branch, Tensor x) {
    const Scope at = graph_.scope(branch.module);
    if (branch.attention) return attention(at, x, *branch.attention);
    return branch.mlp ? mlp(at, x, *branch.mlp) : moe(at, x, *branch.moe);
  }

  // --- Attention

  Tensor head_normed(const Scope& at, const HeadNormSpec& spec, Tensor x, int64_t n_heads) {
    if (!spec.norm.present()) return x;
    const std::string& name = spec.norm.module;
    if (spec.over == HeadNormOver::kAll) return llmh::norm(at, name, x, spec.norm.config);
    if (spec.over == HeadNormOver::kEachHead)
      return llmh::each_head_norm(at, name, x, n_heads, spec.norm.config);
    return llmh::head_norm(at, name, x, n_heads, spec.norm.config);
  }

  llmh::Qkv project(const Scope& at, Tensor x, const AttentionSpec& a) {
    const llmh::AttentionConfig& c = a.config;
    llmh::Qkv qkv;
    if (a.fused.empty()) {
      qkv.q = at.linear(a.q, x, c.n_heads * c.head_dim, c.qkv_bias);
      qkv.k = at.linear(a.k, x, c.n_kv_heads * c.head_dim, c.qkv_bias);
      qkv.v = at.linear(a.v, x, c.n_kv_heads * c.v_head_dim, c.qkv_bias);
    } else {
      const llmh::QkvOrder order = recipe_.is_gguf ? llmh::QkvOrder::kContiguous : a.order;
      qkv = llmh::project_fused_qkv(at, a.fused, x, order, c);
    }
    if (a.clip != 0.0F) clip(qkv, a.clip);
    return qkv;
  }

  static void clip(llmh::Qkv& qkv, float limit) {
    for (Tensor* part : {&qkv.q, &qkv.k, &qkv.v}) *part = llmh::clamp(*part, -limit, limit);
  }

  // Queries far into the context are made longer.
  Tensor temperature(const AttentionSpec& a) {
    if (temperatures_.present()) return temperatures_;
    std::vector<float> table;
    for (int64_t p = 0; p < recipe_.sizes.context_length; ++p)
      table.push_back(1.0F + a.temperature_scale *
                                 std::log(1.0F + std::floor((static_cast<float>(p) + a.temperature_first) /
                                                            a.temperature_floor)));
    temperatures_ =
        llmh::gather_rows(graph_.constant("query_temperature", {recipe_.sizes.context_length, 1}, table),
                          graph_.input(LLMH_INPUT_POSITIONS));
    return temperatures_;
  }

  Tensor attention(const Scope& at, Tensor x, const AttentionSpec& a) {
    if (a.latent) return latent_attention(at, x, a);
    const llmh::AttentionConfig& c = a.config;
    llmh::Qkv qkv = project(at, x, a);
    const auto norm_qk = [&] {
      qkv.q = head_normed(at, a.q_norm, qkv.q, c.n_heads);
      qkv.k = head_normed(at, a.k_norm, qkv.k, c.n_kv_heads);
    };
    if (!a.q_norm.after_rope) norm_qk();
    if (a.clip_normed != 0.0F) clip(qkv, a.clip_normed);
    if (a.rope >= 0) {
      llmh::RopeAngles angles = angles_[static_cast<size_t>(a.rope)];
      if (a.rope_reversed) angles.sin = llmh::scale(angles.sin, -1);
      qkv = llmh::rotate_qk(qkv, angles, c, a.rope_style);
    }
    if (a.q_norm.after_rope) norm_qk();
    qkv.v = scaled(head_normed(at, a.v_norm, qkv.v, c.n_kv_heads), a.v_scale);
    qkv.q = scaled(qkv.q, a.q_scale);
    qkv.k = scaled(qkv.k, a.k_scale);
    if (a.temperature_scale != 0.0F) qkv.q = qkv.q * temperature(a);
    llmh::AttentionExtras extras;
    if (!a.alibi.empty())
      extras.alibi_slopes = graph_.constant(at.path() + ".alibi_slopes", {c.n_heads}, a.alibi);
    if (!a.sinks.empty()) extras.sinks = at.weight(a.sinks, {c.n_heads});
    Tensor y = llmh::attend(at, qkv, c, extras);
    if (!a.gate.empty()) y = gated(at, a, x, y);
    if (a.out_norm.present()) y = llmh::norm(at, a.out_norm.module, y, a.out_norm.config);
    return at.linear(a.out, y, x.width(), c.out_bias);
  }

  Tensor gated(const Scope& at, const AttentionSpec& a, Tensor x, Tensor y) {
    const int64_t n_heads = a.config.n_heads;
    const int64_t width = a.gate_per_head ? n_heads : y.width();
    const Tensor raw = at.linear(a.gate, x, width, Bias::kIfStored);
    const Tensor gate = a.gate_softplus ? softplus(raw) : llmh::activation(raw, LLMH_ACT_SIGMOID);
    if (!a.gate_per_head) return y * gate;
    return llmh::merge_last(llmh::split_last(y, {n_heads, y.width() / n_heads}) *
                            llmh::split_last(gate, {n_heads, 1}));
  }

  Tensor latent_attention(const Scope& at, Tensor x, const AttentionSpec& a) {
    llmh::LatentAttentionConfig latent = *a.latent;
    latent.attention = a.config;
    latent.q_scale = a.latent_q_scale;
    latent.kv_scale = a.latent_kv_scale;
    return llmh::latent_attention(at, x, latent, angles_.at(static_cast<size_t>(a.rope)));
  }

  // --- Feed-forward

  Tensor mlp(const Scope& at, Tensor x, const MlpSpec& m) {
    Tensor hidden;
    if (m.kind == MlpKind::kFused) {
      hidden = llmh::gated_halves(at.linear(m.up, x, 2 * m.width, m.bias), m.activation);
    } else {
      const Tensor up = at.linear(m.up, x, m.width, m.bias);
      if (m.kind == MlpKind::kGated)
        hidden = llmh::gated_activation(scaled(at.linear(m.gate, x, m.width, m.bias), m.gate_scale), up,
                                        m.activation);
      else
        hidden = m.xielu ? xielu(at.scope("act_fn"), up) : llmh::activation(up, m.activation);
    }
    if (m.inner_norm.present()) hidden = llmh::norm(at, m.inner_norm.module, hidden, m.inner_norm.config);
    return scaled(at.linear(m.down, hidden, x.width(), m.down_bias), m.out_scale);
  }

  Tensor moe(const Scope& at, Tensor x, const MoeSpec& m) {
    const int64_t n_experts = m.routing.n_experts;
    Tensor correction;
    if (!m.correction.empty())
      correction = at.weight(m.correction, m.correction_row ? std::vector<int64_t>{1, n_experts}
                                                            : std::vector<int64_t>{n_experts});
    Tensor logits = at.linear(m.router, x, n_experts, m.router_bias);
    if (m.router_softcap != 0.0F) logits = llmh::softcap(logits, m.router_softcap);
    const llmh::Routing routing = llmh::route(logits, m.routing, correction);
    Tensor y = experts(at.scope(m.experts), x, m, routing);
    if (!m.shared) return scaled(y, m.out_scale);
    Tensor shared = mlp(at.scope(m.shared_module), x, *m.shared);
    if (!m.shared_gate.empty())
      shared = shared * llmh::activation(at.linear(m.shared_gate, x, 1), LLMH_ACT_SIGMOID);
    return scaled(y + shared, m.out_scale);
  }

  Tensor experts(const Scope& at, Tensor x, const MoeSpec& m, const llmh::Routing& routing) {
    const int64_t n = m.routing.n_experts;
    const int64_t k = m.routing.n_experts_per_tok;
    Tensor in = x;
    if (m.weigh_input)
      in = llmh::stretch(llmh::split_last(x, {1, x.width()}), k, -2) *
           llmh::split_last(routing.weights, {k, 1});
    const auto linear = [&](const char* name, Tensor input, int64_t width) {
      return llmh::expert_linear(at, name, input, routing.ids, n, width, m.bias);
    };
    Tensor gate;
    Tensor up;
    if (m.kind == MlpKind::kFused) {
      const Tensor both = linear("gate_up_proj", in, 2 * m.width);
      if (m.interleaved) {
        const Tensor pairs = llmh::split_last(both, {m.width, 2});
        gate = llmh::merge_last(llmh::slice(pairs, 0, 1));
        up = llmh::merge_last(llmh::slice(pairs, 1, 2));
      } else {
        gate = llmh::slice(both, 0, m.width);
        up = llmh::slice(both, m.width, 2 * m.width);
      }
    } else {
      up = linear("up_proj", in, m.width);
      if (m.kind == MlpKind::kGated) gate = linear("gate_proj", in, m.width);
    }
    const Tensor y = linear("down_proj", expert_hidden(m, gate, up), x.width());
    if (!m.weigh_input) return llmh::combine(y, routing);
    // The weights are in the input already: a plain sum, with 1 for each of the k.
    return llmh::combine(y, {routing.ids, llmh::top_k_mask(routing.weights, k)});
  }

  static Tensor expert_hidden(const MoeSpec& m, Tensor gate, Tensor up) {
    if (m.kind == MlpKind::kPlain) return llmh::activation(up, m.activation);
    if (m.clamp != 0.0F) {
      gate = llmh::at_most(gate, m.clamp);
      up = llmh::clamp(up, -m.clamp, m.clamp);
    }
    if (m.up_shift != 0.0F) up = llmh::shift(up, m.up_shift);
    if (m.gate_alpha == 0.0F) return llmh::gated_activation(gate, up, m.activation);
    return gate * llmh::activation(llmh::scale(gate, m.gate_alpha), LLMH_ACT_SIGMOID) * up;
  }

  const Recipe& recipe_;
  llmh::Graph& graph_;
  std::vector<llmh::RopeAngles> angles_;
  Tensor temperatures_;
};

}  // namespace

void build_graph(const Recipe& recipe, llmh::Graph& graph) {
  Builder(recipe, graph).build();
}

}  // namespace declarative
