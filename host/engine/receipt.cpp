#include "engine/receipt.h"

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/json.h"
#include "core/sha256.h"
#include "engine/model_settings.h"
#include "engine/prompt_logits.h"
#include "model/base_fingerprint.h"
#include "text/chat_template_source.h"
#include "text/tokenizer.h"

namespace llmhost::engine {
namespace {

constexpr int kFormat = 1;
constexpr size_t kMaxIds = 100'000;  // of a prompt or an answer
constexpr JsonLimits kLimits = {size_t{1} << 20, 8};
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

std::string shown(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 40);
}

std::string string_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string())
    throw_invalid("{}: '{}' must be a string", kReceiptFile, key);
  return *found;
}

std::vector<int32_t> ids_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array() || found->size() > kMaxIds)
    throw_invalid("{}: '{}' must be a list of at most {} token ids", kReceiptFile, key, kMaxIds);
  std::vector<int32_t> ids;
  for (const Json& id : *found) {
    const bool fits = id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() <= INT32_MAX;
    if (!fits) throw_invalid("{}: '{}' holds {}, which is no token id", kReceiptFile, key, shown(id));
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

void check_same(const char* what, const std::string& trained_with, const std::string& here) {
  if (trained_with == here) return;
  const auto shown = [](const std::string& digest) { return digest.empty() ? "none" : digest.substr(0, 12); };
  throw_error(
      ErrorCode::kFailedPrecondition,
      "{}: the adapter was trained with the {} {}, this model's is {}; --receipt ignore takes it as it is",
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

Receipt parse_receipt(std::string_view text) {
  const Json json = parse_json(text, kReceiptFile, kLimits);
  if (!json.is_object()) throw_invalid("{}: an object is expected", kReceiptFile);
  const auto format = json.find("format");
  if (format == json.end() || *format != kFormat)
    throw_invalid("{}: 'format' is {}, expected {}", kReceiptFile,
                  format == json.end() ? "missing" : shown(*format), kFormat);
  Receipt receipt;
  receipt.model = {string_of(json, "base"), string_of(json, "tokenizer"), string_of(json, "chat_template")};
  receipt.data = string_of(json, "data");
  receipt.job = string_of(json, "job");
  const auto golden = json.find("golden");
  if (golden == json.end() || !golden->is_array()) throw_invalid("{}: 'golden' must be a list", kReceiptFile);
  for (const Json& each : *golden) {
    if (!each.is_object()) throw_invalid("{}: 'golden' must be a list of objects", kReceiptFile);
    receipt.golden.push_back({ids_of(each, "prompt_ids"), ids_of(each, "greedy_ids")});
  }
  return receipt;
}

void check_receipt(const Receipt& receipt, const ModelIdentity& model) {
  check_same("base", receipt.model.base, model.base);
  check_same("tokenizer", receipt.model.tokenizer, model.tokenizer);
  check_same("chat template", receipt.model.chat_template, model.chat_template);
}

void check_golden(const Receipt& receipt, ModelRunner& runner,
                  const std::shared_ptr<const Adapter>& adapter) {
  for (size_t i = 0; i < receipt.golden.size(); ++i) {
    const Receipt::Golden& golden = receipt.golden[i];
    const std::vector<std::vector<int32_t>> prompts = {golden.prompt};
    const auto n = static_cast<int64_t>(golden.tokens.size());
    if (golden.prompt.empty() || n == 0) continue;
    const std::vector<int32_t> tokens = run_prompts(runner, prompts, n, adapter).front().tokens;
    if (tokens != golden.tokens)
      throw_error(ErrorCode::kFailedPrecondition,
                  "{}: to golden prompt {} the answer was [{}] when it was trained, here it is [{}]",
                  kReceiptFile, i, fmt::join(golden.tokens, ","), fmt::join(tokens, ","));
  }
}

}  // namespace llmhost::engine
