#include "text/tokenizer_registry.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "core/error.h"
#include "core/registry_files.h"

namespace llmhost::text {
namespace {

YAML::Node load(std::string_view name) {
  for (const RegistryFile& file : registry_files())
    if (file.subject == "tokenizers" && file.name == name) return YAML::Load(std::string(file.text));
  throw_error(ErrorCode::kInternal, "registry/tokenizers/{}.yaml is not part of this build", name);
}

std::vector<std::string> strings(const YAML::Node& node) {
  return node ? node.as<std::vector<std::string>>() : std::vector<std::string>();
}

bool flag(const YAML::Node& node, const char* key, bool otherwise) {
  return node[key] ? node[key].as<bool>() : otherwise;
}

bool applies(const YAML::Node& rule, const std::string& preset, std::string_view model_name) {
  for (const std::string& id : strings(rule["presets"]))
    if (id == preset) return true;
  for (const std::string& part : strings(rule["name_contains"]))
    if (model_name.find(part) != std::string_view::npos) return true;
  return false;
}

}  // namespace

std::string gguf_model_kind(std::string_view model) {
  const YAML::Node entry = load("gguf")["models"][std::string(model)];
  return entry ? entry.as<std::string>() : std::string();
}

std::optional<GgufPreset> find_gguf_preset(std::string_view id) {
  const YAML::Node root = load("gguf");
  const YAML::Node entry = root["presets"][std::string(id)];
  if (!entry) return std::nullopt;
  GgufPreset preset;
  preset.patterns = strings(root["patterns"][entry["patterns"].as<std::string>()]);
  preset.ignore_merges = flag(entry, "ignore_merges", false);
  preset.add_bos = flag(entry, "add_bos", false);
  preset.no_bos = flag(entry, "no_bos", false);
  preset.clean_spaces = flag(entry, "clean_spaces", true);
  preset.byte_level = flag(entry, "byte_level", true);
  preset.escape_spaces = flag(entry, "escape_spaces", false);
  preset.add_sep = flag(entry, "add_sep", false);
  return preset;
}

std::vector<std::string> gguf_preset_ids() {
  std::vector<std::string> ids;
  for (const auto& entry : load("gguf")["presets"]) ids.push_back(entry.first.as<std::string>());
  return ids;
}

std::vector<std::string> gguf_preferred_presets() {
  return strings(load("gguf")["preferred"]);
}

GgufKnown known_gguf_tokenizers() {
  const YAML::Node root = load("gguf_known");
  GgufKnown known{root["text"].as<std::string>(), {}};
  for (const auto& entry : root["known"])
    for (const std::string& hash : strings(entry.second)) known.names[hash] = entry.first.as<std::string>();
  return known;
}

std::vector<std::string> tokenizer_probes() {
  return strings(load("probes")["probes"]);
}

std::vector<std::string> gguf_control_pieces() {
  return strings(load("gguf")["control"]);
}

GgufStrip find_gguf_strip(std::string_view preset, std::string_view model_name) {
  GgufStrip strip;
  for (const YAML::Node& rule : load("gguf")["strip"]) {
    if (!applies(rule, std::string(preset), model_name)) continue;
    strip.right_of_all = rule["right"] && rule["right"].as<std::string>() == "all_special";
    strip.left = strings(rule["left"]);
    strip.right = strings(rule["right_also"]);
    strip.never_right = strings(rule["never_right"]);
    break;
  }
  return strip;
}

std::optional<RankForm> find_rank_form(size_t ranks) {
  for (const YAML::Node& entry : load("tiktoken")["forms"]) {
    if (entry["ranks"].as<size_t>() != ranks) continue;
    RankForm form{entry["pattern"].as<std::string>(), strings(entry["special_tokens"])};
    const std::string name = entry["reserved"].as<std::string>();
    const size_t hole = name.find("{}");
    size_t number = entry["first_reserved"].as<size_t>();
    while (form.special_tokens.size() < entry["total"].as<size_t>())
      form.special_tokens.push_back(std::string(name).replace(hole, 2, std::to_string(number++)));
    return form;
  }
  return std::nullopt;
}

std::vector<std::string> role_names(std::string_view role) {
  return strings(load("roles")[std::string(role)]);
}

}  // namespace llmhost::text
