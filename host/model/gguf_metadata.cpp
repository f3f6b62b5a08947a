#include "model/gguf_metadata.h"

#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "core/registry_files.h"
#include "model/gguf_config_path.h"
#include "model/gguf_rope.h"
#include "model/name_map.h"

namespace llmhost::model {
namespace {

using Value = GgufMetadata::Value;

const YAML::Node& table() {
  static const YAML::Node kTable = [] {
    for (const RegistryFile& file : registry_files())
      if (file.subject == "gguf" && file.name == "architectures") return YAML::Load(std::string(file.text));
    throw_error(ErrorCode::kInternal, "registry/gguf/architectures.yaml is not part of this build");
  }();
  return kTable;
}

std::optional<YAML::Node> find_architecture(std::string_view model_type) {
  for (const YAML::Node& entry : table()["architectures"])
    for (const YAML::Node& type : entry["model_types"])
      if (type.as<std::string>() == model_type) return entry;
  return std::nullopt;
}

std::vector<std::string> strings(const YAML::Node& node) {
  return node ? node.as<std::vector<std::string>>() : std::vector<std::string>();
}

// "2", "@head_dim", "=text", a path, or a product of these.
class Expressions {
 public:
  Expressions(const ConfigPath& config, const llmh_model_info& info) : config_(config), info_(info) {}

  // Null when something of it is not there.
  Json value(const std::string& text) const {
    if (text.starts_with('=')) return text.substr(1);
    const size_t star = text.find('*');
    if (star == std::string::npos) return term(trimmed(text));
    const Json left = term(trimmed(text.substr(0, star)));
    const Json right = value(trimmed(text.substr(star + 1)));
    if (!left.is_number() || !right.is_number()) return nullptr;
    int64_t whole = 0;
    if (left.is_number_integer() && right.is_number_integer() &&
        !__builtin_mul_overflow(left.get<int64_t>(), right.get<int64_t>(), &whole))
      return whole;
    const double product = left.get<double>() * right.get<double>();
    const bool is_whole = product == std::floor(product) && std::abs(product) < 0x1p63;
    return is_whole ? Json(static_cast<int64_t>(product)) : Json(product);
  }

  // The first alternative that is there.
  Json first(const YAML::Node& alternatives) const {
    if (alternatives.IsScalar()) return value(alternatives.as<std::string>());
    for (const YAML::Node& one : alternatives)
      if (Json found = one.IsSequence() ? Json::array() : value(one.as<std::string>()); !found.is_null())
        return found;
    return nullptr;
  }

 private:
  static std::string trimmed(const std::string& text) {
    const size_t begin = text.find_first_not_of(' ');
    return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(' ') - begin + 1);
  }

  Json term(const std::string& text) const {
    if (text.starts_with('@')) return size(text.substr(1));
    if (text == "true" || text == "false") return text == "true";
    if (text.find_first_of("0123456789") == 0) {
      const double number = std::stod(text);
      return number == std::floor(number) ? Json(static_cast<int64_t>(number)) : Json(number);
    }
    return config_.find(text);
  }

  Json size(const std::string& name) const {
    const std::pair<const char*, int64_t> sizes[] = {{"context_length", info_.context_length},
                                                     {"hidden_size", info_.hidden_size},
                                                     {"n_layers", info_.n_layers},
                                                     {"n_heads", info_.n_heads},
                                                     {"n_kv_heads", info_.n_kv_heads},
                                                     {"head_dim", info_.head_dim},
                                                     {"vocab_size", info_.vocab_size}};
    for (const auto& [known, number] : sizes)
      if (name == known) return number;
    throw_error(ErrorCode::kInternal, "registry/gguf/architectures.yaml: there is no size '@{}'", name);
  }

  const ConfigPath& config_;
  const llmh_model_info& info_;
};

Value typed(const std::string& key, const Json& value, bool is_float, std::string_view source) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return value.get<std::string>();
  if (is_float && value.is_number()) return static_cast<float>(value.get<double>());
  if (value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() <= UINT32_MAX)
    return static_cast<uint32_t>(value.get<int64_t>());
  throw_invalid("{}: {} for '{}' of a GGUF file, which holds an integer", source, value.dump(), key);
}

