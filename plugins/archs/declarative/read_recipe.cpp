// A document as a whole: sizes, ends, layers and their blocks.
#include <algorithm>
#include <cmath>
#include <utility>

#include "recipe.h"

namespace declarative {

using llmh::Error;
using llmh::NormConfig;

namespace {

// Sizes and variables may need one another: before the sizes are read, what needs them is left for later.
void read_variables(const Section& root, Context& context, const YAML::Node& document, bool has_sizes) {
  const YAML::Node variables = document["variables"];
  if (!variables) return;
  root.section("variables");  // refuses what is no map
  for (const auto& entry : variables) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const Section section(root.origin(), "variables", variables, context);
    try {
      context.variables[name] = section.value(name);
    } catch (const Error&) {
      if (has_sizes) throw;
    }
  }
}

void read_sizes(const Section& root, Context& context, Recipe& recipe) {
  const Section sizes = root.section("sizes");
  llmh::DecoderSizes& s = recipe.sizes;
  const auto set = [&](const char* key, int64_t& size) {
    size = sizes.require_count(key);
    context.variables[key] = static_cast<double>(size);
  };
  set("layers", s.n_layers);
  set("hidden", s.hidden_size);
  set("vocab", s.vocab_size);
  set("heads", s.n_heads);
  s.n_kv_heads = sizes.has("kv_heads") ? sizes.require_count("kv_heads") : s.n_heads;
  context.variables["kv_heads"] = static_cast<double>(s.n_kv_heads);
  s.head_dim = sizes.has("head_dim") ? sizes.require_count("head_dim")
                                     : std::max<int64_t>(1, s.hidden_size / s.n_heads);
  context.variables["head_dim"] = static_cast<double>(s.head_dim);
  s.context_length = std::max<int64_t>(1, sizes.count("context", 2048));
  context.variables["context"] = static_cast<double>(s.context_length);
  if (s.n_layers > 4096) sizes.fail("layers", "more than 4096 layers");
  sizes.done();
}

// A norm with a bias has it in GGUF files, too, where other biases go by what is stored.
Bias read_norm_bias(const Section& section, const llmh::Model& model) {
  const Bias bias = read_bias(section, "bias", model);
  const bool by_file = bias == Bias::kIfStored && section.value("bias") != Value(std::string("if_stored"));
  return by_file && section.flag("bias", false) ? Bias::kRequired : bias;
}

NormConfig read_usual_norm(const Section& section, const llmh::Model& model) {
  if (model.is_gguf() && !model.has("rms_norm_eps") && !model.has("layer_norm_eps"))
    throw Error(LLMH_INVALID_ARGUMENT, "config: 'rms_norm_eps' and 'layer_norm_eps' are missing");
  NormConfig usual;
  usual.centred = section.choice("kind", {"rms", "layer"}, 0) == 1;
  usual.eps = static_cast<float>(section.number("eps", 1e-5));
  usual.weight_offset = static_cast<float>(section.number("offset", 0));
  usual.has_weight = section.flag("weight", true);
  usual.bias = section.has("bias") ? read_norm_bias(section, model) : Bias::kIfStored;
  section.done();
  return usual;
}

EmbeddingSpec read_embedding(const Section& section, const Recipe& recipe, const NormConfig& usual) {
  EmbeddingSpec e;
  e.module = section.text("module", "model.embed_tokens");
  e.width = section.count("width", recipe.sizes.hidden_size);
  e.scale = static_cast<float>(section.number("scale", 1));
  e.norm = read_norm(section.section_or_scalar("norm", "module"), "", usual);
  e.projection = section.text("projection", "");
  const Section positions = section.section("positions");
  e.sinusoidal = positions.choice("kind", {"learned", "sinusoidal"}, 0) == 1;
  e.whole_frequencies = positions.choice("base", {"fairseq", "tensor2tensor"}, 0) == 1;
  e.positions = positions.text("module", "");
  e.position_offset = positions.count("offset", 0);
  e.n_positions = positions.count("count", recipe.sizes.context_length);
  positions.done();
  section.done();
  return e;
}

HeadSpec read_head(const Section& section, const Recipe& recipe, const NormConfig& usual,
                   const llmh::Model& model) {
  HeadSpec h;
  h.norm = read_norm(section.section_or_scalar("norm", "module"), "model.norm", usual);
  if (section.has("no_norm") && section.flag("no_norm", false)) h.norm.module.clear();
  h.projection = section.text("projection", "");
  const Section transform = section.section("transform");
  h.transform = transform.text("module", "");
  h.transform_activation = llmh::activation_kind(transform.word("activation", "gelu"));
  h.transform_norm = read_norm(transform.section_or_scalar("norm", "module"), "", usual);
  transform.done();
  h.module = section.text("module", "lm_head");
  const bool stored = model.has_tensor(recipe.is_gguf ? "output.weight" : h.module + ".weight");
  h.tied = (section.flag("tied", false) || recipe.is_gguf) && !stored;
  h.bias = section.has("bias") ? read_bias(section, "bias", model) : Bias::kNone;
  h.scale = static_cast<float>(section.number("scale", 1));
  h.softcap = static_cast<float>(section.number("softcap", 0));
  section.done();
  return h;
}

// The sections that `run` may name.
struct Parts {
  const Section& root;
  const Recipe& recipe;
  const NormConfig& usual;
  std::vector<llmh::RopeConfig>& ropes;
};

BranchSpec read_branch(const Section& block, const std::string& part, const Parts& parts,
                       const std::string& layer, int64_t index) {
  BranchSpec branch;
  const Section section = parts.root.section(part);
  if (!parts.root.has(part)) block.fail("run", "there is no section '" + part + "'");
  const size_t type = section.choice("type", {"attention", "mlp", "moe"},
                                     part.starts_with("attention") ? 0
                                     : part.starts_with("moe")     ? 2
                                                                   : 1);
  static const std::array<const char*, 3> kModules = {"self_attn", "mlp", "mlp"};
  const std::string module = section.module("module", kModules[type]);
  branch.module = module.empty() ? layer : layer + "." + module;
  if (type == 0) branch.attention = read_attention(section, parts.recipe, index, parts.usual, parts.ropes);
  if (type == 1) branch.mlp = read_mlp(section, parts.recipe, parts.usual);
  if (type == 2) branch.moe = read_moe(section, parts.recipe, parts.usual);
  section.done();
  branch.scale = static_cast<float>(block.number("scale", 1));
  return branch;
}

void in_layer(NormSpec& norm, const std::string& layer) {
  if (norm.present()) norm.module = layer + "." + norm.module;
}

BlockSpec read_block(const Section& section, const Parts& parts, const std::string& layer, int64_t index) {
  BlockSpec block;
  block.residual_scale = static_cast<float>(section.number("residual_scale", 1));
  block.from_norm = section.flag("residual_from_norm", false);
  block.after = read_norm(section.section_or_scalar("after", "module"), "", parts.usual);
  in_layer(block.after, layer);
  const auto add = [&](const Section& from) {
    NormSpec pre = read_norm(from.section_or_scalar("norm", "module"), "", parts.usual);
    NormSpec post = read_norm(from.section_or_scalar("post_norm", "module"), "", parts.usual);
    in_layer(pre, layer);
    in_layer(post, layer);
    // Parts that share a norm run side by side.
    for (const std::string& part : from.words("run")) {
      block.branches.push_back(read_branch(from, part, parts, layer, index));
      block.branches.back().pre = pre;
      block.branches.back().post = post;
    }
  };
  const std::vector<Section> parallel = section.sections("parallel");
  for (const Section& branch : parallel) {
    add(branch);
    branch.done();
  }
  if (parallel.empty()) add(section);
  return block;
}

void read_layers(const Section& root, Context& context, const NormConfig& usual, Recipe& recipe) {
  const Section layer = root.section("layer");
  recipe.layer_pattern = layer.text("module", "model.layers.{i}");
  for (int64_t i = 0; i < recipe.sizes.n_layers; ++i) {
    context.variables["i"] = static_cast<double>(i);
    LayerSpec spec;
    spec.module = layer.module("module", "model.layers.{i}");
    const Parts parts{root, recipe, usual, recipe.ropes};
    for (const Section& block : layer.sections("blocks")) {
      if (block.flag("when", true)) {
        spec.blocks.push_back(read_block(block, parts, spec.module, i));
        block.done();
      }
    }
    if (spec.blocks.empty()) layer.fail("blocks", "a layer needs at least one block");
    recipe.layers.push_back(std::move(spec));
  }
  context.variables.erase("i");
  layer.done();
}

llmh::LayoutSteps read_steps(const Section& section) {
  llmh::LayoutSteps steps;
  for (const Section& step : section.sections("steps")) {
    if (step.flag("transposed", false)) steps.push_back(llmh::transposed());
    if (step.has("rows")) {
      const Section rows = step.section("rows");
      steps.push_back(rows.has("of") ? llmh::strided_rows(rows.require_count("of"), rows.count("begin", 0),
                                                          rows.require_count("end"))
                                     : llmh::rows(rows.count("begin", 0), rows.require_count("end")));
      rows.done();
    }
    if (step.has("split")) steps.push_back(llmh::split(step.require_count("split")));
    if (step.has("pairs")) steps.push_back(llmh::rotary_pairs(step.require_count("pairs")));
    step.done();
  }
  return steps;
}

std::vector<NameRule> read_rules(const Section& root, const std::string& key) {
  std::vector<NameRule> rules;
  for (const Section& rule : root.sections(key)) {
    if (rule.flag("when", true))
      rules.push_back({rule.text("hub", ""), rule.text("stored", ""), read_steps(rule)});
    else
      for (const char* each : {"hub", "stored", "steps"}) rule.has(each);
    rule.done();
  }
  return rules;
}

void read_refusals(const Section& root) {
  for (const Section& refusal : root.sections("refuse")) {
    const std::string because = refusal.text("because", "");
    if (refusal.flag("when", false)) throw Error(LLMH_UNIMPLEMENTED, "config: " + because);
    refusal.done();
  }
}

}  // namespace

