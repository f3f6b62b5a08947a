// Chooses the reader for a path.
#include <fstream>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "model/checkpoint_files.h"
#include "text/tokenizer_files.h"

namespace llmhost::text {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<const Tokenizer> finish(const std::shared_ptr<Tokenizer>& tokenizer,
                                        const TokenizerConfig& config) {
  tokenizer->set_special_ids(special_ids_of(*tokenizer, config, tokenizer->special_ids()));
  return tokenizer;
}

std::shared_ptr<const Tokenizer> load_model_file(const fs::path& path, const TokenizerConfig& config) {
  const std::string bytes = read_file(path);
  if (!looks_like_rank_file(bytes))
    return finish(make_sentencepiece_tokenizer(bytes, path.string(), config), config);
  const fs::path settings = path.parent_path() / "tiktoken_config.json";
  return finish(make_rank_tokenizer(bytes, path.string(), fs::exists(settings) ? settings : fs::path()),
                config);
}

// The GGUF model that a folder holds and nothing else, as the checkpoint reader finds it.
std::optional<fs::path> only_gguf_of(const fs::path& folder) {
  try {
    const model::CheckpointFiles files = model::find_checkpoint_files(folder);
    if (files.format == model::CheckpointFormat::kGguf) return files.weights.front();
  } catch (const Error&) {
    return std::nullopt;  // no model at all: the caller says what is missing
  }
  return std::nullopt;
}

bool is_gguf_file(const fs::path& path) {
  if (path.extension() == ".gguf") return true;
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

std::shared_ptr<const Tokenizer> load_folder(const fs::path& folder) {
  const TokenizerConfig config = read_tokenizer_config(folder);
  const fs::path json = folder / "tokenizer.json";
  if (fs::exists(json)) return finish(make_json_tokenizer(read_file(json), json.string()), config);
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"})
    if (fs::exists(folder / name)) return load_model_file(folder / name, config);
  if (const auto gguf = only_gguf_of(folder)) return finish(make_gguf_tokenizer(*gguf), {});
  throw_error(ErrorCode::kNotFound,
              "{}: no tokenizer.json and no tokenizer.model; name a folder that has one, or a .gguf file",
              folder.string());
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& path) {
  if (!fs::exists(path)) throw_error(ErrorCode::kNotFound, "{}: no such file or folder", path.string());
  if (fs::is_directory(path)) return load_folder(path);
  if (path.extension() == ".safetensors")
    return load_folder(path.has_parent_path() ? path.parent_path() : ".");
  if (is_gguf_file(path)) return finish(make_gguf_tokenizer(path), {});
  if (path.extension() != ".json") return load_model_file(path, {});
  return finish(make_json_tokenizer(read_file(path), path.string()),
                read_tokenizer_config(path.parent_path()));
}

std::shared_ptr<const Tokenizer> load_tokenizer_json(std::string_view json, std::string_view source) {
  return finish(make_json_tokenizer(json, source), {});
}

}  // namespace llmhost::text