// A number of times less than the whole: what layers are windowed when only each `period`-th is not.
bool has_period(const std::vector<llmh_state_spec>& states, int64_t period) {
  return std::all_of(states.begin(), states.end(), [&](const llmh_state_spec& state) {
    return (state.window > 0) == (state.slot % period < period - 1);
  });
}

class Writer {
 public:
  Writer(const LoadedModel& model, const YAML::Node& architecture)
      : model_(model),
        architecture_(architecture),
        config_(model.checkpoint().config()),
        info_(model.info()),
        expressions_(config_, info_) {
    info_.struct_size = sizeof info_;
  }

  GgufMetadata run() {
    out_.architecture = architecture_["name"].as<std::string>();
    check_requirements();
    fit_context();
    add_keys(table()["common"]);
    add_keys(architecture_["keys"]);
    add_window_period();
    if (architecture_["rotary"].as<bool>(true)) add_rope_scaling(config_, info_, out_);
    return std::move(out_);
  }

 private:
  std::string source() const { return model_.checkpoint().config_file(); }

  void check_requirements() const {
    for (const auto& entry : architecture_["require"]) {
      const std::string path = entry.first.as<std::string>();
      const Json value = config_.find(path);
      if (value.is_null()) continue;
      const bool fits = std::any_of(entry.second.begin(), entry.second.end(), [&](const YAML::Node& allowed) {
        if (allowed.IsSequence()) return value.is_array() && value.empty();
        const std::string text = allowed.as<std::string>();
        return value == expressions_.value(text) || value == text;
      });
      if (!fits)
        throw_error(ErrorCode::kUnimplemented,
                    "{}: '{}' is {}; readers of GGUF files of architecture '{}' take it to be another value",
                    source(), path, value.dump(), out_.architecture);
    }
  }

  // Where the format has no windows, and for scaling that begins beyond the original length.
  void fit_context() {
    if (is_dynamic_rope(config_)) {
      const Json original = config_.find("max_position_embeddings");
      if (original.is_number_integer() && original.get<int64_t>() < info_.context_length) {
        info_.context_length = original.get<int64_t>();
        out_.notes.push_back(fmt::format(
            "GGUF files have no dynamic rotary scaling: the context is {} tokens, up to which there is none",
            info_.context_length));
      }
    }
    if (architecture_["windows"].as<bool>(false)) return;
    for (const llmh_state_spec& state : model_.states())
      if (state.window > 0 && state.window < info_.context_length) {
        info_.context_length = state.window;
        out_.notes.push_back(
            fmt::format("GGUF files of architecture '{}' have no attention windows: the context is cut to "
                        "the window of {}",
                        out_.architecture, state.window));
      }
  }

  void add_keys(const YAML::Node& keys) {
    const std::vector<std::string> floats = strings(table()["floats"]);
    const std::vector<std::string> left_out = strings(architecture_["without"]);
    for (const auto& entry : keys) {
      const std::string key = entry.first.as<std::string>();
      if (std::find(left_out.begin(), left_out.end(), key) != left_out.end()) continue;
      const Json value = expressions_.first(entry.second);
      if (value.is_null()) continue;
      const bool is_float = std::find(floats.begin(), floats.end(), key) != floats.end();
      out_.entries.push_back({key, typed(key, value, is_float, source())});
    }
  }

  void add_window_period() {
    const bool has_windows = architecture_["windows"].as<bool>(false);
    const auto& states = model_.states();
    const bool none = std::none_of(states.begin(), states.end(), [](const auto& s) { return s.window > 0; });
    const bool all = std::all_of(states.begin(), states.end(), [](const auto& s) { return s.window > 0; });
    if (architecture_["note"]) out_.notes.push_back(architecture_["note"].as<std::string>());
    if (has_windows && !none && architecture_["window_note"])
      out_.notes.push_back(architecture_["window_note"].as<std::string>());
    if (!has_windows || none || !architecture_["window_period"]) return;
    const auto usual = architecture_["window_period"].as<int64_t>();
    if (has_period(states, usual)) return;
    for (int64_t period = 2; period <= static_cast<int64_t>(states.size()) && !all; ++period)
      if (has_period(states, period)) {
        out_.entries.push_back({"attention.sliding_window_pattern", static_cast<uint32_t>(period)});
        out_.notes.push_back(fmt::format(
            "every {}th layer is without a window, where architecture '{}' usually has every {}th: older "
            "readers of GGUF files do not notice",
            period, out_.architecture, usual));
        return;
      }
    throw_error(ErrorCode::kUnimplemented,
                "{}: GGUF files of architecture '{}' have a layer without a window at equal distances",
                source(), out_.architecture);
  }