NormSpec read_norm(const Section& section, const std::string& fallback_module, const NormConfig& usual) {
  NormSpec norm;
  norm.module = section.module("module", fallback_module);
  norm.config = usual;
  norm.config.centred = section.choice("kind", {"rms", "layer"}, usual.centred ? 1 : 0) == 1;
  norm.config.eps = static_cast<float>(section.number("eps", static_cast<double>(usual.eps)));
  norm.config.weight_offset =
      static_cast<float>(section.number("offset", static_cast<double>(usual.weight_offset)));
  norm.config.has_weight = section.flag("weight", usual.has_weight);
  if (section.has("bias")) norm.config.bias = read_norm_bias(section, section.context().model);
  if (section.has("when") && !section.flag("when", true)) norm.module.clear();
  section.done();
  return norm;
}

Bias read_bias(const Section& section, const std::string& key, const llmh::Model& model) {
  const Value found = section.value(key);
  if (found == Value(std::string("if_stored"))) return Bias::kIfStored;
  if (model.is_gguf()) return Bias::kIfStored;  // GGUF files have no flags
  return section.flag(key, false) ? Bias::kRequired : Bias::kNone;
}

Recipe read_recipe(const std::string& origin, const YAML::Node& document, const llmh::Model& model) {
  Recipe recipe;
  recipe.is_gguf = model.is_gguf();
  Context context{model, {}};
  context.variables["gguf"] = recipe.is_gguf;
  const Section root(origin, "", document, context);
  for (const char* key :
       {"schema", "extends", "model_types", "gguf_architectures", "description", "adapter_targets"})
    root.has(key);
  recipe.name = root.text("name", "");
  static_cast<void>(model.find_string("model_type"));
  read_variables(root, context, document, false);
  read_sizes(root, context, recipe);
  read_variables(root, context, document, true);
  read_refusals(root);
  const NormConfig usual = read_usual_norm(root.section("norm"), model);
  recipe.embedding = read_embedding(root.section("embedding"), recipe, usual);
  read_layers(root, context, usual, recipe);
  recipe.head = read_head(root.section("head"), recipe, usual, model);
  refuse_unknown_words(*context.comparisons);
  recipe.names = read_rules(root, "names");
  recipe.ignored_tensors = root.texts("ignore_tensors");
  for (const std::string& key : root.texts("ignore_keys")) model.ignore({key});
  const Section gguf = root.section("gguf");
  recipe.gguf.paired_rows = gguf.flag("paired_rows", false);
  recipe.gguf.modules = read_rules(gguf, "modules");
  gguf.done();
  llmh::ignore_usual_keys(model);
  for (const auto& entry : document)  // a part that no layer of this checkpoint runs
    for (const char* part : {"attention", "mlp", "moe"})
      if (entry.first.Scalar().starts_with(part)) root.has(entry.first.Scalar());
  root.done();
  return recipe;
}

}  // namespace declarative
