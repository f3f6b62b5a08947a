#include "model/checkpoint.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/checkpoint_files.h"
#include "model/checkpoint_text.h"
#include "model/gguf.h"
#include "model/gguf_config.h"
#include "model/quantised.h"
#include "model/safetensors.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

constexpr JsonLimits kConfigLimits = {.max_bytes = size_t{4} << 20, .max_depth = 32};

}  // namespace

struct Checkpoint::State {
  CheckpointFormat format = CheckpointFormat::kSafetensors;
  fs::path path;
  fs::path folder;
  std::vector<fs::path> files;
  std::vector<SafetensorsFile> safetensors;
  std::optional<GgufFile> gguf;
  std::vector<CheckpointTensor> tensors;
  std::vector<uint32_t> by_name;
  std::optional<Json> config;
  std::string config_file;
  std::map<std::string, std::string> sources;
  GenerationConfig generation;
  QuantisedWeights quantised;  // its tensors have moved to the ones above

  void open_gguf(const fs::path& file);
  void open_safetensors(const std::vector<fs::path>& paths);
  void read_configs();
  void index_names();
  void join_quantised();
  const CheckpointTensor* find(std::string_view name) const;
};

void Checkpoint::State::open_gguf(const fs::path& file) {
  format = CheckpointFormat::kGguf;
  gguf = GgufFile::open(file);
  files = gguf->part_paths();
  for (const GgufTensor& tensor : gguf->tensors()) {
    const bool known = tensor.dtype != LLMH_DTYPE_INVALID;
    tensors.push_back({.name = tensor.name,
                       .file = tensor.file,
                       .stored_type = known ? std::string(llmh_dtype_layout_of(tensor.dtype).name)
                                            : fmt::format("ggml type {}", tensor.ggml_type),
                       .dtype = tensor.dtype,
                       .shape = tensor.shape(),
                       .bytes = {tensor.begin, static_cast<size_t>(tensor.size_bytes)}});
  }
  GgufConfig converted = gguf_to_config(*gguf);
  config = std::move(converted.config);
  config_file = gguf->name();
  sources = std::move(converted.sources);
  generation = gguf_generation_config(*gguf);
}

void Checkpoint::State::open_safetensors(const std::vector<fs::path>& paths) {
  for (const fs::path& file : paths) {
    safetensors.push_back(SafetensorsFile::open(file));
    files.push_back(file);
  }
  for (const SafetensorsFile& file : safetensors)
    for (const SafetensorsTensor& tensor : file.tensors())
      tensors.push_back({.name = tensor.name,
                         .file = tensor.file,
                         .stored_type = tensor.dtype_name,
                         .dtype = tensor.dtype,
                         .shape = tensor.shape,
                         .bytes = {tensor.begin, static_cast<size_t>(tensor.size_bytes)}});
}

void Checkpoint::State::read_configs() {
  const fs::path config_path = folder / "config.json";
  const fs::path generation_path = folder / "generation_config.json";
  std::error_code ignored;
  if (fs::exists(generation_path, ignored))
    generation = parse_generation_config(read_model_config(generation_path), generation_path.string());
  if (!fs::exists(config_path, ignored)) return;
  config = read_model_config(config_path);
  config_file = config_path.string();
  // Configs of before generation_config.json hold the same keys. A nested text model may have its own.
  generation.fill_from(parse_generation_config(*config, config_file));
  const auto text_config = config->find("text_config");
  if (text_config != config->end() && text_config->is_object())
    generation.fill_from(parse_generation_config(*text_config, config_file + ": text_config"));
}

void Checkpoint::State::index_names() {
  by_name.resize(tensors.size());
  std::iota(by_name.begin(), by_name.end(), 0U);
  std::sort(by_name.begin(), by_name.end(),
            [&](uint32_t a, uint32_t b) { return tensors[a].name < tensors[b].name; });
  const auto same = std::adjacent_find(by_name.begin(), by_name.end(), [&](uint32_t a, uint32_t b) {
    return tensors[a].name == tensors[b].name;
  });
  if (same != by_name.end())
    throw_invalid("{}: tensor '{}' is also in {}", tensors[*same].file, printable(tensors[*same].name),
                  tensors[*(same + 1)].file);
}

