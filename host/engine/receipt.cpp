#include "engine/receipt.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "core/sha256.h"
#include "engine/model_settings.h"
#include "model/base_fingerprint.h"
#include "text/chat_template_source.h"
#include "text/tokenizer.h"

namespace llmhost::engine {
namespace {

constexpr int kFormat = 1;
// Letters, digits, spaces, marks and other scripts: tokenizers differ in how they cut them.
constexpr const char* kProbe = "Hello  World's 12345 \n\t x=[0.5]; Größe 東京 مرحبا 🙂…";

std::string tokenizer_digest(const std::filesystem::path& path) {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  try {
    tokenizer = text::load_tokenizer(tokenizer_path(path));
  } catch (const Error&) {
    return {};
  }
  Sha256 sum;
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) sum.add(tokenizer->piece_of(id) + "\n");
  for (const int32_t id : tokenizer->encode(kProbe, {.add_special = true})) sum.add(std::to_string(id) + " ");
  return to_hex(sum.digest());
}

std::string template_digest(const model::Checkpoint& checkpoint) {
  const auto source = text::find_chat_template(checkpoint);
  return source ? to_hex(sha256(source->text)) : std::string();
}

void check_same(const char* what, const std::string& trained_with, const std::string& here) {
  if (trained_with == here) return;
  const auto shown = [](const std::string& digest) { return digest.empty() ? "none" : digest.substr(0, 12); };
  throw_error(ErrorCode::kFailedPrecondition,
              "{}: the adapter was trained with the {} {}, this model's is {}; without its receipt it is "
              "taken as it is",
              kReceiptFile, what, shown(trained_with), shown(here));
}

}  // namespace

ModelIdentity identify(const model::LoadedModel& model) {
  return {model::base_fingerprint(model), tokenizer_digest(model.checkpoint().path()),
          template_digest(model.checkpoint())};
}

std::string to_json(const Receipt& receipt) {
  OrderedJson golden = OrderedJson::array();
  for (const Receipt::Golden& each : receipt.golden)
    golden.push_back({{"prompt_ids", each.prompt}, {"greedy_ids", each.tokens}});
  const OrderedJson json = {{"format", kFormat},
                            {"base", receipt.model.base},
                            {"tokenizer", receipt.model.tokenizer},
                            {"chat_template", receipt.model.chat_template},
                            {"data", receipt.data},
                            {"job", receipt.job},
                            {"golden", std::move(golden)}};
  return json.dump(1) + "\n";
}

void check_receipt(const std::string& text, const ModelIdentity& model) {
  const Json json = parse_json(text, kReceiptFile);
  for (const char* key : {"base", "tokenizer", "chat_template"})
    if (!json.is_object() || !json.contains(key) || !json[key].is_string())
      throw_invalid("{}: '{}' must be a string", kReceiptFile, key);
  if (json.value("format", 0) != kFormat)
    throw_invalid("{}: format is {}, expected {}", kReceiptFile,
                  json.contains("format") ? json["format"].dump() : "missing", kFormat);
  check_same("base", json["base"].get<std::string>(), model.base);
  check_same("tokenizer", json["tokenizer"].get<std::string>(), model.tokenizer);
  check_same("chat template", json["chat_template"].get<std::string>(), model.chat_template);
}

}  // namespace llmhost::engine
