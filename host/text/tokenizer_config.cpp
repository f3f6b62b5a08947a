// The small files beside a tokenizer: names of special tokens, tokens added later, ids that end a generation.
#include <algorithm>
#include <charconv>

#include "core/json.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_registry.h"

namespace llmhost::text {
namespace {

// A token is written as "text" or {"content": "text", …}.
std::string token_text(const Json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (it->is_object() && it->contains("content") && it->at("content").is_string())
    return it->at("content").get<std::string>();
  return {};
}

bool flag(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_boolean() && it->get<bool>();
}

std::optional<bool> optional_flag(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_boolean() ? std::optional(it->get<bool>()) : std::nullopt;
}

void take_names(const Json& json, TokenizerConfig& config) {
  const auto take = [&](std::string& name, const char* key) {
    if (name.empty()) name = token_text(json, key);
  };
  take(config.bos, "bos_token");
  take(config.eos, "eos_token");
  take(config.pad, "pad_token");
  take(config.unk, "unk_token");
}

// "added_tokens_decoder": {"32000": {"content": …, flags}}
void take_added(const Json& json, TokenizerConfig& config) {
  const auto list = json.find("added_tokens_decoder");
  if (list == json.end() || !list->is_object()) return;
  for (const auto& [key, entry] : list->items()) {
    AddedToken token;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
    if (error != std::errc() || end != key.data() + key.size() || token.id < 0 || !entry.is_object())
      continue;
    token.content = token_text(Json{{"t", entry}}, "t");
    token.special = flag(entry, "special");
    token.lstrip = flag(entry, "lstrip");
    token.rstrip = flag(entry, "rstrip");
    token.single_word = flag(entry, "single_word");
    if (!token.content.empty()) config.added.push_back(std::move(token));
  }
}

std::optional<Json> read_if_present(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  Json json = read_json_file(path);
  return json.is_object() ? std::optional(std::move(json)) : std::nullopt;
}

std::optional<int32_t> first_known(const Tokenizer& tokenizer, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const auto id = tokenizer.id_of(name);
    if (id && tokenizer.is_special(*id)) return id;
  }
  return std::nullopt;
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder) {
  TokenizerConfig config;
  if (const auto json = read_if_present(folder / "tokenizer_config.json")) {
    take_names(*json, config);
    take_added(*json, config);
    config.add_bos = optional_flag(*json, "add_bos_token");
    config.add_eos = optional_flag(*json, "add_eos_token");
  }
  if (const auto json = read_if_present(folder / "special_tokens_map.json")) take_names(*json, config);
  if (const auto json = read_if_present(folder / "generation_config.json")) {
    const auto it = json->find("eos_token_id");
    if (it != json->end()) {
      for (const Json& id : it->is_array() ? *it : Json::array({*it}))
        if (id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() <= INT32_MAX)
          config.stop_ids.push_back(id.get<int32_t>());
    }
  }
  return config;
}

SpecialIds special_ids_of(const Tokenizer& tokenizer, const TokenizerConfig& config, SpecialIds known) {
  const auto resolve = [&](std::optional<int32_t>& id, const std::string& name, std::string_view role) {
    if (!name.empty()) {
      if (const auto named = tokenizer.id_of(name)) id = named;
    }
    if (!id && !role.empty()) id = first_known(tokenizer, role_names(role));
  };
  resolve(known.bos, config.bos, "bos");
  resolve(known.eos, config.eos, "eos");
  resolve(known.eot, {}, "eot");
  resolve(known.pad, config.pad, {});
  resolve(known.unk, config.unk, {});
  for (const int32_t id : config.stop_ids) known.stop.push_back(id);
  if (known.eos) known.stop.push_back(*known.eos);
  if (known.eot) known.stop.push_back(*known.eot);
  for (const std::string& name : role_names("stop")) {
    const auto id = tokenizer.id_of(name);
    if (id && tokenizer.is_special(*id)) known.stop.push_back(*id);
  }
  std::sort(known.stop.begin(), known.stop.end());
  known.stop.erase(std::unique(known.stop.begin(), known.stop.end()), known.stop.end());
  return known;
}

}  // namespace llmhost::text
