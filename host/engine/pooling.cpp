#include "engine/pooling.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/json.h"

namespace llmhost::engine {
namespace {

using Mode = PoolingOptions::Mode;

struct NamedMode {
  std::string_view key;   // that is true in the config
  std::string_view name;  // as newer versions write it
  Mode mode;
};

constexpr NamedMode kModes[] = {
    {"pooling_mode_cls_token", "cls", Mode::kFirst},
    {"pooling_mode_mean_tokens", "mean", Mode::kMean},
    {"pooling_mode_max_tokens", "max", Mode::kMax},
    {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Mode::kMeanSqrtLength},
    {"pooling_mode_weightedmean_tokens", "weightedmean", Mode::kWeightedMean},
    {"pooling_mode_lasttoken", "lasttoken", Mode::kLast},
};

constexpr JsonLimits kLimits{.max_bytes = size_t{1} << 20, .max_depth = 16};

std::string text_at(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

void read_mode(const std::filesystem::path& file, PoolingOptions& options) {
  const Json config = read_json_file(file, kLimits);
  if (!config.is_object()) throw_invalid("{}: expected an object", file.string());
  const std::string name = text_at(config, "pooling_mode");
  int n_modes = 0;
  for (const NamedMode& known : kModes) {
    const auto flag = config.find(known.key);
    const bool is_set = flag != config.end() && flag->is_boolean() && flag->get<bool>();
    if (!is_set && name != known.name) continue;
    options.mode = known.mode;
    ++n_modes;
  }
  if (n_modes == 1) return;
  options.unsupported =
      n_modes > 1 ? "it joins several ways of pooling" : "it pools in a way that is not known";
}

// "sentence_transformers.models.Pooling", or with the module's file between: the class alone.
std::string class_of(const Json& module) {
  const std::string type = text_at(module, "type");
  return type.substr(type.rfind('.') + 1);
}

void read_modules(const std::filesystem::path& folder, PoolingOptions& options) {
  const std::filesystem::path file = folder / "modules.json";
  const Json modules = read_json_file(file, kLimits);
  if (!modules.is_array()) throw_invalid("{}: expected an array of modules", file.string());
  options.normalise = false;
  for (const Json& module : modules) {
    const std::string type = class_of(module);
    if (type == "Pooling") {
      const std::filesystem::path path = text_at(module, "path");
      if (path.is_absolute() || path.lexically_normal().native().starts_with(".."))
        throw_invalid("{}: the path of a module leads out of the model's folder", file.string());
      read_mode(folder / path / "config.json", options);
    } else if (type == "Normalize") {
      options.normalise = true;
    } else if (type != "Transformer") {
      options.unsupported = "modules.json has a module '" + type + "', which is not supported";
    }
  }
}

}  // namespace

PoolingOptions read_pooling(const std::filesystem::path& model_folder) {
  PoolingOptions options;
  const std::filesystem::path config = model_folder / "1_Pooling" / "config.json";
  if (std::filesystem::exists(model_folder / "modules.json"))
    read_modules(model_folder, options);
  else if (std::filesystem::exists(config))
    read_mode(config, options);
  return options;
}

Pooler::Pooler(const PoolingOptions& options, int64_t hidden_size)
    : options_(options), hidden_size_(static_cast<size_t>(hidden_size)), values_(hidden_size_, 0) {
  if (!options.unsupported.empty())
    throw_error(ErrorCode::kUnimplemented, "the model makes no embeddings: {}", options.unsupported);
}

void Pooler::add(std::span<const float> rows) {
  if (hidden_size_ == 0 || rows.size() % hidden_size_ != 0)
    throw_error(ErrorCode::kInternal, "pooling: {} numbers are no rows of {}", rows.size(), hidden_size_);
  for (; !rows.empty(); rows = rows.subspan(hidden_size_)) add_row(rows.first(hidden_size_));
}

void Pooler::add_row(std::span<const float> row) {
  const bool is_first = n_rows_++ == 0;
  const auto weight = options_.mode == Mode::kWeightedMean ? static_cast<double>(n_rows_) : 1.0;
  switch (options_.mode) {
    case Mode::kFirst:
      if (!is_first) return;
      [[fallthrough]];
    case Mode::kLast:
      std::ranges::copy(row, values_.begin());
      return;
    case Mode::kMax:
      for (size_t i = 0; i < hidden_size_; ++i)
        values_[i] = is_first ? double{row[i]} : std::max(values_[i], double{row[i]});
      return;
    case Mode::kMean:
    case Mode::kWeightedMean:
    case Mode::kMeanSqrtLength:
      for (size_t i = 0; i < hidden_size_; ++i) values_[i] += weight * double{row[i]};
      return;
  }
}

std::vector<float> Pooler::finish(int64_t dimensions) const {
  if (n_rows_ == 0) throw_error(ErrorCode::kInternal, "pooling: no row of the text was given");
  if (dimensions < 0 || std::cmp_greater(dimensions, hidden_size_))
    throw_invalid("dimensions: got {}, expected 1 to {}", dimensions, hidden_size_);
  const auto n = static_cast<double>(n_rows_);
  double divisor = 1;
  if (options_.mode == Mode::kMean) divisor = n;
  if (options_.mode == Mode::kWeightedMean) divisor = n * (n + 1) / 2;
  if (options_.mode == Mode::kMeanSqrtLength) divisor = std::sqrt(n);
  const std::span<const double> kept =
      std::span(values_).first(dimensions == 0 ? hidden_size_ : static_cast<size_t>(dimensions));
  if (options_.normalise) {
    double squares = 0;
    for (const double value : kept) squares += (value / divisor) * (value / divisor);
    divisor *= std::max(std::sqrt(squares), 1e-12);  // a vector of zeros stays one
  }
  std::vector<float> vector;
  vector.reserve(kept.size());
  for (const double value : kept) vector.push_back(static_cast<float>(value / divisor));
  return vector;
}

}  // namespace llmhost::engine
