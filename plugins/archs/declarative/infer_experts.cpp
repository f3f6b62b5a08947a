// Mixtures of experts: the router, how its logits become weights, the experts' matrices, an expert for every
// token.
#include <algorithm>

#include "infer_modules.h"
#include "infer_state.h"

namespace declarative {

namespace {

struct Experts {
  std::string parent;  // of router and experts
  std::string module;  // below it; may be empty
  bool stacked = false;
  int64_t count = 0;
};

// The last part of an expert tensor's name below the experts' module, without .weight.
std::string stored_name(const std::string& tensor) {
  const std::string module = module_of(tensor);
  return module.empty() ? tensor : module;
}

// Where the experts lie: "….experts.{j}.….weight", or tensors of rank 3.
Experts find_experts(const Inference& in) {
  Experts found;
  for (const auto& [name, tensor] : in.tensors.layer()) {
    const bool listed = name.find("experts.{j}.") != std::string::npos;
    const bool stacked = tensor.parts == 0 && tensor.shape().size() == 3;
    if (!listed && !stacked) continue;
    std::string module = parent_of(stored_name(name));
    if (listed) module = module.substr(0, module.find(".{j}"));
    Experts here;
    here.stacked = stacked;
    here.count = listed ? tensor.parts : tensor.shape()[0];
    const bool own = last_of(module).find("expert") != std::string::npos;
    here.parent = own ? parent_of(module) : module;
    here.module = own ? last_of(module) : "";
    if (found.count != 0 && (found.parent != here.parent || found.module != here.module ||
                             found.count != here.count || found.stacked != here.stacked))
      Inference::refuse("'" + joined(found.parent, found.module) + "' and '" + module +
                        "' may both be the experts of a layer");
    found = here;
  }
  return found;
}

std::string expert_tensor(const Inference& in, const Experts& e, const std::string& name) {
  const std::string base = joined(e.parent, e.module) + (e.stacked ? "." : ".{j}.") + name;
  if (in.tensors.find(base + ".weight") != nullptr) return base + ".weight";
  return e.stacked && in.tensors.find(base) != nullptr ? base : "";
}

// [out, in] of one expert's matrix, as stored.
Shape expert_shape(const Inference& in, const Experts& e, const std::string& name) {
  const std::string tensor = expert_tensor(in, e, name);
  if (tensor.empty()) return {};
  const LayerTensor* stored = in.tensors.find(tensor);
  Shape shape = stored->shape();
  if (!stored->is_uniform()) Inference::refuse("the shape of '" + tensor + "' differs among the layers");
  if (e.stacked && shape.size() == 3) shape.erase(shape.begin());
  return shape.size() == 2 ? shape : Shape{};
}

std::string first_expert(const Inference& in, const Experts& e, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (!expert_shape(in, e, name).empty()) return name;
  return {};
}

// The experts' matrices; gives whether they are stored [in, out].
bool write_matrices(Inference& in, Draft& moe, const Experts& e) {
  const std::string down = first_expert(in, e, kDownNames);
  if (down.empty())
    Inference::refuse("the output matrices of the experts in '" + joined(e.parent, e.module) +
                      "' are not known");
  const std::string gate = first_expert(in, e, kGateNames);
  std::string up = first_expert(in, e, kUpNames);
  std::string fused = gate.empty() ? first_expert(in, e, kFusedNames) : "";
  const Shape d = expert_shape(in, e, down);
  Shape u = expert_shape(in, e, !fused.empty() ? fused : up);
  if (u.empty())
    Inference::refuse("the input matrices of the experts in '" + joined(e.parent, e.module) +
                      "' are not known");
  const auto fits = [&](bool turned, int64_t times) {
    const int64_t width = turned ? d[0] : d[1];
    const int64_t back = turned ? d[1] : d[0];
    return back == in.hidden && (turned ? u[0] : u[1]) == in.hidden &&
           (turned ? u[1] : u[0]) == times * width;
  };
  const int64_t times = fused.empty() && (fits(false, 1) || fits(true, 1)) ? 1 : 2;
  const bool straight = fits(false, times);
  const bool turned = fits(true, times);
  if (straight == turned && (e.stacked || !straight))
    Inference::refuse("the shapes of the experts in '" + joined(e.parent, e.module) +
                      "' can be read in two ways or in none");
  if (times == 2 && fused.empty()) std::swap(fused, up);
  const bool is_turned = !straight;
  moe.set("kind", !fused.empty() ? "fused" : gate.empty() ? "plain" : "gated");
  if (fused.empty() && !gate.empty()) moe.set("gate", gate);
  const std::string first = fused.empty() ? up : fused;
  if (e.module.empty()) {
    // The matrices stand beside the router: rules lead to names below a module of their own.
    const std::string from = in.tensors.pattern() + "." + e.parent + ".";
    const auto rule = [&](const char* to, const std::string& stored) {
      in.name_rule(from + "experts." + to + ".weight", from + stored + ".weight", is_turned);
    };
    rule(fused.empty() ? "up_proj" : "gate_up_proj", first);
    rule("down_proj", down);
    if (fused.empty() && !gate.empty()) rule("gate_proj", gate);
  } else {
    moe.set("up", first);
    moe.set("down", down);
    if (e.stacked) moe.set("stacked", "true");
    if (is_turned) moe.set("transposed", "true");
  }
  moe.set("width", std::to_string(is_turned ? d[0] : d[1]));
  for (const std::string& name : {gate, up, fused, down}) {
    if (name.empty()) continue;
    const std::string tensor = expert_tensor(in, e, name);
    in.tensors.claim(tensor);
    const std::string bias = module_of(tensor).empty() ? tensor + "_bias" : module_of(tensor) + ".bias";
    if (in.tensors.find(bias) == nullptr) continue;
    in.tensors.claim(bias);
    moe.set("bias", "if_stored");
  }
  in.choose("moe.experts", std::to_string(e.count), "tensors of " + joined(e.parent, e.module), 95);
  return is_turned;
}

std::string find_router(const Inference& in, const Experts& e) {
  for (const char* name : {"gate", "router", "gate.wg", "router.layer", "router.gate", "router.classifier",
                           "wg", "gate.linear"}) {
    const LayerTensor* stored = in.tensors.find(joined(e.parent, name) + ".weight");
    if (stored != nullptr && stored->shape() == Shape{e.count, in.hidden}) return name;
  }
  Inference::refuse("the router of the experts in '" + joined(e.parent, e.module) + "' is not known");
}

// A vector of one number an expert, that takes part in their choice.
bool write_correction(Inference& in, Draft& moe, const Experts& e) {
  for (const char* name : {"gate.e_score_correction_bias", "e_score_correction_bias",
                           "experts.e_score_correction_bias", "expert_bias", "router.e_score_correction_bias",
                           "gate.expert_bias", "moe_statics.e_score_correction_bias"}) {
    const std::string tensor = joined(e.parent, name);
    const LayerTensor* stored = in.tensors.find(tensor);
    const bool row = stored != nullptr && stored->shape() == Shape{1, e.count};
    if (stored == nullptr || (stored->shape() != Shape{e.count} && !row)) continue;
    moe.set("correction", name);
    if (row) moe.set("correction_row", "true");
    in.tensors.claim(tensor);
    in.choose("moe.correction", name, "tensors", 90);
    return true;
  }
  return false;
}

// How logits become weights: by the keys where there are, else by what stands beside the router.
void write_scores(Inference& in, Draft& routing, bool corrected) {
  const std::string named =
      in.key({"scoring_func", "score_func", "moe_router_activation_func", "gating_function"});
  const std::string topk = in.key({"norm_topk_prob", "moe_renormalize", "norm_topk"});
  bool sigmoid = corrected && !in.has("moe_norm_min");
  if (!named.empty()) {
    const std::string function = in.word(named);
    if (function != "sigmoid" && function != "softmax")
      Inference::refuse("config key '" + named + "' is '" + function + "', known are softmax and sigmoid");
    sigmoid = function == "sigmoid";
  }
  const std::string source = !named.empty() ? "config: " + named
                             : corrected    ? "a correction of the scores"
                                            : "default of most families";
  if (sigmoid) {
    routing.set("score", "sigmoid", in.choose("moe.score", "sigmoid", source, named.empty() ? 80 : 95));
    routing.set("normalise_eps", "1e-20");
    routing.set("normalise", topk.empty() ? "true" : "$" + topk,
                topk.empty()
                    ? in.choose("moe.normalise", "true", "default of the families with sigmoid scores", 60)
                    : "");
  } else if (in.has("moe_norm_min")) {
    routing.set("score", "softmax",
                in.choose("moe.score", "softmax", "config: moe_norm_min, as in ERNIE 4.5", 75));
    routing.set("normalise", "true");
    in.ignore({"moe_norm_min"});  // the least sum that is divided by: softmax scores never come near it
  } else if (!topk.empty()) {
    routing.set("score", "softmax", in.choose("moe.score", "softmax", source, 85));
    // DeepSeek 2 has the key and, in its reference implementation, no such step.
    if (!in.has("topk_method") || !in.flag(topk, false))
      routing.set("normalise", "$" + topk);
    else if (in.word("topk_method") != "noaux_tc")
      Inference::refuse("config keys 'topk_method' and '" + topk +
                        "': whether the weights are normalised cannot be told");
  } else {
    routing.set("score", "top_k_softmax",
                in.choose("moe.score", "softmax of the chosen",
                          "default of the families without norm_topk_prob", 65));
  }
  if (in.has("topk_method")) {
    const std::string method = in.word("topk_method");
    if (method != "greedy" && method != "group_limited_greedy" && method != "noaux_tc")
      Inference::refuse("config key 'topk_method' is '" + method + "', which is not known");
  }
}

void write_routing(Inference& in, Draft& moe, const Experts& e, bool corrected) {
  Draft& routing = moe.section("routing");
  const std::string count =
      in.key({"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "n_experts"});
  const bool agrees = !count.empty() && in.integer(count) == e.count;
  if (!count.empty() && !agrees)
    Inference::refuse("config key '" + count + "' is " + std::to_string(in.integer(count)) + ", " +
                      std::to_string(e.count) + " experts are stored");
  routing.set("experts", agrees ? "$" + count : std::to_string(e.count));
  const std::string chosen =
      in.key({"num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_topk", "moe_k",
              "moe_top_k", "num_selected_experts", "n_experts_per_token"});
  if (chosen.empty())
    Inference::refuse("no config key tells how many experts a token has (num_experts_per_tok)");
  routing.set("per_token", "$" + chosen);
  in.choose("moe.per_token", std::to_string(in.integer(chosen)), "config: " + chosen, 95);
  write_scores(in, routing, corrected);
  const std::string scale =
      in.key({"routed_scaling_factor", "route_scale", "router_scaling_factor", "moe_routed_scaling_factor"});
  if (!scale.empty()) routing.set("scale", "$" + scale);
  const bool grouped = in.has("n_group") && in.has("topk_group");
  const bool greedy = in.has("topk_method") && in.word("topk_method") == "greedy";
  if (greedy) in.ignore({"n_group", "topk_group"});  // the method looks at no groups
  if (!grouped || greedy) return;
  routing.set("groups", "$n_group");
  routing.set("top_groups", "$topk_group");
  if (corrected) routing.set("group_best", "2");
}

// An expert that every token sees, within the mixture's module.
void write_shared(Inference& in, Draft& moe, const Experts& e) {
  for (const char* name : {"shared_expert", "shared_experts", "shared_mlp", "shared"}) {
    const std::string parent = joined(e.parent, name);
    const MlpParts parts = find_mlp(in, parent);
    if (!parts.is_whole()) continue;
    Draft& shared = moe.section("shared");
    shared.set("module", name);
    for (const char* gate : {"shared_expert_gate", "shared_experts_gate"}) {
      if (!in.has_module(joined(e.parent, gate))) continue;
      shared.set("gate_module", gate);
      in.tensors.claim(joined(e.parent, gate) + ".weight");
    }
    write_mlp(in, shared, parent, parts, "moe.shared");
    return;
  }
}

// GPT-OSS: clamped halves that take turns.
void write_clamped(Inference& in, Draft& moe, const Experts& e, bool turned) {
  const std::string router_bias = joined(e.parent, "router.bias");
  const bool known = turned && e.stacked && in.tensors.find(router_bias) != nullptr;
  if (!in.has("swiglu_limit") || !known) return;  // left to the audit
  moe.set("clamp", "$swiglu_limit");
  moe.set("gate_alpha", "$swiglu_alpha | 1.702");
  moe.set("up_shift", "1");
  moe.set("interleaved", "true",
          in.choose("moe.clamped", "gate and up take turns",
                    "swiglu_limit beside stacked experts, as in GPT-OSS", 70));
}

}  // namespace

void infer_experts(Inference& in) {
  const Experts e = find_experts(in);
  if (e.count == 0) {
    if (!in.feed_forward.dense) Inference::refuse("no feed-forward block is known in the layers");
    return;
  }
  Draft& moe = in.document.section("moe");
  moe.set("module", e.parent);
  moe.set("module_experts", e.module.empty() ? "experts" : e.module);
  const bool turned = write_matrices(in, moe, e);
  const std::string router = find_router(in, e);
  moe.set("router", router);
  moe.set("router_bias", "if_stored");
  in.tensors.claim_module(joined(e.parent, router));
  const bool corrected = write_correction(in, moe, e);
  write_routing(in, moe, e, corrected);
  infer_activation(in, moe, true);
  write_shared(in, moe, e);
  write_clamped(in, moe, e, turned);
  in.feed_forward.sparse = true;
  in.feed_forward.sparse_module = e.parent;
  in.feed_forward.sparse_tensor = joined(e.parent, router) + ".weight";
}

}  // namespace declarative
