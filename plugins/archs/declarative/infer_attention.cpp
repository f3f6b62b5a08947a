// Attention: which modules make q, k and v, their heads, their norms, what gates the result.
#include <algorithm>

#include "infer_state.h"

namespace declarative {

namespace {

using Spellings = std::vector<std::string>;

const Spellings kQ = {"q_proj", "query", "wq", "Wq", "to_q", "query_proj", "q_lin", "q"};
const Spellings kK = {"k_proj", "key", "wk", "Wk", "to_k", "key_proj", "k_lin", "k"};
const Spellings kV = {"v_proj", "value", "wv", "Wv", "to_v", "value_proj", "v_lin", "v"};
const Spellings kOut = {"o_proj", "out_proj", "dense",       "wo",      "Wo",   "c_proj", "to_out",
                        "out",    "output",   "output_proj", "out_lin", "proj", "o"};
// Head by head of keys and values (grouped), or all of q, then k, then v.
const Spellings kGrouped = {"query_key_value", "wqkv"};
const Spellings kContiguous = {"qkv_proj", "c_attn", "Wqkv", "W_pack", "qkv", "in_proj", "attn_qkv", "c_qkv"};

std::string first_module(const Inference& in, const std::string& parent, const Spellings& names) {
  for (const std::string& name : names)
    if (in.has_module(joined(parent, name))) return name;
  return {};
}

std::string fused_module(const Inference& in, const std::string& parent) {
  const std::string grouped = first_module(in, parent, kGrouped);
  return grouped.empty() ? first_module(in, parent, kContiguous) : grouped;
}

// The module of a layer that holds the projections.
std::string find_parent(const Inference& in) {
  std::vector<std::string> found;
  for (const auto& [name, tensor] : in.tensors.layer()) {
    const std::string module = module_of(name);
    if (module.empty() || tensor.parts != 0 || tensor.shape().size() != 2) continue;
    const std::string parent = parent_of(module);
    if (std::find(found.begin(), found.end(), parent) != found.end()) continue;
    const bool separate = !first_module(in, parent, kQ).empty() && !first_module(in, parent, kK).empty() &&
                          !first_module(in, parent, kV).empty();
    const bool latent = in.has_module(joined(parent, "kv_a_proj_with_mqa"));
    const bool fused = !fused_module(in, parent).empty();
    const bool has_out = !first_module(in, parent, kOut).empty();
    if ((separate || latent || fused) && has_out) found.push_back(parent);
  }
  if (found.empty()) Inference::refuse("no projections of queries, keys and values are known in the layers");
  if (found.size() > 1)
    Inference::refuse("'" + found[0] + "' and '" + found[1] + "' may both be the attention of a layer");
  return found.front();
}

// The width of a head: what the config says or the queries' rows over the heads, as the shapes agree.
void set_head_dim(Inference& in, int64_t head_dim) {
  const std::string key = in.key(
      {"head_dim", "kv_channels", "attention_head_dim", "head_size", "d_head", "attn_head_dim", "d_kv"});
  in.head_dim = head_dim;
  Draft& sizes = in.document.section("sizes");
  const bool usual = head_dim * in.heads == in.hidden;
  if (!key.empty()) {
    if (in.integer(key) != head_dim)
      Inference::refuse("config key '" + key + "' is " + std::to_string(in.integer(key)) +
                        ", by the tensors a head has " + std::to_string(head_dim));
    sizes.set("head_dim", "$" + key + " | hidden / heads");
    in.choose("sizes.head_dim", std::to_string(head_dim), "config: " + key, 100);
  } else {
    sizes.set("head_dim", usual ? "hidden / heads" : std::to_string(head_dim),
              in.choose("sizes.head_dim", std::to_string(head_dim),
                        usual ? "hidden / heads" : "rows of the queries", usual ? 100 : 80));
  }
}

// Heads of keys and values, by a key that agrees with the shapes or by the shapes.
void set_kv_heads(Inference& in, int64_t kv_heads, const std::string& by_rows) {
  if (kv_heads < 1 || in.heads % kv_heads != 0)
    Inference::refuse(std::to_string(in.heads) + " heads of queries cannot share " +
                      std::to_string(kv_heads) + " of keys");
  in.kv_heads = kv_heads;
  std::string expression;
  std::string source = "tensors";
  for (const char* name :
       {"num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv", "n_kv_head", "num_query_groups",
        "multi_query_group_num", "attn_config.kv_n_heads", "num_attention_kv_heads"}) {
    if (!in.has(name)) continue;
    if (in.integer(name) == kv_heads && expression.empty()) {
      expression = "$" + std::string(name) + " | heads";
      source = std::string("config: ") + name;
    }
  }
  if (expression.empty()) expression = kv_heads == in.heads ? "heads" : kv_heads == 1 ? "1" : by_rows;
  in.document.section("sizes").set("kv_heads", expression);
  in.choose("sizes.kv_heads", std::to_string(kv_heads), source, 100);
}

void infer_separate(Inference& in, const std::string& parent, Draft& attention) {
  const std::string q = first_module(in, parent, kQ);
  const std::string k = first_module(in, parent, kK);
  const std::string v = first_module(in, parent, kV);
  const std::string k_name = joined(parent, k) + ".weight";
  for (const std::string& each : {q, k, v}) in.require_everywhere(joined(parent, each) + ".weight");
  const Shape q_shape = in.linear(joined(parent, q));
  if (!in.tensors.find(joined(parent, q) + ".weight")->is_uniform())
    Inference::refuse("the shape of '" + joined(parent, q) + "' differs among the layers");
  if (q_shape[1] != in.hidden || q_shape[0] % in.heads != 0)
    Inference::refuse("tensor '" + joined(parent, q) + ".weight' has " + std::to_string(q_shape[0]) +
                      " rows, no multiple of " + std::to_string(in.heads) + " heads");
  set_head_dim(in, q_shape[0] / in.heads);
  const int64_t k_rows = in.linear(joined(parent, k))[0];
  const int64_t v_rows = in.linear(joined(parent, v))[0];
  if (k_rows % in.head_dim != 0)
    Inference::refuse("tensor '" + k_name + "' has " + std::to_string(k_rows) +
                      " rows, no multiple of heads of " + std::to_string(in.head_dim));
  const bool varies = !in.tensors.find(k_name)->is_uniform();
  const int64_t smallest = [&] {
    int64_t rows = k_rows;
    for (const auto& [layer, shape] : in.tensors.find(k_name)->shapes) rows = std::min(rows, shape[0]);
    return rows;
  }();
  set_kv_heads(in, (varies ? smallest : k_rows) / in.head_dim,
               "rows(" + in.tensors.quoted(k_name) + ") / head_dim");
  if (varies) {
    attention.set("kv_heads", "rows(" + in.tensors.quoted(k_name) + ") / head_dim");
    in.choose("attention.kv_heads", "by layer", "rows of " + k_name, 95);
  }
  if (v_rows != k_rows) {
    if (!in.has("v_head_dim") || v_rows * in.head_dim != k_rows * in.integer("v_head_dim"))
      Inference::refuse("the values have " + std::to_string(v_rows) + " rows, the keys " +
                        std::to_string(k_rows));
    attention.set("v_head_dim", "$v_head_dim");
  }
  attention.set("q", q);
  attention.set("k", k);
  attention.set("v", v);
  for (const std::string& each : {q, k, v}) in.use_linear(joined(parent, each));
  in.choose("attention.projections", q + ", " + k + ", " + v, "tensors", 95);
}

void infer_fused(Inference& in, const std::string& parent, Draft& attention) {
  const std::string name = fused_module(in, parent);
  const Shape shape = in.linear(joined(parent, name));
  in.require_everywhere(joined(parent, name) + ".weight");
  if (!in.tensors.find(joined(parent, name) + ".weight")->is_uniform())
    Inference::refuse("the shape of '" + joined(parent, name) + "' differs among the layers");
  const std::string dim_key = in.key({"head_dim", "kv_channels", "attention_head_dim", "head_size"});
  const int64_t head_dim = dim_key.empty() ? in.hidden / in.heads : in.integer(dim_key);
  const int64_t both = head_dim < 1 ? 0 : shape[0] / head_dim - in.heads;
  if (shape[1] != in.hidden || head_dim < 1 || shape[0] % head_dim != 0 || both < 2 || both % 2 != 0)
    Inference::refuse("tensor '" + joined(parent, name) + ".weight' has " + std::to_string(shape[0]) +
                      " rows, which are no queries, keys and values of heads of " + std::to_string(head_dim));
  set_head_dim(in, head_dim);
  set_kv_heads(in, both / 2, std::to_string(both / 2));
  bool grouped = std::find(kGrouped.begin(), kGrouped.end(), name) != kGrouped.end();
  std::string source = "the name " + name;
  int certainty = 80;
  if (name == "c_attn" && in.has("multi_query")) {
    grouped = !in.flag("multi_query", true);
    source = "config: multi_query, as in GPT-BigCode";
  }
  // CodeGen's fused rows are in blocks, for as many devices as it was trained on.
  if (name == "qkv_proj" && in.has("rotary_dim") &&
      in.key({"rope_theta", "rope_parameters", "rope_scaling"}).empty())
    Inference::refuse("the order of the rows of '" + joined(parent, name) + "' cannot be told");
  Draft& fused = attention.section("fused");
  fused.set("module", name);
  fused.set("order", grouped ? "grouped" : "contiguous",
            in.choose("attention.fused.order", grouped ? "grouped" : "contiguous", source, certainty));
  in.use_linear(joined(parent, name));
}

void infer_latent(Inference& in, const std::string& parent, Draft& attention) {
  in.latent = true;
  for (const char* name : {"kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"})
    if (!in.has(name))
      Inference::refuse("config key '" + std::string(name) + "' of latent attention is missing");
  const int64_t nope = in.integer("qk_nope_head_dim");
  const int64_t rope = in.integer("qk_rope_head_dim");
  const bool direct = in.has_module(joined(parent, "q_proj"));
  const Shape q = in.linear(joined(parent, direct ? "q_proj" : "q_b_proj"));
  if (nope < 0 || rope < 1 || nope > 65536 || rope > 65536 || q[0] != in.heads * (nope + rope))
    Inference::refuse("the queries of latent attention have " + std::to_string(q[0]) +
                      " rows, the config has heads of " + std::to_string(nope + rope));
  Draft& latent = attention.section("latent");
  latent.set("q_rank", direct ? "0" : "$q_lora_rank");
  latent.set("kv_rank", "$kv_lora_rank");
  latent.set("nope", "$qk_nope_head_dim");
  latent.set("rope", "$qk_rope_head_dim");
  latent.set("v", "$v_head_dim");
  latent.set("eps", "1e-6",
             in.choose("attention.latent.eps", "1e-6", "default of the families with latent attention", 60));
  for (const char* name : {"q_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"})
    if (in.has_module(joined(parent, name))) in.use_linear(joined(parent, name));
  for (const char* name : {"q_a_layernorm", "kv_a_layernorm"}) in.tensors.claim_module(joined(parent, name));
  in.kv_heads = in.heads;
  in.head_dim = rope;
  in.document.section("sizes").set("kv_heads", "heads");
  in.document.section("sizes").set("head_dim", "$qk_nope_head_dim + $qk_rope_head_dim");
  in.choose("attention", "latent", "tensors: kv_a_proj_with_mqa", 95);
  in.ignore({"head_dim", "qk_head_dim", "num_key_value_heads"});  // what the sizes above give
  if (in.has("q_lora_rank") && direct) in.ignore({"q_lora_rank"});
}

// One learned norm of q or k: `rows` of the projection, `n` heads.
void infer_head_norm(Inference& in, Draft& attention, const char* role, const Spellings& names, int64_t n) {
  for (const std::string& name : names) {
    const std::string module = joined(in.attention_module, name);
    const std::string listed = module + ".norms.{j}";
    const LayerTensor* one = in.tensors.find(module + ".weight");
    const LayerTensor* each = in.tensors.find(listed + ".weight");
    if (one == nullptr && each == nullptr) continue;
    const Shape shape = one != nullptr ? one->shape() : Shape{each->parts, each->shape().front()};
    const char* over = shape == Shape{in.head_dim}       ? "head"
                       : shape == Shape{n * in.head_dim} ? "all"
                       : shape == Shape{n, in.head_dim}  ? "each_head"
                                                         : nullptr;
    if (over == nullptr) return;  // left to the audit
    Draft& norm = attention.section(role);
    norm.set("module", name);
    norm.set("over", over);
    in.choose(std::string("attention.") + role, over, "shape of " + module, 90);
    if (name == "query_layernorm" || name == "key_layernorm")
      norm.set("after_rope", "true",
               in.choose(std::string("attention.") + role + ".after_rope", "true",
                         "the name " + name + ", as in HunYuan", 55));
    if (one != nullptr) return in.tensors.claim_module(module);
    in.tensors.claim(listed + ".weight");
    in.name_rule(in.tensors.pattern() + "." + module + ".weight",
                 in.tensors.pattern() + "." + listed + ".weight", false);
    return;
  }
}

// Vectors and linears beside the projections.
void infer_extras(Inference& in, Draft& attention, int64_t out_width) {
  const std::string& parent = in.attention_module;
  for (const char* name : {"sinks", "attention_sink_bias", "sink"}) {
    const std::string sinks = joined(parent, name);
    const LayerTensor* stored = in.tensors.find(sinks);
    if (stored == nullptr || stored->shape() != Shape{in.heads}) continue;
    attention.set("sinks", name, in.choose("attention.sinks", name, "tensors", 85));
    if (const std::string where = in.only_where(sinks); !where.empty()) attention.set("sinks_when", where);
    in.tensors.claim(sinks);
  }
  for (const char* name : {"attn_sub_norm", "inner_attn_ln"}) {
    const std::string module = joined(parent, name);
    const LayerTensor* stored = in.tensors.find(module + ".weight");
    if (stored == nullptr || stored->shape() != Shape{out_width}) continue;
    attention.set("out_norm", name, in.choose("attention.out_norm", name, "tensors", 85));
    in.tensors.claim_module(module);
  }
  const std::string gate = joined(parent, "gate_proj");
  if (!in.has_module(gate) || in.linear(gate) != Shape{out_width, in.hidden}) return;
  attention.set("gate", "gate_proj", in.choose("attention.gate", "sigmoid", "tensor " + gate, 60));
  in.use_linear(gate);
}

}  // namespace

void infer_attention(Inference& in) {
  in.attention_module = find_parent(in);
  const std::string& parent = in.attention_module;
  Draft& attention = in.document.section("attention");
  attention.set("module", parent);
  if (in.has_module(joined(parent, "kv_a_proj_with_mqa"))) {
    infer_latent(in, parent, attention);
  } else if (fused_module(in, parent).empty()) {
    infer_separate(in, parent, attention);
  } else {
    infer_fused(in, parent, attention);
  }
  const std::string out = first_module(in, parent, kOut);
  const Shape out_shape = in.linear(joined(parent, out));
  if (out_shape[0] != in.hidden)
    Inference::refuse("tensor '" + joined(parent, out) +
                      ".weight' does not lead back to the width of the model");
  attention.set("out", out);
  in.use_linear(joined(parent, out));
  infer_head_norm(in, attention, "q_norm", {"q_norm", "q_layernorm", "query_layernorm", "query_norm", "q_ln"},
                  in.heads);
  infer_head_norm(in, attention, "k_norm", {"k_norm", "k_layernorm", "key_layernorm", "key_norm", "k_ln"},
                  in.kv_heads);
  infer_extras(in, attention, out_shape[1]);
  // The buffers of a causal mask, and frequencies that the config gives.
  for (const char* buffer : {"bias", "masked_bias", "rotary_emb.inv_freq"}) {
    const std::string name = joined(parent, buffer);
    const LayerTensor* stored = in.tensors.find(name);
    if (stored == nullptr || (std::string(buffer) == "bias" && stored->shape().size() != 4)) continue;
    in.ignored_tensors.push_back(in.tensors.pattern() + "." + name);
  }
}

}  // namespace declarative
