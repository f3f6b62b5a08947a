#include "peft/json.h"

#include <set>
#include <vector>

#include "llmhost/plugin.hpp"

namespace peft {
namespace {

constexpr size_t kMaxBytes = size_t{4} << 20;
constexpr int kMaxDepth = 64;
constexpr size_t kMaxShown = 80;

}  // namespace

OrderedJson parse_json(std::string_view text, std::string_view source, EqualKeys equal_keys) {
  const auto refuse = [source](const std::string& what) {
    throw llmh::Error(LLMH_INVALID_ARGUMENT, std::string(source) + ": " + what);
  };
  if (text.size() > kMaxBytes)
    refuse("it has " + std::to_string(text.size()) + " bytes, at most 4 MiB are read");
  std::vector<std::set<std::string>>
      keys;  // of the objects that are open; of two equal ones only one would count
  const auto look = [&](int depth, nlohmann::json::parse_event_t event, OrderedJson& value) {
    if (depth > kMaxDepth) refuse("it is nested deeper than " + std::to_string(kMaxDepth) + " levels");
    if (equal_keys == EqualKeys::kTaken) return true;
    if (event == OrderedJson::parse_event_t::object_start) keys.emplace_back();
    if (event == OrderedJson::parse_event_t::object_end) keys.pop_back();
    if (event == OrderedJson::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      refuse("the key " + shown(value) + " occurs twice");
    return true;
  };
  try {
    return OrderedJson::parse(text, look);
  } catch (const nlohmann::json::exception& error) {
    refuse(std::string("it is no JSON: ") + error.what());
    throw;
  }
}

std::string shown(const OrderedJson& value) {
  std::string text = value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  if (text.size() <= kMaxShown) return text;
  size_t cut = kMaxShown;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return text.substr(0, cut) + "...";
}

}  // namespace peft
