#include "model/gguf_rope.h"

#include <cmath>
#include <numbers>
#include <string>

#include "core/error.h"

namespace llmhost::model {
namespace {

// The object that holds it: of older configs, of newer ones, of one kind of layer.
const Json& section(const ConfigPath& config) {
  const Json& older = config.find("rope_scaling");
  if (older.is_object()) return older;
  const Json& layers = config.find("rope_parameters.full_attention");
  return layers.is_object() ? layers : config.find("rope_parameters");
}

std::string type_of(const Json& scaling) {
  if (!scaling.is_object()) return "default";
  for (const char* key : {"rope_type", "type"})
    if (const auto found = scaling.find(key); found != scaling.end() && found->is_string()) return *found;
  return "default";
}

class Scaling {
 public:
  Scaling(const ConfigPath& config, const llmh_model_info& info, GgufMetadata& out)
      : config_(config), values_(section(config)), info_(info), out_(out) {}

  void add() {
    const std::string type = type_of(values_);
    if (type == "default" || type == "dynamic") return;
    if (type == "linear") {
      text("type", "linear");
      number("factor", require("factor"));
    } else if (type == "llama3") {
      add_bands();
    } else if (type == "yarn") {
      add_yarn();
    } else if (type == "longrope" || type == "su") {
      add_longrope();
    } else {
      throw_error(ErrorCode::kUnimplemented, "GGUF files have no rotary scaling '{}'", type);
    }
  }

 private:
  double number_or(const char* key, double otherwise) const {
    const auto found = values_.find(key);
    return found != values_.end() && found->is_number() ? found->get<double>() : otherwise;
  }
  double require(const char* key) const {
    const double value = number_or(key, std::nan(""));
    if (!std::isfinite(value)) throw_invalid("config: the rotary scaling has no '{}'", key);
    return value;
  }
  double theta() const {
    for (const char* path :
         {"rope_theta", "rope_parameters.full_attention.rope_theta", "rope_parameters.rope_theta"})
      if (const Json& found = config_.find(path); found.is_number()) return found.get<double>();
    return 10000.0;
  }
  double original_context() const {
    const Json& top = config_.find("original_max_position_embeddings");
    if (top.is_number()) return top.get<double>();
    const Json& positions = config_.find("max_position_embeddings");
    return number_or("original_max_position_embeddings",
                     positions.is_number() ? positions.get<double>() : 2048.0);
  }

  void text(const char* key, const std::string& value) {
    out_.entries.push_back({std::string("rope.scaling.") + key, value});
  }
  void number(const char* key, double value) {
    out_.entries.push_back({std::string("rope.scaling.") + key, static_cast<float>(value)});
  }
  void original_length() {
    out_.entries.push_back(
        {"rope.scaling.original_context_length", static_cast<uint32_t>(original_context())});
  }

  // A divisor of each frequency, by its wave length (Llama 3.1).
  void add_bands() {
    const double factor = require("factor"), low = require("low_freq_factor"),
                 high = require("high_freq_factor");
    const double original = require("original_max_position_embeddings");
    GgufExtraTensor tensor{"rope_freqs.weight", {}};
    for (int32_t i = 0; i < info_.head_dim / 2; ++i) {
      const double wave = 2 * std::numbers::pi * std::pow(theta(), 2.0 * i / info_.head_dim);
      double divisor = 1;
      if (wave > original / low)
        divisor = factor;
      else if (wave >= original / high) {
        const double share = (original / wave - low) / (high - low);
        divisor = 1 / ((1 - share) / factor + share);
      }
      tensor.values.push_back(static_cast<float>(divisor));
    }
    out_.tensors.push_back(std::move(tensor));
  }

  void add_yarn() {
    const double factor = require("factor");
    const double by_itself = factor <= 1 ? 1 : 0.1 * std::log(factor) + 1;
    double attention = number_or("attention_factor", by_itself);
    const double mscale = number_or("mscale", 0), all_dim = number_or("mscale_all_dim", 0);
    if (!values_.contains("attention_factor") && mscale != 0 && all_dim != 0)
      attention = (0.1 * mscale * std::log(factor) + 1) / (0.1 * all_dim * std::log(factor) + 1);
    if (const auto truncate = values_.find("truncate"); truncate != values_.end() && *truncate == false)
      throw_error(ErrorCode::kUnimplemented, "GGUF files have no yarn with 'truncate' false");
    text("type", "yarn");
    number("factor", factor);
    original_length();
    if (attention != by_itself) number("attn_factor", attention / by_itself);
    for (const char* key : {"beta_fast", "beta_slow"})
      if (values_.contains(key) && values_[key].is_number())
        number((std::string("yarn_") + key).c_str(), require(key));
  }

  void add_longrope() {
    for (const char* key : {"short_mscale", "long_mscale"})
      if (values_.contains(key) && number_or("short_mscale", 0) != number_or("long_mscale", 0))
        throw_error(ErrorCode::kUnimplemented, "GGUF files have one attention factor, not '{}' by length",
                    key);
    const Json& positions = config_.find("max_position_embeddings");
    const double original = original_context();
    const double stretch =
        number_or("factor", positions.is_number() ? positions.get<double>() / original : 1.0);
    const double by_length = stretch <= 1 ? 1 : std::sqrt(1 + std::log(stretch) / std::log(original));
    number("attn_factor", number_or("attention_factor", number_or("short_mscale", by_length)));
    original_length();
    for (const auto& [key, name] : {std::pair("long_factor", "rope_factors_long.weight"),
                                    std::pair("short_factor", "rope_factors_short.weight")}) {
      const auto factors = values_.find(key);
      if (factors == values_.end() || !factors->is_array())
        throw_invalid("config: the rotary scaling has no list '{}'", key);
      GgufExtraTensor tensor{name, {}};
      for (const Json& factor : *factors) tensor.values.push_back(factor.get<float>());
      out_.tensors.push_back(std::move(tensor));
    }
  }

  const ConfigPath& config_;
  const Json& values_;
  const llmh_model_info& info_;
  GgufMetadata& out_;
};

}  // namespace

bool is_dynamic_rope(const ConfigPath& config) {
  return type_of(section(config)) == "dynamic";
}

void add_rope_scaling(const ConfigPath& config, const llmh_model_info& info, GgufMetadata& out) {
  Scaling(config, info, out).add();
}

}  // namespace llmhost::model
