// Norms: their kind, and by their names where they stand: before a block, behind it, or one for two side by
// side.
#include <algorithm>

#include "infer_state.h"

namespace declarative {

namespace {

using Names = std::vector<std::string>;

const Names kBeforeAttention = {"input_layernorm",
                                "ln_1",
                                "ln1",
                                "attention_norm",
                                "attn_norm",
                                "norm_1",
                                "norm1",
                                "attention_layernorm",
                                "self_attn_layer_norm",
                                "pre_attention_layernorm",
                                "ln_attn",
                                "layernorm1",
                                "pre_attn_norm",
                                "input_norm",
                                "attn_ln",
                                "layer_norm_1",
                                "input_layer_norm",
                                "pre_attention_norm",
                                "self_attention_layernorm"};
const Names kBeforeMlp = {"pre_feedforward_layernorm",
                          "pre_mlp_layernorm",
                          "ln_2",
                          "ln2",
                          "ffn_norm",
                          "norm_2",
                          "norm2",
                          "feedforward_layernorm",
                          "mlp_norm",
                          "final_layer_norm",
                          "ln_mlp",
                          "layernorm2",
                          "pre_ffn_norm",
                          "layer_norm_2",
                          "ffn_ln",
                          "pre_mlp_norm",
                          "mlp_layernorm"};
// Behind attention, or, where nothing else stands before the feed-forward block, before that.
const Names kBetween = {"post_attention_layernorm", "post_attention_norm"};
const Names kAfterAttention = {"post_self_attn_layernorm", "post_attn_norm", "post_self_attention_layernorm",
                               "post_norm1"};
const Names kAfterMlp = {"post_feedforward_layernorm",
                         "post_mlp_layernorm",
                         "post_ffn_norm",
                         "post_ffw_norm",
                         "post_mlp_norm",
                         "post_norm2"};

struct Places {
  std::string before_attention, before_mlp, after_attention, after_mlp;
};

bool is_norm(const Inference& in, const std::string& name) {
  const LayerTensor* stored = in.tensors.find(name + ".weight");
  return stored != nullptr && stored->parts == 0 && stored->shape() == Shape{in.hidden};
}

std::string take(Inference& in, const Names& names) {
  for (const std::string& name : names) {
    if (!is_norm(in, name) || in.tensors.is_claimed(name + ".weight")) continue;
    in.tensors.claim_module(name);
    return name;
  }
  return {};
}

Places find_places(Inference& in) {
  Places p;
  p.before_attention = take(in, kBeforeAttention);
  p.before_mlp = take(in, kBeforeMlp);
  p.after_attention = take(in, kAfterAttention);
  p.after_mlp = take(in, kAfterMlp);
  const std::string between = take(in, kBetween);
  if (between.empty()) return p;
  // With a norm of its own before each block it stands behind attention; without one before attention as
  // well.
  const bool behind = p.before_attention.empty() || !p.before_mlp.empty();
  if (behind && !p.after_attention.empty())
    Inference::refuse("'" + p.after_attention + "' and '" + between +
                      "' may both be the norm behind attention");
  (behind ? p.after_attention : p.before_mlp) = between;
  return p;
}

// A norm of a block, which only some of the layers may have.
void set_norm(Inference& in, Draft& block, const char* role, const std::string& module) {
  if (module.empty()) return;
  const std::string where = in.only_where(module + ".weight");
  if (where.empty()) return block.set(role, module);
  Draft& norm = block.section(role);
  norm.set("module", module);
  norm.set("when", where);
}

// Whether attention and the feed-forward block run side by side.
bool is_parallel(Inference& in, const Places& p) {
  const std::string key =
      in.key({"use_parallel_residual", "parallel_residual", "parallel_attn", "use_parallel_block"});
  const bool one = p.before_mlp.empty() && p.after_attention.empty() && p.after_mlp.empty();
  if (!key.empty()) {
    const bool parallel = in.flag(key, false);
    if (one && !parallel) Inference::refuse("config key '" + key + "' is false, but a layer has one norm");
    in.choose("layer.parallel", parallel ? "true" : "false", "config: " + key, 95);
    return parallel;
  }
  if (one) in.choose("layer.parallel", "true", "one norm a layer", 85);
  return one;
}

// "mlp", "moe", or both with what tells the layers apart.
struct Variant {
  std::vector<std::string> run;
  std::string when;
};

std::vector<Variant> variants(const Inference& in) {
  const FeedForward& f = in.feed_forward;
  std::vector<std::string> sparse{"moe"};
  if (f.beside) sparse.push_back("mlp_shared");
  if (!f.sparse) return {{{"mlp"}, ""}};
  if (!f.dense) return {{sparse, ""}};
  const std::string has_experts = "has(" + in.tensors.quoted(f.sparse_tensor) + ")";
  return {{{"mlp"}, "not " + has_experts}, {sparse, has_experts}};
}

void set_run(Draft& block, std::vector<std::string> run, bool with_attention, const std::string& scale) {
  if (with_attention) run.insert(run.begin(), "attention");
  if (!scale.empty()) block.set("scale", scale);
  if (run.size() == 1) return block.set("run", run.front());
  block.set_list("run", run);
}

// BLOOM may add to the normalised stream.
void set_residual(const Inference& in, Draft& block) {
  if (in.hints.bloom) block.set("residual_from_norm", "$apply_residual_connection_post_layernorm");
}

// Norms behind the residual sum, as OPT has them on request.
bool is_post_norm(Inference& in) {
  return in.model.kind_of("do_layer_norm_before") == LLMH_KIND_OF_BOOL &&
         !in.flag("do_layer_norm_before", true);
}

void write_blocks(Inference& in, const Places& p) {
  Draft& layer = in.document.section("layer");
  layer.set("module", in.tensors.pattern());
  const bool parallel = is_parallel(in, p);
  const bool post = is_post_norm(in);
  const std::string scale = infer_residual_scale(in);
  const char* before = post ? "after" : "norm";
  const bool two_norms = parallel && !p.before_mlp.empty();
  if (parallel && (post || !p.after_attention.empty() || !p.after_mlp.empty()))
    Inference::refuse("blocks side by side with norms behind them");
  if (!parallel) {
    Draft& first = layer.item("blocks");
    set_norm(in, first, before, p.before_attention);
    set_run(first, {"attention"}, false, scale);
    set_norm(in, first, "post_norm", p.after_attention);
    set_residual(in, first);
  }
  for (const Variant& variant : variants(in)) {
    Draft& block = layer.item("blocks");
    if (!variant.when.empty()) block.set("when", variant.when);
    if (two_norms) {
      Draft& left = block.item("parallel");
      set_norm(in, left, "norm", p.before_attention);
      set_run(left, {"attention"}, false, scale);
      Draft& right = block.item("parallel");
      set_norm(in, right, "norm", p.before_mlp);
      set_run(right, variant.run, false, scale);
      continue;
    }
    set_norm(in, block, before, parallel ? p.before_attention : p.before_mlp);
    set_run(block, variant.run, parallel, scale);
    set_norm(in, block, "post_norm", p.after_mlp);
    set_residual(in, block);
    if (variant.run.size() > 1 && !p.after_mlp.empty())
      Inference::refuse("a norm behind two blocks that run side by side");
  }
}

bool has_biases(const Inference& in, const Places& p) {
  for (const std::string& name : {p.before_attention, p.before_mlp, p.after_attention, p.after_mlp})
    if (!name.empty() && in.tensors.find(name + ".bias") != nullptr) return true;
  return false;
}

// The kind of the norms and their epsilon: by a bias, a key that names it, or the spelling of the epsilon's
// key.
void write_kind(Inference& in, const Places& p) {
  Draft& norm = in.document.section("norm");
  const std::string layer_eps =
      in.key({"layer_norm_epsilon", "layer_norm_eps", "layernorm_epsilon", "norm_epsilon", "ln_eps"});
  const std::string rms_eps =
      in.key({"rms_norm_eps", "rms_norm_epsilon", "layer_norm_rms_eps", "rmsnorm_eps"});
  const std::string either_eps = in.key({"norm_eps"});
  const bool biased = has_biases(in, p);
  const std::string named = in.word("norm_type");
  bool layer = biased || (rms_eps.empty() && !layer_eps.empty());
  std::string source = biased ? "biases of the norms"
                              : "config: " + (layer             ? layer_eps
                                              : rms_eps.empty() ? either_eps
                                                                : rms_eps);
  int certainty = biased ? 95 : rms_eps.empty() && layer_eps.empty() ? 65 : 85;
  if (!named.empty()) {
    const bool says_rms = named.find("rms") != std::string::npos;
    if (!says_rms && named.find("layer") == std::string::npos)
      Inference::refuse("config key 'norm_type' is '" + named + "', which is not known");
    if (says_rms && biased)
      Inference::refuse("config key 'norm_type' is '" + named + "', but norms have biases");
    layer = !says_rms;
    source = "config: norm_type";
    certainty = 95;
  }
  if (!biased && layer_eps.empty() && rms_eps.empty() && either_eps.empty())
    Inference::refuse("nothing tells the kind of the norms: no bias, no epsilon in the config");
  in.layer_norms = layer;
  norm.set("kind", layer ? "layer" : "rms",
           in.choose("norm.kind", layer ? "layer" : "rms", source, certainty));
  const std::string eps = layer
                              ? (layer_eps.empty() ? (either_eps.empty() ? rms_eps : either_eps) : layer_eps)
                              : (rms_eps.empty() ? (either_eps.empty() ? layer_eps : either_eps) : rms_eps);
  if (in.hints.fairseq) {
    norm.set("eps", "1e-5", in.choose("norm.eps", "1e-5", "names of fairseq, whose norms read no key", 55));
    in.ignore({"layer_norm_eps"});
  } else if (eps.empty()) {
    norm.set("eps", "1e-5",
             in.choose("norm.eps", "1e-5", "no config key tells it; default of layer norms", 55));
  } else {
    norm.set("eps", "$" + eps);
    in.choose("norm.eps", "$" + eps, "config: " + eps, 95);
  }
  const bool shifted = in.hints.gemma || in.hints.nemotron;
  norm.set("offset", shifted ? "1" : "0",
           in.choose("norm.offset", shifted ? "1" : "0",
                     in.hints.gemma      ? "gated tanh gelu beside RMS norms, as in Gemma"
                     : in.hints.nemotron ? "squared relu beside norm_eps, as in Nemotron"
                                         : "default of most families",
                     shifted ? 55 : 75));
}

void write_final_norm(Inference& in) {
  std::vector<std::string> found;
  for (const auto& [name, shape] : in.tensors.globals()) {
    const std::string module = module_of(name);
    if (module.empty() || shape != Shape{in.hidden}) continue;
    const std::string last = last_of(module);
    const bool of_embedding =
        module.find("embed") != std::string::npos || last.find("emb") != std::string::npos;
    if (of_embedding) {
      if (last.find("norm") == std::string::npos && last != "ln_embed") continue;
      in.document.section("embedding")
          .set("norm", module, in.choose("embedding.norm", module, "tensors", 80));
      in.tensors.claim_module(module);
    } else if (last.find("norm") != std::string::npos || last.starts_with("ln")) {
      found.push_back(module);
    }
  }
  Draft& head = in.document.section("head");
  if (found.size() > 1)
    Inference::refuse("'" + found[0] + "' and '" + found[1] + "' may both be the last norm");
  if (found.empty()) {
    if (!is_post_norm(in))
      Inference::refuse(
          "no norm before the output is stored: where the norms of the layers stand cannot be told");
    head.set("no_norm", "true");
    return;
  }
  head.set("norm", found.front());
  in.tensors.claim_module(found.front());
  in.choose("head.norm", found.front(), "tensors", 95);
}

// OLMo: norms are everywhere and store nothing.
void write_weightless(Inference& in) {
  const Places p{"input_layernorm", "post_attention_layernorm", "", ""};
  Draft& norm = in.document.section("norm");
  norm.set("kind", "layer",
           in.choose("norm.weight", "false", "no norm is stored, clip_qkv is written, as in OLMo", 50));
  norm.set("eps", "1e-5");
  norm.set("weight", "false");
  norm.set("bias", "false");
  Draft& layer = in.document.section("layer");
  layer.set("module", in.tensors.pattern());
  for (const auto& [module, run] :
       {std::pair{p.before_attention, "attention"}, std::pair{p.before_mlp, "mlp"}}) {
    Draft& block = layer.item("blocks");
    block.set("norm", module);
    block.set("run", run);
  }
  in.layer_norms = true;
  in.document.section("head").set("norm", "model.norm");
}

}  // namespace

void infer_norms(Inference& in) {
  if (in.hints.olmo && in.feed_forward.dense && !in.feed_forward.sparse) return write_weightless(in);
  const Places p = find_places(in);
  if (p.before_attention.empty() && p.after_attention.empty())
    Inference::refuse("no norm of attention is known in the layers, by its name and shape");
  if (p.before_attention.empty() && p.after_mlp.empty())
    Inference::refuse("no norm of the feed-forward block is known in the layers");
  write_kind(in, p);
  write_blocks(in, p);
  write_final_norm(in);
  const auto shown = [](const std::string& name) { return name.empty() ? std::string("-") : name; };
  in.choose("layer.norms",
            shown(p.before_attention) + ", " + shown(p.after_attention) + ", " + shown(p.before_mlp) + ", " +
                shown(p.after_mlp),
            "names of the norms", 85);
}

}  // namespace declarative
