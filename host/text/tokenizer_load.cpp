#include "core/error.h"
#include "core/file.h"
#include "text/tokenizer.h"

namespace llmhost::text {

std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  auto p = path;
  if (std::filesystem::is_directory(p)) p /= "tokenizer.json";
  return load_tokenizer_json(read_file(p), p.string());
}

}  // namespace llmhost::text
