// The quantization_config of a checkpoint, read key by key: what was not read is what nobody understood.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace llmhost::model {

// Keys are dotted paths below the object. null counts as absent. A value of the wrong type is an error with
// the key.
class QuantisationConfig {
 public:
  // `source` names the object in errors: "…/config.json: quantization_config".
  QuantisationConfig(Json object, std::string source);

  const std::string& source() const { return source_; }
  bool has(std::string_view key) const { return locate(key) != nullptr; }
  int64_t integer(std::string_view key, int64_t fallback);
  bool flag(std::string_view key, bool fallback);
  std::string text(std::string_view key, std::string_view fallback);
  // Empty when absent.
  std::vector<int64_t> integers(std::string_view key);
  std::vector<std::string> keys_of(std::string_view object) const;

  // Keys (with all below them) whose value changes nothing about stored weights.
  void understood(std::initializer_list<std::string_view> keys);
  // The same for keys of the object itself by how they begin or end.
  void understood_like(std::initializer_list<std::string_view> prefixes,
                       std::initializer_list<std::string_view> suffixes);
  // Throws unless the text, where it is given, is one of `known`; the first is what an absent key means.
  std::string one_of(std::string_view key, std::initializer_list<std::string_view> known);

  [[noreturn]] void refuse(std::string_view key, std::string_view why) const;

  // Leaves that are not null or empty and that nobody read.
  std::vector<std::string> unread() const;

 private:
  const Json* locate(std::string_view key) const;
  const Json* find(std::string_view key);
  void collect(const Json& value, const std::string& path, std::vector<std::string>& out) const;

  Json object_;
  std::string source_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace llmhost::model
