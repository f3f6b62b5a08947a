// Settings of the methods: what is refused and how it is told, what is chosen of a model, what the files are
// called and what their config says.
#include <doctest/doctest.h>

#include <set>

#include "core/json.h"
#include "methods/method_model.h"

using namespace llmhost;
using namespace llmhost::test;

namespace {

// The message with which the settings, or their use on the model, are refused.
std::string refusal(const std::string& method, const std::string& yaml,
                    const std::string& model = "models/llama") {
  try {
    open_method(method, yaml)->apply(loaded(model));
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

struct Applied {
  std::map<std::string, std::vector<int64_t>> parameters;  // by file name
  Json config;
};

Applied applied(const std::string& name, const std::string& yaml, const std::string& model = "models/llama") {
  const auto method = open_method(name, yaml);
  const auto tuned = method->apply(loaded(model));
  Applied result;
  for (uint32_t i = 0; i < tuned.graph.tensor_count(); ++i) {
    const llmh_tensor_info& info = tuned.graph.tensor(static_cast<llmh_tensor>(i));
    if (info.role != LLMH_TENSOR_PARAMETER) continue;
    auto& shape = result.parameters[method->file_name(graph::to_view(info.name))];
    for (int32_t d = 0; d < info.rank; ++d) shape.push_back(info.dims[d].size);
  }
  if (const std::string json = method->config_json(); !json.empty())
    result.config = parse_json(json, "config");
  return result;
}

std::set<std::string> modules(const Applied& applied, const std::string& ending) {
  std::set<std::string> paths;
  const std::string prefix = "base_model.model.";
  for (const auto& [name, shape] : applied.parameters)
    if (name.starts_with(prefix) && name.ends_with(ending))
      paths.insert(name.substr(prefix.size(), name.size() - prefix.size() - ending.size()));
  return paths;
}

void check_refusals(const std::string& method, const std::vector<std::pair<const char*, const char*>>& cases,
                    const std::string& model = "models/llama") {
  for (const auto& [yaml, expected] : cases) {
    CAPTURE(yaml);
    const std::string message = refusal(method, yaml, model);
    CAPTURE(message);
    CHECK(message.find(expected) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  }
}

}  // namespace

TEST_CASE("lora: settings that cannot be are refused with the reason") {
  check_refusals("lora",
                 {{"lora_rang: 4", "lora_rank"},
                  {"{r: 4, lora_rank: 8}", "lora_rank"},
                  {"r: 0", "a whole number from 1"},
                  {"lora_dropout: 1", "lora_dropout"},
                  {"bias: some", "none"},
                  {"target_modules: [q_prj]", "'q_prj' names no module of this model; it has"},
                  {"target_modules: []", "target_modules is empty"},
                  {"target_modules: .*(q_proj", "no regular expression"},
                  {"target_modules: .*nothing", "names no linear or embedding of this model"},
                  {"target_modules: [mlp]", "names no module of this model"},
                  {"target_modules: .*mlp", "neither a linear nor an embedding"},
                  {"target_modules: [input_layernorm]", "neither a linear nor an embedding"},
                  {"{target_modules: all-linear, layers_to_transform: 1}", "write target_modules as a list"},
                  {"{target_modules: [q_proj], layers_pattern: layers}", "without layers_to_transform"},
                  {"{target_modules: [q_proj], layers_to_transform: [x]}", "layers_to_transform is 'x'"},
                  {"rank_pattern: {q_proj: many}", "rank_pattern: q_proj is 'many'"},
                  {"use_dora: true", "the method dora"},
                  {"load_in_4bit: true", "the method qlora"},
                  {"init_lora_weights: pissa_niter_4", "changes the base's weights"},
                  {"init_lora_weights: olora", "changes the base's weights"},
                  {"init_lora_weights: eva", "not made here"},
                  {"init_lora_weights: some", "expected true, false or gaussian"},
                  {"task_type: SEQ_CLS", "CAUSAL_LM"},
                  {"modules_to_save: [lm_heat]", "'lm_heat' names no module"},
                  {"{target_modules: [embed_tokens], lora_bias: true}", "no bias of its branch"}});
  check_refusals("dora", {{"use_dora: false", "the method lora"},
                          {"init_lora_weights: false", "must start at zero"},
                          {"target_modules: [embed_tokens]", "no magnitudes"},
                          {"bnb_4bit_quant_type: fp4", "while load_in_4bit is false"}});
  check_refusals("qlora",
                 {{"load_in_4bit: false", "the method lora"},
                  {"use_dora: true", "the method dora"},
                  {"bnb_4bit_quant_type: int4", "nf4"},
                  {"bnb_4bit_compute_dtype: float64", "expected auto, float32, bfloat16 or float16"}});
}

TEST_CASE("lora: which modules, under which names") {
  const std::string layers = "model.layers.";
  CHECK(modules(applied("lora", "target_modules: [q_proj, v_proj]"), ".lora_A.weight") ==
        std::set<std::string>{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj",
                              "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"});
  CHECK(modules(applied("lora", "{}"), ".lora_B.weight").size() == 14);  // all linears but the head
  CHECK(modules(applied("lora", "target_modules: [all-linear]"), ".lora_B.weight").size() == 14);
  CHECK(modules(applied("lora", "target_modules: .*layers\\.1\\..*(up|down)_proj"), ".lora_B.weight") ==
        std::set<std::string>{"model.layers.1.mlp.down_proj", "model.layers.1.mlp.up_proj"});
  CHECK(modules(applied("lora", "{target_modules: [q_proj], layers_to_transform: 1}"), ".lora_A.weight") ==
        std::set<std::string>{"model.layers.1.self_attn.q_proj"});
  CHECK(modules(applied("lora", "{exclude_modules: .*mlp.*}"), ".lora_A.weight").size() == 8);
  // Experts and the router that chooses among them stay as they are.
  const auto mixtral = modules(applied("lora", "{}", "models/mixtral"), ".lora_A.weight");
  CHECK(mixtral.size() == 8);
  for (const std::string& path : mixtral) CHECK(path.find("self_attn") != std::string::npos);
}

TEST_CASE("lora: patterns, saved modules, biases and embeddings in the file and its config") {
  const Applied one =
      applied("lora",
              "{r: 4, lora_alpha: 10, use_rslora: true, target_modules: [q_proj, embed_tokens, lm_head], "
              "rank_pattern: {1.self_attn.q_proj: 2}, alpha_pattern: {embed_tokens: 3.5}, "
              "modules_to_save: [norm], lora_dropout: 0.25}");
  const auto at = [&](const std::string& name) { return one.parameters.at("base_model.model." + name); };
  using Shape = std::vector<int64_t>;
  CHECK(at("model.layers.0.self_attn.q_proj.lora_A.weight") == Shape{4, 64});
  CHECK(at("model.layers.1.self_attn.q_proj.lora_A.weight") == Shape{2, 64});
  CHECK(at("model.layers.1.self_attn.q_proj.lora_B.weight") == Shape{64, 2});
  CHECK(at("model.embed_tokens.lora_embedding_A") == Shape{4, 256});
  CHECK(at("model.embed_tokens.lora_embedding_B") == Shape{64, 4});
  CHECK(at("lm_head.lora_B.weight") == Shape{256, 4});
  CHECK(at("model.norm.weight") == Shape{64});
  CHECK(at("model.layers.0.input_layernorm.weight") == Shape{64});
  CHECK(one.parameters.size() == 13);
  CHECK(one.config["peft_type"] == "LORA");
  CHECK(one.config["r"] == 4);
  CHECK(one.config["lora_alpha"] == 10);
  CHECK(one.config["lora_dropout"] == 0.25);
  CHECK(one.config["use_rslora"] == true);
  CHECK(one.config["rank_pattern"] == Json{{"model.layers.1.self_attn.q_proj", 2}});
  CHECK(one.config["alpha_pattern"] == Json{{"model.embed_tokens", 3.5}});
  CHECK(one.config["target_modules"].size() == 4);
  CHECK(one.config["modules_to_save"].size() == 5);

  const auto method = open_method("lora", "target_modules: [embed_tokens, lm_head]");
  method->apply(loaded("models/llama"));
  std::set<std::string> copies;
  for (const auto& tensor : method->file_tensors(loaded("models/llama"))) copies.insert(tensor.name);
  CHECK(copies == std::set<std::string>{"base_model.model.model.embed_tokens.base_layer.weight",
                                        "base_model.model.lm_head.base_layer.weight"});

  const auto names = [](const std::string& bias) {
    std::set<std::string> biases;
    for (const auto& [name, shape] :
         applied("lora", "{target_modules: [q_proj], bias: " + bias + "}", "models/qwen2").parameters)
      if (name.ends_with("bias"))
        biases.insert(name.substr(std::string("base_model.model.model.layers.").size()));
    return biases;
  };
  CHECK(names("none").empty());
  CHECK(names("lora_only") ==
        std::set<std::string>{"0.self_attn.q_proj.base_layer.bias", "1.self_attn.q_proj.base_layer.bias"});
  CHECK(names("all") == std::set<std::string>{"0.self_attn.q_proj.base_layer.bias",
                                              "1.self_attn.q_proj.base_layer.bias", "0.self_attn.k_proj.bias",
                                              "1.self_attn.k_proj.bias", "0.self_attn.v_proj.bias",
                                              "1.self_attn.v_proj.bias"});
  CHECK(applied("lora", "{target_modules: [q_proj], lora_bias: true}").parameters.size() == 6);
}

TEST_CASE("dora and qlora: what they ask for and say") {
  const Applied dora = applied("dora", "{target_modules: [q_proj], dropout_rate: 0.1}");
  CHECK(dora.config["use_dora"] == true);
  CHECK(dora.config["lora_dropout"] == 0.1);
  CHECK(dora.parameters.at("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector") ==
        std::vector<int64_t>{64});
  CHECK(open_method("lora", "{}")->base().linear_dtype == LLMH_DTYPE_INVALID);
  const llmh_base_request plain = open_method("qlora", "{}")->base();
  CHECK(plain.linear_dtype == LLMH_DTYPE_NF4);
  CHECK(plain.double_quant == 0);
  CHECK(plain.compute_dtype == LLMH_DTYPE_INVALID);
  const llmh_base_request other =
      open_method(
          "qlora",
          "{bnb_4bit_quant_type: fp4, bnb_4bit_use_double_quant: true, bnb_4bit_compute_dtype: bfloat16}")
          ->base();
  CHECK(other.linear_dtype == LLMH_DTYPE_FP4);
  CHECK(other.double_quant == 1);
  CHECK(other.compute_dtype == LLMH_DTYPE_BF16);
  CHECK(open_method("dora", "load_in_4bit: true")->base().linear_dtype == LLMH_DTYPE_NF4);
  CHECK(applied("qlora", "{}").config["peft_type"] == "LORA");
}

TEST_CASE("full: all, some, all but some") {
  const size_t n_all = applied("full", "{}").parameters.size();
  CHECK(n_all == loaded("models/llama").tensors().size());
  CHECK(applied("full", "freeze_modules: [embed_tokens, lm_head]").parameters.size() == n_all - 2);
  CHECK(applied("full", "target_modules: [layers.1]").parameters.size() == 9);
  CHECK(applied("full", "{target_modules: [mlp], freeze_modules: .*down_proj}").parameters.size() == 4);
  CHECK(applied("full", "target_modules: .*norm").parameters.size() == 5);
  CHECK(applied("full", "{}").config.is_null());
  CHECK(
      applied("full", "target_modules: [layers.1]").parameters.contains("model.layers.1.mlp.up_proj.weight"));
  check_refusals(
      "full", {{"target_modules: [layers.7]", "'layers.7' names no module"},
               {"target_modules: []", "target_modules is empty"},
               {"{target_modules: [mlp], freeze_modules: [mlp]}", "without freeze_modules, names no module"},
               {"target_module: all", "target_modules"}});
}

TEST_CASE("sparse: masks on the linears of the blocks, adapters, contradictions") {
  const Applied masked = applied("sparse", "sparsity_ratio: 0.5");
  CHECK(masked.parameters.size() == 14);
  CHECK(masked.parameters.contains("model.layers.0.mlp.down_proj.weight"));
  CHECK(masked.config.is_null());
  const Applied shira = applied("sparse", "{peft_type: SHIRA, r: 2, target_modules: [q_proj, down_proj]}");
  CHECK(shira.config["peft_type"] == "SHIRA");
  CHECK(shira.config["r"] == 2);
  CHECK(shira.parameters.at("base_model.model.model.layers.0.mlp.down_proj.shira_weight") ==
        std::vector<int64_t>{2 * (96 + 64)});
  check_refusals("sparse",
                 {{"sparsity_ration: 0.5", "sparsity_ratio"},
                  {"sparsity_ratio: 1.5", "sparsity_ratio"},
                  {"sparsity_type: '4:2'", "as in '2:4'"},
                  {"{sparsity_type: '2:4', sparsity_ratio: 0.75}", "makes it 0.5"},
                  {"sparsity_type: '3:5'", "groups of 5"},
                  {"{use_rigl: false, mask_update_interval: 10}",
                   "mask_update_interval is given while use_rigl is false"},
                  {"{use_rigl: true, sparsity_type: '2:4'}", "use unstructured"},
                  {"{use_rigl: true, sparsity_ratio: 0}", "no masks"},
                  {"topk_ratio: 0.5", "use_topk_attention is false"},
                  {"r: 4", "peft_type is not SHIRA"},
                  {"{peft_type: SHIRA, sparsity_ratio: 0.5}", "has no masks"},
                  {"peft_type: LORA", "expected nothing or SHIRA"},
                  {"target_modules: [lm_head]", "no linear of the blocks"},
                  {"{target_modules: [q_proj], modules_to_save: [norm]}", "writes a whole model"},
                  {"{peft_type: SHIRA, r: 1000}", "r is 1000"},
                  {"{peft_type: SHIRA, r: 2, target_modules: [embed_tokens]}", "which is no linear"}});
  check_refusals("sparse", {{"{}", "stacked weights of experts"}}, "models/mixtral");
  CHECK(applied("sparse", "target_modules: [q_proj]", "models/mixtral").parameters.size() == 2);
}

TEST_CASE("sparse adapters: the entries are those of the seed or of the largest weights") {
  const auto entries = [](const std::string& yaml) {
    const auto method =
        open_method("sparse", "{peft_type: SHIRA, r: 1, target_modules: [q_proj], " + yaml + "}");
    method->apply(loaded("models/llama"));
    std::map<std::string, std::vector<int32_t>> tables;
    for (const auto& tensor : method->file_tensors(loaded("models/llama"))) {
      CHECK(tensor.dtype == LLMH_DTYPE_I32);
      CHECK(tensor.shape == std::vector<int64_t>{2, 128});
      auto& table = tables[tensor.name];
      table.resize(tensor.data.size() / sizeof(int32_t));
      std::memcpy(table.data(), tensor.data.data(), tensor.data.size());
    }
    return tables;
  };
  const std::string name = "base_model.model.model.layers.0.self_attn.q_proj.shira_indices";
  const auto random = entries("random_seed: 5");
  CHECK(random == entries("random_seed: 5"));
  CHECK(random != entries("random_seed: 6"));
  const auto& table = random.at(name);
  std::set<int32_t> flat;
  for (size_t i = 0; i < 128; ++i) flat.insert(table[i] * 64 + table[128 + i]);
  CHECK(flat.size() == 128);
  CHECK(*flat.begin() >= 0);
  CHECK(*flat.rbegin() < 64 * 64);

  const auto file = model::SafetensorsFile::open(test::data("finetune/models/llama/model.safetensors"));
  const auto weight = tensor_values<float>(file, "model.layers.0.self_attn.q_proj.weight");
  const auto largest = entries("mask_type: top_magnitude").at(name);
  float smallest_inside = 1e9F;
  std::set<size_t> inside;
  for (size_t i = 0; i < 128; ++i) {
    inside.insert(static_cast<size_t>(largest[i]) * 64 + static_cast<size_t>(largest[128 + i]));
    smallest_inside = std::min(smallest_inside, std::abs(weight[*inside.rbegin()]));
  }
  for (size_t i = 0; i < weight.size(); ++i)
    if (!inside.contains(i)) CHECK(std::abs(weight[i]) <= smallest_inside);
}

TEST_CASE("how parameters start") {
  const auto stack_of = [](const std::string& name, const std::string& yaml, uint64_t seed) {
    auto method = open_method(name, yaml);
    train::TrainingOptions options;
    options.max_tokens = 64;
    options.init_seed = seed;
    train::TrainingStack stack(loaded("models/llama"), device_of("cpu"), *method, options);
    std::map<std::string, std::vector<float>> values;
    for (const auto& trained : stack.trained())
      values[trained.name] = {trained.value.begin(), trained.value.end()};
    return values;
  };
  const std::string q = "model.layers.0.self_attn.q_proj";
  const auto largest = [](const std::vector<float>& values) {
    float most = 0;
    for (const float value : values) most = std::max(most, std::abs(value));
    return most;
  };
  const auto uniform = stack_of("lora", "target_modules: [q_proj]", 1);
  CHECK(uniform == stack_of("lora", "target_modules: [q_proj]", 1));
  CHECK(uniform != stack_of("lora", "target_modules: [q_proj]", 2));
  CHECK(largest(uniform.at(q + ".lora_B.weight")) == 0);
  CHECK(largest(uniform.at(q + ".lora_A.weight")) <= 0.125F);  // 1 / sqrt(64)
  CHECK(largest(uniform.at(q + ".lora_A.weight")) > 0.115F);
  const auto both = stack_of("lora", "{target_modules: [q_proj], init_lora_weights: false}", 1);
  CHECK(largest(both.at(q + ".lora_B.weight")) > 0.3F);
  const auto normal = stack_of("lora", "{target_modules: [q_proj], init_lora_weights: gaussian, r: 4}", 1);
  double sum = 0;
  for (const float value : normal.at(q + ".lora_A.weight")) sum += static_cast<double>(value) * value;
  CHECK(std::sqrt(sum / (4 * 64)) == doctest::Approx(0.25).epsilon(0.15));
  const auto table = stack_of("lora", "target_modules: [embed_tokens]", 1);
  CHECK(largest(table.at("model.embed_tokens.lora_embedding_A")) == 0);
  CHECK(largest(table.at("model.embed_tokens.lora_embedding_B")) > 2);

  const auto dora = stack_of("dora", "target_modules: [q_proj]", 1);
  const auto file = model::SafetensorsFile::open(test::data("finetune/models/llama/model.safetensors"));
  const auto weight = tensor_values<float>(file, q + ".weight");
  for (size_t row = 0; row < 64; ++row) {
    double squares = 0;
    for (size_t i = 0; i < 64; ++i)
      squares += static_cast<double>(weight[row * 64 + i]) * weight[row * 64 + i];
    CHECK(dora.at(q + ".lora_magnitude_vector")[row] == doctest::Approx(std::sqrt(squares)).epsilon(1e-6));
  }
}
