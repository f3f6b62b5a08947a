#include "model/checkpoint_files.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/checkpoint_text.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

constexpr JsonLimits kIndexLimits = {.max_bytes = size_t{64} << 20, .max_depth = 8};
constexpr std::string_view kConvertHint =
    "a pickle, which can run code when read; convert it to safetensors (transformers: save_pretrained)";

bool is_pickle_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  constexpr std::array<std::string_view, 5> kPickles = {".bin", ".pt", ".pth", ".ckpt", ".pkl"};
  return std::find(kPickles.begin(), kPickles.end(), extension) != kPickles.end();
}

std::string first_bytes(const fs::path& path) {
  std::string magic(4, '\0');
  std::ifstream stream(path, std::ios::binary);
  stream.read(magic.data(), static_cast<std::streamsize>(magic.size()));
  magic.resize(static_cast<size_t>(stream.gcount()));
  return magic;
}

// False for what cannot be looked at as well; opening it will say why.
bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

CheckpointFiles single_file(const fs::path& path) {
  if (!is_file(path)) throw_invalid("{}: not a regular file", path.string());
  CheckpointFiles files{.folder = path.has_parent_path() ? path.parent_path() : fs::path("."),
                        .weights = {path}};
  const std::string magic = first_bytes(path);
  if (magic == "GGUF" || path.extension() == ".gguf") {
    files.format = CheckpointFormat::kGguf;
    return files;
  }
  if (path.extension() == ".safetensors") return files;
  if (is_pickle_name(path) || magic.starts_with("PK") || magic.starts_with('\x80'))
    throw_error(ErrorCode::kUnimplemented, "{}: {}", path.string(), kConvertHint);
  throw_invalid("{}: neither a .safetensors nor a GGUF file", path.string());
}

void check_shard_name(const std::string& shard, std::string_view source) {
  const bool plain = shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!plain || !shard.ends_with(".safetensors"))
    throw_invalid("{}: weight_map: '{}' is not the plain name of a .safetensors file", source,
                  printable(shard));
}

CheckpointFiles sharded(const fs::path& folder, const fs::path& index) {
  CheckpointFiles files{.folder = folder, .index_file = index};
  files.weight_map = parse_weight_map(read_file(index, kIndexLimits.max_bytes), index.string());
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : files.weight_map) shards.insert(shard);
  for (const std::string& shard : shards) {
    if (!is_file(folder / shard))
      throw_error(ErrorCode::kNotFound, "{}: shard '{}' is missing; download the model again", index.string(),
                  printable(shard));
    files.weights.push_back(folder / shard);
  }
  return files;
}

// Part 1 of each GGUF model in a folder.
std::vector<fs::path> gguf_models(const fs::path& folder) {
  std::vector<fs::path> models;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".gguf") continue;
    const size_t split = name.rfind("-of-");
    const bool later_part = split != std::string::npos && split >= 6 && name[split - 6] == '-' &&
                            name.substr(split - 5, 5) != "00001";
    if (!later_part) models.push_back(entry.path());
  }
  std::sort(models.begin(), models.end());
  return models;
}

[[noreturn]] void no_weights(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (is_pickle_name(entry.path()))
      throw_error(ErrorCode::kUnimplemented, "{}: the weights are in '{}', {}", folder.string(),
                  printable(name), kConvertHint);
    if (entry.path().extension() == ".safetensors")
      throw_error(ErrorCode::kNotFound,
                  "{}: there is no model.safetensors; name the file instead, such as '{}'", folder.string(),
                  printable(name));
  }
  throw_error(ErrorCode::kNotFound,
              "{}: no model.safetensors, model.safetensors.index.json or .gguf file in it", folder.string());
}

CheckpointFiles in_folder(const fs::path& folder) {
  if (is_file(folder / "model.safetensors"))
    return {.folder = folder, .weights = {folder / "model.safetensors"}};
  const fs::path index = folder / "model.safetensors.index.json";
  if (is_file(index)) return sharded(folder, index);
  const std::vector<fs::path> models = gguf_models(folder);
  if (models.size() > 1)
    throw_invalid("{}: holds {} GGUF models; name one, such as '{}'", folder.string(), models.size(),
                  printable(models.front().filename().string()));
  if (models.empty()) no_weights(folder);
  return {.format = CheckpointFormat::kGguf, .folder = folder, .weights = models};
}

}  // namespace

std::map<std::string, std::string> parse_weight_map(std::string_view text, std::string_view source) {
  const Json index = parse_json(text, source, kIndexLimits);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    throw_invalid("{}: weight_map is missing or not an object", source);
  std::map<std::string, std::string> result;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string()) throw_invalid("{}: weight_map: '{}' is not a string", source, printable(tensor));
    const std::string name = shard.get<std::string>();
    check_shard_name(name, source);
    result.emplace(tensor, name);
  }
  if (result.empty()) throw_invalid("{}: weight_map is empty", source);
  return result;
}

CheckpointFiles find_checkpoint_files(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) throw_error(ErrorCode::kNotFound, "{}: no such file or folder", path.string());
  try {
    return fs::is_directory(status) ? in_folder(path) : single_file(path);
  } catch (const fs::filesystem_error& failure) {
    throw_error(ErrorCode::kPermissionDenied, "{}: cannot list: {}", path.string(), failure.code().message());
  }
}

}  // namespace llmhost::model
