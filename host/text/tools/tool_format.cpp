#include "text/tools/tool_format.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/registry_files.h"

namespace llmhost::text {
namespace {

struct Rule {
  std::vector<std::string> all;   // the template contains each of these
  std::vector<std::string> none;  // and none of these
  ToolFormat format;
};

struct Tables {
  std::vector<Rule> families;
  std::vector<Rule> reasoning;
};

std::vector<std::string> strings(const YAML::Node& node) {
  if (!node) return {};
  if (node.IsScalar()) return {node.as<std::string>()};
  return node.as<std::vector<std::string>>();
}

std::string string(const YAML::Node& node) {
  return node ? node.as<std::string>() : std::string();
}

bool flag(const YAML::Node& node) {
  return node && node.as<bool>();
}

template <typename Value>
Value choice(const YAML::Node& node, const std::map<std::string, Value>& values, Value otherwise) {
  if (!node) return otherwise;
  const auto found = values.find(node.as<std::string>());
  if (found == values.end())
    throw_error(ErrorCode::kInternal, "registry/tools: unknown word '{}'", node.as<std::string>());
  return found->second;
}

ChannelForm channels_of(const YAML::Node& node) {
  ChannelForm form;
  if (!node) return form;
  form.starts = strings(node["start"]);
  form.head_end = string(node["head_end"]);
  form.ends = strings(node["end"]);
  form.recipient = string(node["recipient"]);
  form.channel = string(node["channel"]);
  form.reasoning = strings(node["reasoning"]);
  form.content = strings(node["content"]);
  return form;
}

void read_marks(const YAML::Node& node, ToolFormat& format) {
  const std::vector<std::string> wrap = strings(node["wrap"]);
  if (wrap.size() == 2) {
    format.wrap_open = wrap[0];
    format.wrap_close = wrap[1];
  }
  format.call_opens = strings(node["open"]);
  format.call_close = string(node["close"]);
  format.kind_mark = string(node["kind_mark"]);
  format.name_ends = strings(node["name_end"]);
  format.id_mark = string(node["id_mark"]);
  format.name_head_end = string(node["name_head_end"]);
  format.name_prefix = string(node["name_prefix"]);
  format.name_number = flag(node["name_number"]);
  format.quote = string(node["quote"]);
  format.array = flag(node["array"]);
  if (node["name_key"]) format.name_key = string(node["name_key"]);
  if (node["arguments_key"]) format.arguments_key = string(node["arguments_key"]);
  format.fence = flag(node["fence"]);
  format.call_head = string(node["call_head"]);
  format.separator = string(node["separator"]);
  format.skip_names = strings(node["skip_names"]);
  format.param_open = string(node["param_open"]);
  format.key_end = string(node["key_end"]);
  format.head_end = string(node["head_end"]);
  format.param_close = string(node["param_close"]);
  format.string_attribute = string(node["string_attribute"]);
  format.json_attribute = string(node["json_attribute"]);
  format.tag_mark = string(node["tag_mark"]);
  format.drops = strings(node["drop"]);
}

Rule family_of(const YAML::Node& node) {
  static const std::map<std::string, ToolLayout> layouts = {
      {"json", ToolLayout::kJson}, {"named", ToolLayout::kNamed},   {"tagged", ToolLayout::kTagged},
      {"tree", ToolLayout::kTree}, {"python", ToolLayout::kPython}, {"channel", ToolLayout::kChannel}};
  static const std::map<std::string, ToolPlace> places = {
      {"variable", ToolPlace::kVariable},
      {"system_key", ToolPlace::kSystemKey},
      {"functions_message", ToolPlace::kFunctionsMessage}};
  Rule rule{strings(node["when"]), strings(node["unless"]), {}};
  ToolFormat& format = rule.format;
  format.name = string(node["name"]);
  format.layout = choice(node["layout"], layouts, ToolLayout::kNone);
  format.place = choice(node["tools"], places, ToolPlace::kVariable);
  format.arguments_as_text = flag(node["arguments_as_text"]);
  format.id_length = node["id_length"] ? node["id_length"].as<size_t>() : 0;
  format.id_names = flag(node["id_names"]);
  format.bare = flag(node["bare"]);
  read_marks(node, format);
  format.channels = channels_of(node["channels"]);
  return rule;
}

Rule reasoning_of(const YAML::Node& node) {
  Rule rule{strings(node["when"]), strings(node["unless"]), {}};
  rule.format.reasoning_open = string(node["open"]);
  rule.format.reasoning_close = string(node["close"]);
  rule.format.reasoning_anywhere = flag(node["anywhere"]);
  rule.format.drops = strings(node["drop"]);
  return rule;
}

Tables load_tables() {
  Tables tables;
  for (const RegistryFile& file : registry_files()) {
    if (file.subject != "tools") continue;
    const YAML::Node root = YAML::Load(std::string(file.text));
    for (const YAML::Node& node : root["families"]) tables.families.push_back(family_of(node));
    for (const YAML::Node& node : root["reasoning"]) tables.reasoning.push_back(reasoning_of(node));
  }
  return tables;
}

const Tables& tables() {
  static const Tables loaded = load_tables();
  return loaded;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool applies(const Rule& rule, std::string_view text) {
  const auto inside = [&](const std::string& part) { return contains(text, part); };
  return std::all_of(rule.all.begin(), rule.all.end(), inside) &&
         std::none_of(rule.none.begin(), rule.none.end(), inside);
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// True where `word` stands as a name of its own inside {% … %} or {{ … }}.
bool reads_variable(std::string_view text, std::string_view word) {
  size_t open = 0;
  while ((open = text.find('{', open)) != std::string_view::npos) {
    const char kind = open + 1 < text.size() ? text[open + 1] : '\0';
    if (kind != '%' && kind != '{') {
      ++open;
      continue;
    }
    const size_t close = std::min(text.find(kind == '%' ? "%}" : "}}", open), text.size());
    for (size_t at = text.find(word, open); at < close; at = text.find(word, at + 1)) {
      const char after = at + word.size() < text.size() ? text[at + word.size()] : ' ';
      if (!is_word(text[at - 1]) && !is_word(after)) return true;
    }
    open = close;
  }
  return false;
}

// Marks are made of tokens and text: what stands between the brackets that tokens are written in.
void add_tokens_of(const std::string& mark, std::vector<std::string>& tokens) {
  constexpr std::pair<std::string_view, std::string_view> kBrackets[] = {
      {"<", ">"}, {"[", "]"}, {"｜", "｜"}};
  for (const auto& [open, close] : kBrackets)
    for (size_t from = mark.find(open); from != std::string::npos;
         from = mark.find(open, from + open.size())) {
      const size_t to = mark.find(close, from + open.size());
      if (to == std::string::npos) break;
      tokens.push_back(mark.substr(from, to + close.size() - from));
    }
}

}  // namespace

std::vector<std::string> ToolFormat::marks() const {
  std::vector<std::string> all = call_opens;
  for (const std::string* mark :
       {&wrap_open, &wrap_close, &call_close, &kind_mark, &id_mark, &name_head_end, &quote, &param_open,
        &key_end, &head_end, &param_close, &tag_mark, &reasoning_open, &reasoning_close, &channels.head_end,
        &channels.recipient, &channels.channel})
    all.push_back(*mark);
  for (const auto* marks : {&name_ends, &drops, &channels.starts, &channels.ends})
    all.insert(all.end(), marks->begin(), marks->end());
  const size_t whole = all.size();
  for (size_t i = 0; i < whole; ++i) add_tokens_of(std::string(all[i]), all);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::erase(all, std::string());
  return all;
}

ToolFormat find_tool_format(std::string_view template_text) {
  ToolFormat format;
  for (const Rule& rule : tables().families) {
    if (!applies(rule, template_text)) continue;
    format = rule.format;
    format.takes_tools =
        format.place == ToolPlace::kFunctionsMessage || reads_variable(template_text, "tools");
    break;
  }
  if (!format.channels.starts.empty()) return format;
  for (const Rule& rule : tables().reasoning) {
    if (!applies(rule, template_text)) continue;
    format.reasoning_open = rule.format.reasoning_open;
    format.reasoning_close = rule.format.reasoning_close;
    format.reasoning_anywhere = rule.format.reasoning_anywhere;
    format.drops.insert(format.drops.end(), rule.format.drops.begin(), rule.format.drops.end());
    break;
  }
  return format;
}

std::vector<std::string> tool_format_names() {
  std::vector<std::string> names;
  for (const Rule& rule : tables().families) names.push_back(rule.format.name);
  return names;
}

ToolFormat named_tool_format(std::string_view name) {
  for (const Rule& rule : tables().families)
    if (rule.format.name == name) return rule.format;
  throw_error(ErrorCode::kInvalidArgument, "no form of tool calls is named '{}'; see registry/tools", name);
}

}  // namespace llmhost::text
