#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/file.h"
#include "core/yaml.h"
#include "serve/http/access.h"
#include "serve/http/target.h"

namespace llmhost::serve {
namespace {

constexpr size_t kMaxKeys = 10'000;
constexpr size_t kMinKeyLength = 8;
constexpr std::string_view kHashPrefix = "sha256:";

// No error here shows a value: it could be a key.
template <typename... Args>
[[noreturn]] void refuse(std::string_view source, const YamlNode& at, fmt::format_string<Args...> format,
                         Args&&... args) {
  throw UsageError(fmt::format("{}:{}:{}: {}", source, at.line, at.column,
                               fmt::format(format, std::forward<Args>(args)...)));
}

const std::string& text_of(const YamlNode& node, std::string_view what, std::string_view source) {
  if (node.kind != YamlNode::Kind::kScalar || node.text.empty())
    refuse(source, node, "{} must be a text", what);
  return node.text;
}

int64_t count_of(const YamlNode& node, std::string_view what, std::string_view source) {
  int64_t value = 0;
  const char* end = node.text.data() + node.text.size();
  const auto [stop, status] = std::from_chars(node.text.data(), end, value);
  if (node.kind != YamlNode::Kind::kScalar || status != std::errc() || stop != end || value < 1 ||
      value > 1'000'000'000'000)
    refuse(source, node, "{} must be a whole number from 1 (leave it out for no limit)", what);
  return value;
}

const std::vector<YamlNode>& list_of(const YamlNode& node, std::string_view what, std::string_view source) {
  if (node.kind != YamlNode::Kind::kList || node.items.empty())
    refuse(source, node, "{} must be a list, [a, b]", what);
  return node.items;
}

Scope scope_of(const YamlNode& node, std::string_view source) {
  for (const Scope scope : {Scope::kInfer, Scope::kAdapters, Scope::kAdmin})
    if (node.text == to_text(scope)) return scope;
  refuse(source, node, "a scope is one of infer, adapters, admin");
}

std::optional<Sha256Digest> from_hex(std::string_view hex) {
  Sha256Digest digest{};
  if (hex.size() != 2 * digest.size()) return std::nullopt;
  for (size_t i = 0; i < digest.size(); ++i) {
    const char* begin = hex.data() + 2 * i;
    const auto [stop, status] = std::from_chars(begin, begin + 2, digest[i], 16);
    if (status != std::errc() || stop != begin + 2) return std::nullopt;
  }
  return digest;
}

Sha256Digest digest_of(const YamlNode& node, std::string_view source) {
  const std::string& text = text_of(node, "key", source);
  if (text.starts_with(kHashPrefix)) {
    const auto digest = from_hex(std::string_view(text).substr(kHashPrefix.size()));
    if (!digest) refuse(source, node, "'sha256:' must be followed by 64 hex digits");
    return *digest;
  }
  if (text.size() < kMinKeyLength || !parse_bearer("bearer " + text))
    refuse(source, node, "a key has 8 to 512 visible ASCII characters, no comma and no space");
  return sha256(text);
}

AccessKey key_of(const YamlNode& node, std::string_view source) {
  if (node.kind != YamlNode::Kind::kMap) refuse(source, node, "each key is a map with name and key");
  AccessKey key;
  key.scopes = {Scope::kInfer};
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    const YamlNode& value = node.items[i];
    if (name == "name") {
      key.name = text_of(value, name, source);
    } else if (name == "key") {
      key.digest = digest_of(value, source);
    } else if (name == "scopes") {
      key.scopes.clear();
      for (const YamlNode& item : list_of(value, name, source)) key.scopes.push_back(scope_of(item, source));
    } else if (name == "models") {
      for (const YamlNode& item : list_of(value, name, source))
        key.models.push_back(text_of(item, name, source));
    } else if (name == "requests_per_minute") {
      key.limits.requests_per_minute = count_of(value, name, source);
    } else if (name == "tokens_per_minute") {
      key.limits.tokens_per_minute = count_of(value, name, source);
    } else if (name == "max_concurrent") {
      key.limits.max_concurrent = count_of(value, name, source);
    } else {
      refuse(
          source, node.keys[i],
          "unknown entry of a key; known: name, key, scopes, models, requests_per_minute, tokens_per_minute, "
          "max_concurrent");
    }
  }
  const bool is_name =
      std::all_of(key.name.begin(), key.name.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (key.name.empty() || key.name.size() > 64 || !is_name)
    refuse(source, node, "a key needs a name of 1 to 64 visible characters");
  if (node.find("key") == nullptr) refuse(source, node, "the key named {} has no 'key'", key.name);
  return key;
}

}  // namespace

std::vector<AccessKey> parse_keys(std::string_view yaml, std::string_view source) {
  YamlNode root;
  try {
    root = parse_yaml(yaml, source);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  const YamlNode* list = root.find("keys");
  if (list == nullptr || root.keys.size() != 1) refuse(source, root, "a keys file has one entry, 'keys'");
  std::vector<AccessKey> keys;
  for (const YamlNode& node : list_of(*list, "keys", source)) {
    AccessKey key = key_of(node, source);
    for (const AccessKey& other : keys) {
      if (other.name == key.name) refuse(source, node, "a second key has the name {}", key.name);
      if (other.digest == key.digest)
        refuse(source, node, "{} and {} are the same key", other.name, key.name);
    }
    if (keys.size() == kMaxKeys) refuse(source, node, "more than {} keys", kMaxKeys);
    keys.push_back(std::move(key));
  }
  return keys;
}

std::vector<AccessKey> read_keys_file(const std::filesystem::path& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0)
    throw UsageError(fmt::format("keys file {}: {}", path.string(), std::strerror(errno)));
  if ((facts.st_mode & (S_IRWXO | S_IWGRP)) != 0)
    throw UsageError(fmt::format("keys file {}: others may read or write it; do: chmod 600 {}", path.string(),
                                 path.string()));
  try {
    return parse_keys(read_file(path, YamlLimits().max_bytes), path.string());
  } catch (const UsageError&) {
    throw;
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
}

std::optional<AccessKey> key_from_environment() {
  const char* text = std::getenv("LLMHOST_API_KEY");
  if (text == nullptr) return std::nullopt;
  if (std::strlen(text) < kMinKeyLength || !parse_bearer(std::string("bearer ") + text))
    throw UsageError(
        "$LLMHOST_API_KEY: a key has 8 to 512 visible ASCII characters, no comma and no space; set one or "
        "unset it");
  AccessKey key;
  key.name = "environment";
  key.digest = sha256(text);
  key.scopes = {Scope::kInfer, Scope::kAdapters, Scope::kAdmin};
  return key;
}

}  // namespace llmhost::serve
