// A description of an architecture of any bytes gives a recipe or one line of error, for a config of any
// bytes: the part of the input before a 0 byte is the config, the rest the description. An empty one is
// inferred from the config and a few tensors. Where the rest begins with '=', it is an expression.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "archs/some_model.h"
#include "expression.h"
#include "infer.h"
#include "library.h"
#include "recipe.h"

namespace {

constexpr const char* kConfig =
    R"({"model_type": "thing", "num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2,
  "layer_types": ["full_attention", "sliding_attention"], "rope_theta": 100, "rms_norm_eps": 0.1, "hidden_act": "silu"})";

llmhost::test::SomeModel::Tensors tensors() {
  llmhost::test::SomeModel::Tensors all{{"model.embed_tokens.weight", {16, 8}}, {"model.norm.weight", {8}}};
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"})
      all[layer + name + ".weight"] = {8, 8};
    for (const char* name : {"input_layernorm", "post_attention_layernorm"})
      all[layer + name + ".weight"] = {8};
    for (const char* name : {"mlp.gate_proj", "mlp.up_proj"}) all[layer + name + ".weight"] = {12, 8};
    all[layer + "mlp.down_proj.weight"] = {8, 12};
  }
  return all;
}

// The config, or the one above where it is none.
std::string config_of(std::string_view bytes) {
  const auto parsed = llmhost::Json::parse(bytes, nullptr, false);
  return parsed.is_object() && bytes.size() < 4096 ? std::string(bytes) : std::string(kConfig);
}

void read(const std::string& text, const llmh::Model& model) {
  if (text.starts_with("=")) {
    const declarative::Context context{model, {}};
    declarative::to_text(declarative::Expression::parse(std::string_view(text).substr(1)).evaluate(context));
    return;
  }
  declarative::Library library;
  const std::string origin = "fuzz";
  if (text.empty()) {
    const declarative::Inferred inferred = declarative::infer(model);
    declarative::read_recipe(origin, declarative::parse_document(origin, inferred.text), model);
    return;
  }
  library.add(origin, text);
  static_cast<void>(library.refusal("thing"));
  if (const auto* document = library.find("thing"))
    declarative::read_recipe(origin, library.whole(*document), model);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string config = config_of(zero == std::string_view::npos ? "" : input.substr(0, zero));
  const std::string text(zero == std::string_view::npos ? input : input.substr(zero + 1));
  llmhost::test::SomeModel some(config.c_str(), tensors());
  try {
    read(text, some.model());
  } catch (const llmh::Error& e) {
    if (*e.what() == '\0') std::abort();
  }
  return 0;
}
