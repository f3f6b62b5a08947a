#include "text/chat_template_source.h"

#include <array>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "model/gguf.h"
#include "text/template/chat_prompt.h"

namespace llmhost::text {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

constexpr auto kSpecialTokens = std::to_array<std::string_view>(
    {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token"});

std::optional<ChatTemplateSource> from_gguf(const model::GgufFile& file, std::string_view wanted) {
  if (!wanted.empty()) {
    const std::string key = "tokenizer.chat_template." + std::string(wanted);
    if (const auto named = file.try_string(key))
      return ChatTemplateSource{std::string(*named), file.name() + ": " + key};
  }
  const auto text = file.try_string("tokenizer.chat_template");
  if (!text) return std::nullopt;
  return ChatTemplateSource{std::string(*text), file.name() + ": tokenizer.chat_template"};
}

Json tokenizer_config(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer_config.json";
  return std::filesystem::exists(path) ? read_json_file(path) : Json::object();
}

// "<s>", or {"content": "<s>", …} as added tokens are written.
std::optional<std::string> token_text(const Json& config, std::string_view key) {
  const auto it = config.find(key);
  if (it == config.end()) return std::nullopt;
  if (it->is_string()) return it->get<std::string>();
  if (it->is_object() && it->contains("content") && (*it)["content"].is_string())
    return (*it)["content"].get<std::string>();
  return std::nullopt;
}

OrderedJson gguf_special_tokens(const model::GgufFile& file) {
  OrderedJson variables = OrderedJson::object();
  const auto tokens = file.try_array("tokenizer.ggml.tokens");
  if (!tokens) return variables;
  const auto pieces = tokens->to_strings();
  const auto add = [&](const char* name, const char* key) {
    const auto id = file.try_u64(key);
    if (id && *id < pieces.size()) variables[name] = pieces[*id];
  };
  add("bos_token", "tokenizer.ggml.bos_token_id");
  add("eos_token", "tokenizer.ggml.eos_token_id");
  add("unk_token", "tokenizer.ggml.unknown_token_id");
  add("pad_token", "tokenizer.ggml.padding_token_id");
  return variables;
}

}  // namespace

std::optional<ChatTemplateSource> find_chat_template(const model::Checkpoint& checkpoint,
                                                     std::string_view wanted) {
  if (checkpoint.gguf() != nullptr) return from_gguf(*checkpoint.gguf(), wanted);
  const auto file = checkpoint.folder() / "chat_template.jinja";
  if (std::filesystem::exists(file))
    return ChatTemplateSource{read_file(file, kMaxTemplateBytes), file.string()};
  const Json config = tokenizer_config(checkpoint.folder());
  const auto it = config.find("chat_template");
  if (it == config.end() || it->is_null()) return std::nullopt;
  std::optional<std::string_view> name;
  if (!wanted.empty()) name = wanted;
  return ChatTemplateSource{select_chat_template(OrderedJson(*it), name, false),
                            (checkpoint.folder() / "tokenizer_config.json").string()};
}

OrderedJson special_token_variables(const model::Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) return gguf_special_tokens(*checkpoint.gguf());
  const Json config = tokenizer_config(checkpoint.folder());
  OrderedJson variables = OrderedJson::object();
  for (const std::string_view key : kSpecialTokens)
    if (const auto text = token_text(config, key)) variables[std::string(key)] = *text;
  return variables;
}

}  // namespace llmhost::text
