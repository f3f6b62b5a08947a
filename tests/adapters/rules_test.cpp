// Every patched config of adapter_config_rules.json gets its verdict, with a reason of one line; broken
// adapters are refused each with its own, and the base and other adapters serve on.
#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "adapters/adapter_model.h"
#include "adapters/temporary_adapter.h"
#include "core/error.h"
#include "core/json.h"

using namespace llmhost;
using namespace llmhost::test;

namespace {

AdapterModel& llama() {
  static AdapterModel model("finetune/models/llama", "reference");
  return model;
}

// The message of the refusal, or empty.
std::string refusal(const std::filesystem::path& folder) {
  try {
    llama().adapters().load(folder);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

const std::vector<int32_t> kPrompt = {5, 9, 200, 31, 77};

}  // namespace

TEST_CASE("every rule of adapter_config_rules.json") {
  const Json rules = read_json_file(test::data("finetune/adapter_config_rules.json"));
  const auto original = llama().load("finetune/" + rules["adapter"].get<std::string>());
  const auto expected = llama().run({{kPrompt, original}}).front().logits;
  for (const Json& rule : rules["rules"]) {
    CAPTURE(rule.dump());
    TemporaryAdapter adapter("finetune/" + rules["adapter"].get<std::string>());
    adapter.patch(rule["patch"]);
    const std::string message = refusal(adapter.folder());
    CAPTURE(message);
    CHECK(message.empty() == (rule["expect"] == "accept"));
    CHECK(message.find('\n') == std::string::npos);
    if (!message.empty())
      CHECK(message.starts_with("adapter '" + adapter.folder().filename().string() + "': "));
    if (message.empty())
      CHECK(llama().run({{kPrompt, llama().adapters().load(adapter.folder())}}).front().logits == expected);
  }
}

TEST_CASE("broken adapters are refused, each for its own reason, and the base serves on") {
  const auto base = llama().run({{kPrompt, nullptr}}).front().logits;
  const auto healthy = llama().load("finetune/lora/llama_qv");
  const auto with_adapter = llama().run({{kPrompt, healthy}}).front().logits;
  using Break = std::function<void(TemporaryAdapter&)>;
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj.";
  const std::vector<std::pair<const char*, Break>> breaks = {
      {"adapter_config.json: it is not in the folder", [](auto& a) { a.remove("adapter_config.json"); }},
      {"adapter_model.safetensors: it is not in the folder",
       [](auto& a) { a.remove("adapter_model.safetensors"); }},
      {"convert it",
       [](auto& a) {
         a.remove("adapter_model.safetensors");
         a.write("adapter_model.bin", "PK");
       }},
      {"adapter_config.json", [](auto& a) { a.write("adapter_config.json", "{\"peft_type\": "); }},
      {"an object is expected", [](auto& a) { a.write("adapter_config.json", "[]"); }},
      {"no plugin reads such an adapter (peft_type is \"IA3\"); there are: dora, lora",
       [](auto& a) {
         a.patch({{"peft_type", "IA3"}});
       }},
      {"r is 0, expected a whole number from 1",
       [](auto& a) {
         a.patch({{"r", 0}});
       }},
      {"r is 1000000000",
       [](auto& a) {
         a.patch({{"r", 1'000'000'000}});
       }},
      {"lora_alpha is \"16\", expected a finite number",
       [](auto& a) {
         a.patch({{"lora_alpha", "16"}});
       }},
      {"not finite (nan) at element 3", [&](auto& a) { a.set(q + "lora_A.weight", 3, std::nanf("")); }},
      {"not finite (inf) at element 0", [&](auto& a) { a.set(q + "lora_B.weight", 0, INFINITY); }},
      {"has the shape [64,8], expected [8,64]",
       [&](auto& a) {
         a.reshape(q + "lora_A.weight", {64, 8});
       }},
      {"has the shape [32,16], expected [64,8]",
       [&](auto& a) {
         a.reshape(q + "lora_B.weight", {32, 16});
       }},
      {"lora_B.weight\" is missing", [&](auto& a) { a.drop(q + "lora_B.weight"); }},
      {"is no module of this model",
       [&](auto& a) { a.rename(q + "lora_A.weight", "base_model.model.vision.q_proj.lora_A.weight"); }},
      {"is not one that such an adapter has",
       [&](auto& a) { a.rename(q + "lora_A.weight", q + "lora_A.scale"); }},
      {"takes too many steps",
       [](auto& a) {
         a.patch({{"target_modules", "((a|.)*)*x[qv]_proj"}});
       }},
      {"no regular expression",
       [](auto& a) {
         a.patch({{"exclude_modules", "[a-"}});
       }},
      {"not read alike everywhere",
       [](auto& a) {
         a.patch({{"target_modules", ".*[[:alpha:]]_proj"}});
       }},
      {"target_modules names 'model.layers.0.self_attn'",
       [](auto& a) {
         a.patch({{"target_modules", {"q_proj", "v_proj", "self_attn"}}});
       }},
      {"which is neither a linear nor an embedding",
       [](auto& a) {
         a.patch({{"target_modules", {"q_proj", "v_proj", "input_layernorm"}}});
       }},
      {"the key \"r\" occurs twice",
       [](auto& a) {
         a.write("adapter_config.json",
                 R"({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "r": 9})");
       }},
  };
  std::set<std::string> messages;
  for (const auto& [expected, break_it] : breaks) {
    CAPTURE(expected);
    TemporaryAdapter adapter("finetune/lora/llama_qv", "broken");
    break_it(adapter);
    const std::string message = refusal(adapter.folder());
    CAPTURE(message);
    CHECK(message.find(expected) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.find(adapter.folder().parent_path().string()) == std::string::npos);
    messages.insert(message);
    CHECK(llama().run({{kPrompt, nullptr}}).front().logits == base);
    CHECK(llama().run({{kPrompt, healthy}}).front().logits == with_adapter);
  }
  CHECK(messages.size() == breaks.size());
}

TEST_CASE("an adapter of too high a rank, of another model, or for an engine without adapters") {
  AdapterModel small("finetune/models/llama", "reference", 4);
  CHECK_THROWS_WITH(small.load("finetune/lora/llama_qv"),
                    "adapter 'llama_qv': its rank is 8, the engine was started for at most 4");
  AdapterModel other("finetune/models/llama", "reference");
  CHECK_THROWS_WITH(other.run({{kPrompt, llama().load("finetune/lora/llama_qv")}}),
                    "adapter 'llama_qv' was made for another model");
  CHECK_THROWS_WITH(AdapterModel("finetune/models/llama", "reference", 0),
                    "the model was opened without adapters (max_adapter_rank is 0)");
}

TEST_CASE("names of modules as other versions write them") {
  AdapterModel& model = llama();
  const auto expected = model.run({{kPrompt, model.load("finetune/lora/llama_qv")}}).front().logits;
  for (const char* prefix : {"", "base_model.model.language_model.", "base_model.model.model."}) {
    CAPTURE(prefix);
    TemporaryAdapter adapter("finetune/lora/llama_qv");
    adapter.rename_all("base_model.model.", prefix);
    const auto loaded = model.adapters().load(adapter.folder());
    CHECK(model.run({{kPrompt, loaded}}).front().logits == expected);
  }
}

TEST_CASE("a copy of the base's tensor must be the base's") {
  TemporaryAdapter adapter("finetune/lora/llama_embed");
  adapter.set("base_model.model.model.embed_tokens.base_layer.weight", 70, 3.0F);
  CHECK(refusal(adapter.folder()).find("the adapter was made for another base") != std::string::npos);
}

TEST_CASE("experts of a mixture cannot be changed: the module is named") {
  AdapterModel mixture("finetune/models/mixtral", "reference");
  TemporaryAdapter adapter("finetune/lora/mixtral_qv");
  adapter.rename("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                 "base_model.model.model.layers.0.mlp.experts.up_proj.lora_A.weight");
  CHECK_THROWS_WITH(mixture.adapters().load(adapter.folder()),
                    "adapter 'adapter': plugin lora: adapter_model.safetensors: tensor "
                    "\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\" is missing, expected "
                    "one of the shape "
                    "[8,64] for what adapter_config.json says");
  adapter.copy("finetune/lora/mixtral_qv");
  adapter.patch({{"target_modules", {"v_proj", "up_proj"}}});
  const std::string q = "base_model.model.model.layers.";
  for (const char* layer : {"0", "1"})
    for (const char* part : {".lora_A.weight", ".lora_B.weight"})
      adapter.rename(q + layer + ".self_attn.q_proj" + part, q + layer + ".mlp.experts.up_proj" + part);
  CHECK_THROWS_WITH(mixture.adapters().load(adapter.folder()),
                    "adapter 'adapter': plugin lora: adapter_model.safetensors: tensor "
                    "\"base_model.model.model.layers.0.mlp.experts.up_proj.lora_A.weight\" is for "
                    "'model.layers.0.block_sparse_moe.experts.up_proj', which adapters cannot change here: "
                    "it is no plain linear, "
                    "embedding or norm");
}
