#include "model/generation_config.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/json.h"
#include "model/gguf.h"

namespace llmhost::model {
namespace {

class MemberReader {
 public:
  MemberReader(const Json& config, std::string_view source) : config_(config), source_(source) {
    if (!config.is_object()) throw_invalid("{}: is not a JSON object", source);
  }

  // Null when absent or null.
  const Json* find(const char* key) const {
    const auto found = config_.find(key);
    return found == config_.end() || found->is_null() ? nullptr : &*found;
  }

  int64_t as_integer(const Json& value, const char* key) const {
    const bool too_large =
        value.is_number_unsigned() && value.get<uint64_t>() > std::numeric_limits<int64_t>::max();
    if (!value.is_number_integer() || too_large) throw_invalid("{}: {} is not an integer", source_, key);
    return value.get<int64_t>();
  }

  void read(const char* key, std::optional<int64_t>& out) const {
    if (const Json* value = find(key)) out = as_integer(*value, key);
  }

  void read(const char* key, std::optional<double>& out) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_number()) throw_invalid("{}: {} is not a number", source_, key);
    out = value->get<double>();
  }

  void read(const char* key, std::optional<bool>& out) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) throw_invalid("{}: {} is neither true nor false", source_, key);
    out = value->get<bool>();
  }

  // One id or a list of them; the negative ones are dropped.
  std::vector<int64_t> token_ids(const char* key) const {
    std::vector<int64_t> ids;
    const auto add = [&](const Json& value) {
      const int64_t id = as_integer(value, key);
      if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    };
    const Json* value = find(key);
    if (value == nullptr) return ids;
    if (!value->is_array()) {
      add(*value);
      return ids;
    }
    if (value->size() > kMaxTokenIds)
      throw_invalid("{}: {} lists more than {} ids", source_, key, kMaxTokenIds);
    for (const Json& element : *value) add(element);
    return ids;
  }

  std::optional<int64_t> token_id(const char* key) const {
    const std::vector<int64_t> ids = token_ids(key);
    return ids.empty() ? std::nullopt : std::optional(ids.front());
  }

 private:
  static constexpr size_t kMaxTokenIds = 1024;

  const Json& config_;
  std::string_view source_;
};

template <typename T>
void fill(std::optional<T>& target, const std::optional<T>& source) {
  if (!target) target = source;
}

}  // namespace

void GenerationConfig::fill_from(const GenerationConfig& other) {
  if (eos_token_ids.empty()) eos_token_ids = other.eos_token_ids;
  fill(bos_token_id, other.bos_token_id);
  fill(pad_token_id, other.pad_token_id);
  fill(do_sample, other.do_sample);
  fill(temperature, other.temperature);
  fill(top_k, other.top_k);
  fill(top_p, other.top_p);
  fill(min_p, other.min_p);
  fill(typical_p, other.typical_p);
  fill(repetition_penalty, other.repetition_penalty);
  fill(no_repeat_ngram_size, other.no_repeat_ngram_size);
  fill(max_length, other.max_length);
  fill(max_new_tokens, other.max_new_tokens);
}

GenerationConfig parse_generation_config(const nlohmann::json& config, std::string_view source) {
  const MemberReader reader(config, source);
  GenerationConfig result;
  result.eos_token_ids = reader.token_ids("eos_token_id");
  result.bos_token_id = reader.token_id("bos_token_id");
  result.pad_token_id = reader.token_id("pad_token_id");
  reader.read("do_sample", result.do_sample);
  reader.read("temperature", result.temperature);
  reader.read("top_k", result.top_k);
  reader.read("top_p", result.top_p);
  reader.read("min_p", result.min_p);
  reader.read("typical_p", result.typical_p);
  reader.read("repetition_penalty", result.repetition_penalty);
  reader.read("no_repeat_ngram_size", result.no_repeat_ngram_size);
  reader.read("max_length", result.max_length);
  reader.read("max_new_tokens", result.max_new_tokens);
  return result;
}

GenerationConfig gguf_generation_config(const GgufFile& file) {
  GenerationConfig result;
  // A chat turn may end with the end of the turn or of the message as well.
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const std::optional<int64_t> id = file.try_i64(key);
    auto& ids = result.eos_token_ids;
    if (id && *id >= 0 && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  }
  result.bos_token_id = file.try_i64("tokenizer.ggml.bos_token_id");
  result.pad_token_id = file.try_i64("tokenizer.ggml.padding_token_id");
  const auto number = [&](std::string_view key) -> std::optional<double> {
    const GgufValue* value = file.find(key);
    return value == nullptr ? std::nullopt : std::optional(value->as_f64());
  };
  result.temperature = number("general.sampling.temp");
  result.top_k = file.try_i64("general.sampling.top_k");
  result.top_p = number("general.sampling.top_p");
  result.min_p = number("general.sampling.min_p");
  result.repetition_penalty = number("general.sampling.penalty_repeat");
  return result;
}

}  // namespace llmhost::model
