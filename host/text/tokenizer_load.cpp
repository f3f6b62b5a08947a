// Chooses the reader for a path.
#include "core/error.h"
#include "core/file.h"
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

std::shared_ptr<const Tokenizer> load_folder(const fs::path& folder) {
  const TokenizerConfig config = read_tokenizer_config(folder);
  const fs::path json = folder / "tokenizer.json";
  if (fs::exists(json)) return finish(make_json_tokenizer(read_file(json), json.string()), config);
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"})
    if (fs::exists(folder / name)) return load_model_file(folder / name, config);
  throw_error(ErrorCode::kNotFound,
              "{}: no tokenizer.json and no tokenizer.model; name a folder that has one, or a .gguf file",
              folder.string());
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& path) {
  if (!fs::exists(path)) throw_error(ErrorCode::kNotFound, "{}: no such file or folder", path.string());
  if (fs::is_directory(path)) return load_folder(path);
  if (path.extension() == ".gguf") return finish(make_gguf_tokenizer(path), {});
  if (path.extension() != ".json") return load_model_file(path, {});
  return finish(make_json_tokenizer(read_file(path), path.string()),
                read_tokenizer_config(path.parent_path()));
}

std::shared_ptr<const Tokenizer> load_tokenizer_json(std::string_view json, std::string_view source) {
  return finish(make_json_tokenizer(json, source), {});
}

}  // namespace llmhost::text