void Checkpoint::State::join_quantised() {
  if (format != CheckpointFormat::kSafetensors || !config || tensors.empty()) return;
  quantised =
      read_quantised(tensors, *config, config_file, folder);  // a copy: nothing changes when it throws
  tensors = std::move(quantised.tensors);
  index_names();
}

const CheckpointTensor* Checkpoint::State::find(std::string_view name) const {
  const auto found =
      std::lower_bound(by_name.begin(), by_name.end(), name,
                       [&](uint32_t i, std::string_view wanted) { return tensors[i].name < wanted; });
  if (found == by_name.end() || tensors[*found].name != name) return nullptr;
  return &tensors[*found];
}

int64_t CheckpointTensor::element_count() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

std::span<const std::byte> CheckpointTensor::data() const {
  if (dtype == LLMH_DTYPE_INVALID)
    throw_error(ErrorCode::kUnimplemented,
                "{}: tensor '{}' has type '{}', which is not supported; convert the model", file,
                printable(name), printable(stored_type));
  if (decoder != nullptr)
    throw_error(ErrorCode::kInternal, "{}: tensor '{}' of type {} has to be decoded", file, printable(name),
                stored_type);
  return bytes;
}

Checkpoint Checkpoint::open(const fs::path& path) {
  const CheckpointFiles found = find_checkpoint_files(path);
  auto state = std::make_unique<State>();
  state->path = path;
  state->folder = found.folder;
  if (found.format == CheckpointFormat::kGguf) {
    state->open_gguf(found.weights.front());
    state->index_names();
  } else {
    state->read_configs();
    state->open_safetensors(found.weights);
    state->index_names();
    for (const auto& [tensor, shard] : found.weight_map) {
      const CheckpointTensor* entry = state->find(tensor);
      if (entry == nullptr || fs::path(entry->file).filename() != shard)
        throw_invalid("{}: weight_map: tensor '{}' is not in '{}'", found.index_file.string(),
                      printable(tensor), printable(shard));
    }
  }
  return Checkpoint(std::move(state));
}

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;

CheckpointFormat Checkpoint::format() const {
  return state_->format;
}
const fs::path& Checkpoint::path() const {
  return state_->path;
}
const fs::path& Checkpoint::folder() const {
  return state_->folder;
}
const std::vector<fs::path>& Checkpoint::files() const {
  return state_->files;
}
void Checkpoint::join_quantised() {
  state_->join_quantised();
}
const std::string& Checkpoint::quantisation_key() const {
  return state_->quantised.config_key;
}
const std::vector<std::string>& Checkpoint::unread_quantisation_keys() const {
  return state_->quantised.unread_keys;
}
std::span<const CheckpointTensor> Checkpoint::tensors() const {
  return state_->tensors;
}
const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  return state_->find(name);
}

uint64_t Checkpoint::weight_bytes() const {
  uint64_t total = 0;
  for (const CheckpointTensor& tensor : state_->tensors) total += tensor.stored_bytes();
  return total;
}

uint64_t Checkpoint::file_bytes() const {
  if (state_->gguf) return state_->gguf->file_bytes();
  uint64_t total = 0;
  for (const SafetensorsFile& file : state_->safetensors) total += file.file_bytes();
  return total;
}

const nlohmann::json& Checkpoint::config() const {
  if (!state_->config)
    throw_error(ErrorCode::kNotFound, "{}: there is no config.json; a model needs one beside its weights",
                state_->folder.string());
  return *state_->config;
}

std::string_view Checkpoint::config_source(std::string_view key) const {
  const auto found = state_->sources.find(std::string(key));
  return found == state_->sources.end() ? key : std::string_view(found->second);
}

const std::string& Checkpoint::config_file() const {
  return state_->config_file;
}
const GenerationConfig& Checkpoint::generation_config() const {
  return state_->generation;
}
const GgufFile* Checkpoint::gguf() const {
  return state_->gguf ? &*state_->gguf : nullptr;
}

nlohmann::json parse_model_config(std::string_view text, std::string_view source) {
  Json config = parse_json(text, source, kConfigLimits);
  if (!config.is_object()) throw_invalid("{}: is not a JSON object", source);
  return config;
}

nlohmann::json read_model_config(const fs::path& path) {
  return parse_model_config(read_file(path, kConfigLimits.max_bytes), path.string());
}

}  // namespace llmhost::model
