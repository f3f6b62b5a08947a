// The feed-forward block of the layers without experts.
#include <algorithm>
#include <optional>

#include "infer_modules.h"
#include "infer_state.h"

namespace declarative {

const std::vector<std::string> kGateNames = {"gate_proj", "w1", "gate", "wi_0"};
const std::vector<std::string> kUpNames = {"up_proj", "w3",       "fc1",  "c_fc", "dense_h_to_4h",
                                           "fc_in",   "linear_1", "lin1", "wi_1", "linear1",
                                           "wi",      "up",       "fc_1", "0"};
const std::vector<std::string> kDownNames = {
    "down_proj", "w2",   "fc2",     "c_proj", "dense_4h_to_h", "fc_out",
    "linear_2",  "lin2", "linear2", "down",   "fc_2",          "output_linear",
    "wo",        "Wo",   "2"};
const std::vector<std::string> kFusedNames = {"gate_up_proj",     "gate_up", "Wi", "input_linear",
                                              "gate_and_up_proj", "w12",     "w13"};

namespace {

bool is_expert(const std::string& module) {
  return module.find("expert") != std::string::npos || module.find("{j}") != std::string::npos;
}

bool is_shared(const std::string& module) {
  return module.find("shared") != std::string::npos;
}

}  // namespace

MlpParts find_mlp(const Inference& in, const std::string& parent) {
  const auto shape = [&](const std::string& name) {
    const LayerTensor* stored = in.tensors.find(joined(parent, name) + ".weight");
    const bool matrix = stored != nullptr && stored->parts == 0 && stored->shape().size() == 2;
    return matrix ? in.linear(joined(parent, name)) : Shape{};
  };
  const auto find = [&](const std::vector<std::string>& names, auto fits) -> std::string {
    for (const std::string& name : names)
      if (const Shape s = shape(name); !s.empty() && fits(s)) return name;
    return {};
  };
  MlpParts parts;
  // Qwen's first generation: w1(x) * silu(w2(x)).
  const bool reversed =
      !shape("w1").empty() && !shape("w2").empty() && !shape("c_proj").empty() && shape("w3").empty();
  parts.down = reversed ? "c_proj" : find(kDownNames, [&](const Shape& s) { return s[0] == in.hidden; });
  if (parts.down.empty()) return parts;
  parts.width = shape(parts.down)[1];
  const Shape half{parts.width, in.hidden};
  const Shape whole{2 * parts.width, in.hidden};
  const auto is_half = [&](const Shape& s) { return s == half; };
  const auto is_whole = [&](const Shape& s) { return s == whole; };
  parts.fused = find(kFusedNames, is_whole);
  if (parts.fused.empty()) parts.fused = find(kUpNames, is_whole);
  if (!parts.fused.empty()) return parts;
  parts.gate = reversed ? "w2" : find(kGateNames, is_half);
  parts.up = reversed ? "w1" : find(kUpNames, is_half);
  if (parts.up == parts.down) parts.up.clear();
  if (parts.up.empty()) std::swap(parts.up, parts.gate);
  return parts;
}

void write_mlp(Inference& in, Draft& section, const std::string& parent, const MlpParts& parts,
               const std::string& what) {
  const bool gated = !parts.fused.empty() || !parts.gate.empty();
  section.set("kind", !parts.fused.empty() ? "fused" : gated ? "gated" : "plain");
  std::vector<std::string> used{parts.down};
  if (!parts.fused.empty()) {
    section.set("up", parts.fused, in.choose(what + ".order", "gate, up", "default of most families", 70));
    used.push_back(parts.fused);
  } else {
    if (gated) section.set("gate", parts.gate);
    section.set("up", parts.up);
    used.push_back(parts.up);
    if (gated) used.push_back(parts.gate);
  }
  section.set("down", parts.down);
  section.set("width", std::to_string(parts.width));
  const std::string key = in.key({"intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "dff",
                                  "intermediate_dim", "mlp_hidden_size"});
  if (what == "mlp" && !key.empty() && in.model.kind_of(key) == LLMH_KIND_OF_INT &&
      in.integer(key) == parts.width)
    section.set("width", "$" + key);
  in.choose(what, !parts.fused.empty() ? "fused" : gated ? "gated" : "plain", "tensors of " + parent, 95);
  infer_activation(in, section, gated);
  for (const std::string& each : used) in.use_linear(joined(parent, each));
  for (const char* name : {"ffn_sub_norm", "ffn_layernorm", "inner_norm"}) {
    const std::string norm = joined(parent, name);
    const LayerTensor* stored = in.tensors.find(norm + ".weight");
    if (stored == nullptr || stored->shape() != Shape{parts.width}) continue;
    section.set("inner_norm", name, in.choose(what + ".inner_norm", name, "tensors", 85));
    in.tensors.claim_module(norm);
  }
}

void infer_activation(Inference& in, Draft& section, bool gated) {
  const std::string key = in.key({"hidden_activation", "hidden_act", "activation_function", "mlp_hidden_act",
                                  "activation", "act_fn", "ffn_activation", "activation_type"});
  if (in.hints.gemma && key != "hidden_activation" && in.is_written("hidden_activation")) {
    in.ignore({"hidden_act"});
    return section.set(
        "activation", "$hidden_activation | gelu_pytorch_tanh",
        in.choose("activation", "gelu_pytorch_tanh", "hidden_activation is null, as in Gemma", 55));
  }
  if (key == "hidden_activation") in.ignore({"hidden_act"});  // the older spelling of the same
  if (!key.empty()) {
    const std::string name = in.word(key);
    section.set("activation", "$" + key);
    in.choose("activation", name, "config: " + key, 95);
    if (name != "xielu") return;
    // The function's numbers, stored beside the matrices.
    for (const char* number : {"alpha_p", "alpha_n", "beta", "eps"})
      in.tensors.claim(joined(in.feed_forward.dense_module, "act_fn.") + number);
    return;
  }
  if (!in.key({"afn"}).empty()) Inference::refuse("config key 'afn' names no activation that is known");
  const char* usual = gated ? "silu" : in.hints.bloom ? "gelu_pytorch_tanh" : "gelu";
  section.set("activation", usual,
              in.choose("activation", usual, "no config key names it; default of most families", 55));
}

void infer_feed_forward(Inference& in) {
  std::vector<std::string> dense;
  std::vector<std::string> shared;
  for (const auto& [name, tensor] : in.tensors.layer()) {
    const std::string module = module_of(name);
    if (module.empty() || is_expert(module) || in.tensors.is_claimed(name)) continue;
    const std::string parent = parent_of(module);
    std::vector<std::string>& found = is_shared(parent) ? shared : dense;
    if (std::find(found.begin(), found.end(), parent) != found.end()) continue;
    if (const MlpParts parts = find_mlp(in, parent); parts.is_whole()) found.push_back(parent);
  }
  // An expert that sees every token is part of the mixture, unless it stands alone.
  std::erase_if(shared, [&](const std::string& parent) { return !parent_of(parent).empty(); });
  const bool has_experts =
      std::any_of(in.tensors.layer().begin(), in.tensors.layer().end(), [](const auto& each) {
        return each.second.shape().size() == 3 || each.first.find("experts.{j}") != std::string::npos;
      });
  if (dense.empty() && !has_experts) dense = shared;
  if (dense.size() > 1)
    Inference::refuse("'" + dense[0] + "' and '" + dense[1] +
                      "' may both be the feed-forward block of a layer");
  if (has_experts && shared.size() == 1) {
    const MlpParts parts = find_mlp(in, shared.front());
    in.feed_forward.beside = true;
    in.feed_forward.beside_tensor = joined(shared.front(), parts.down) + ".weight";
    Draft& section = in.document.section("mlp_shared");
    section.set("module", shared.front());
    write_mlp(in, section, shared.front(), parts, "mlp_shared");
  }
  if (dense.empty()) return;
  in.feed_forward.dense = true;
  in.feed_forward.dense_module = dense.front();
  const MlpParts parts = find_mlp(in, dense.front());
  for (const std::string& each : {parts.down, parts.up, parts.fused})
    if (!each.empty() && !in.tensors.find(joined(dense.front(), each) + ".weight")->is_uniform())
      Inference::refuse("the shape of '" + joined(dense.front(), each) + "' differs among the layers");
  Draft& mlp = in.document.section("mlp");
  mlp.set("module", dense.front());
  write_mlp(in, mlp, dense.front(), parts, "mlp");
}

}  // namespace declarative