  const LoadedModel& model_;
  YAML::Node architecture_;
  ConfigPath config_;
  llmh_model_info info_;
  Expressions expressions_;
  GgufMetadata out_;
};

std::string model_type_of(const LoadedModel& model) {
  const Json type = ConfigPath(model.checkpoint().config()).find("model_type");
  return type.is_string() ? type.get<std::string>() : std::string();
}

bool matches(const std::vector<std::string>& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return match_pattern(pattern, name).has_value(); });
}

}  // namespace

GgufMetadata gguf_metadata(const LoadedModel& model) {
  const std::string type = model_type_of(model);
  const auto architecture = find_architecture(type);
  if (!architecture)
    throw_error(ErrorCode::kUnimplemented,
                "{}: GGUF files have no architecture for model type '{}'; there are {}",
                model.checkpoint().config_file(), type, fmt::join(gguf_model_types(), ", "));
  return Writer(model, *architecture).run();
}

std::vector<std::string> gguf_model_types() {
  std::vector<std::string> types;
  for (const YAML::Node& entry : table()["architectures"])
    for (std::string& type : strings(entry["model_types"])) types.push_back(std::move(type));
  std::sort(types.begin(), types.end());
  return types;
}

GgufTensorRules::GgufTensorRules(const LoadedModel& model)
    : n_heads_(model.info().n_heads), n_kv_heads_(model.info().n_kv_heads), head_dim_(model.info().head_dim) {
  const auto architecture = find_architecture(model_type_of(model));
  if (!architecture) return;
  for (const YAML::Node& entry : (*architecture)["add"])
    additions_.push_back({strings(entry["patterns"]), entry["value"].as<float>()});
  fused_ = strings((*architecture)["fused"]);
  const YAML::Node scale = (*architecture)["query_scale"];
  if (!scale || model.info().n_layers == scale["except_layers"].as<int32_t>(0)) return;
  const Json given = ConfigPath(model.checkpoint().config()).find(scale["path"].as<std::string>());
  const double divisor = given.is_number() ? given.get<double>() : scale["default"].as<double>();
  if (divisor == static_cast<double>(head_dim_)) return;
  query_scale_ = static_cast<float>(std::sqrt(static_cast<double>(head_dim_) / divisor));
  queries_ = strings(scale["patterns"]);
}

bool GgufTensorRules::changes(std::string_view gguf_name) const {
  return matches(fused_, gguf_name) || matches(queries_, gguf_name) ||
         std::any_of(additions_.begin(), additions_.end(),
                     [&](const Addition& a) { return matches(a.patterns, gguf_name); });
}

// Groups of query heads with their key and value head become all queries, then all keys, then all values.
void GgufTensorRules::apply(std::string_view gguf_name, const std::vector<int64_t>& shape,
                            std::vector<float>& values) const {
  for (const Addition& addition : additions_)
    if (matches(addition.patterns, gguf_name))
      for (float& value : values) value += addition.value;
  if (matches(queries_, gguf_name))
    for (float& value : values) value *= query_scale_;
  if (!matches(fused_, gguf_name)) return;
  if (shape.empty() || n_kv_heads_ <= 0 || shape[0] != (n_heads_ + 2 * n_kv_heads_) * head_dim_)
    throw_invalid("tensor '{}' has not the rows of {} query and twice {} key heads", gguf_name, n_heads_,
                  n_kv_heads_);
  const int64_t per_group = n_heads_ / n_kv_heads_;
  const auto head_size = static_cast<std::ptrdiff_t>(values.size()) / (n_heads_ + 2 * n_kv_heads_);
  std::vector<float> ordered(values.size());
  auto out = ordered.begin();
  const auto copy = [&](int64_t head) {
    out = std::copy_n(values.begin() + head * head_size, head_size, out);
  };
  for (int64_t group = 0; group < n_kv_heads_; ++group)
    for (int64_t i = 0; i < per_group; ++i) copy(group * (per_group + 2) + i);
  for (int64_t part = 0; part < 2; ++part)
    for (int64_t group = 0; group < n_kv_heads_; ++group) copy(group * (per_group + 2) + per_group + part);
  values = std::move(ordered);
}

}  // namespace llmhost::model
