// A tokenizer in the form of GGUF files, written and compared with what it was made from.
#include <stdlib.h>

#include <filesystem>
#include <span>

#include "core/error.h"
#include "text/gguf_export.h"
#include "text/tokenizer_registry.h"

namespace llmhost::text {

void write_gguf_tokenizer(const GgufTokenizer& tokenizer, model::GgufWriter& writer) {
  writer.set("tokenizer.ggml.model", tokenizer.model);
  writer.set("tokenizer.ggml.pre", tokenizer.pre);
  writer.set("tokenizer.ggml.tokens", std::span<const std::string>(tokenizer.pieces));
  if (!tokenizer.scores.empty())
    writer.set("tokenizer.ggml.scores", std::span<const float>(tokenizer.scores));
  std::vector<int32_t> types;
  for (const GgufTokenType type : tokenizer.types) types.push_back(static_cast<int32_t>(type));
  writer.set("tokenizer.ggml.token_type", std::span<const int32_t>(types));
  if (!tokenizer.merges.empty())
    writer.set("tokenizer.ggml.merges", std::span<const std::string>(tokenizer.merges));
  const auto id = [&](const char* key, const std::optional<int32_t>& value) {
    if (value) writer.set(key, static_cast<uint32_t>(*value));
  };
  id("tokenizer.ggml.bos_token_id", tokenizer.special.bos);
  id("tokenizer.ggml.eos_token_id", tokenizer.special.eos);
  id("tokenizer.ggml.eot_token_id", tokenizer.special.eot);
  id("tokenizer.ggml.unknown_token_id", tokenizer.special.unk);
  id("tokenizer.ggml.padding_token_id", tokenizer.special.pad);
  writer.set("tokenizer.ggml.add_bos_token", tokenizer.add_bos);
  writer.set("tokenizer.ggml.add_eos_token", tokenizer.add_eos);
  if (tokenizer.add_space_prefix) writer.set("tokenizer.ggml.add_space_prefix", *tokenizer.add_space_prefix);
  if (tokenizer.merges_spaces)
    writer.set("tokenizer.ggml.remove_extra_whitespaces", *tokenizer.merges_spaces);
  if (!tokenizer.charsmap.empty())
    writer.set_bytes("tokenizer.ggml.precompiled_charsmap", std::as_bytes(std::span(tokenizer.charsmap)));
}

std::string first_difference(const Tokenizer& original, const Tokenizer& written, const GgufTokenizer& made) {
  std::vector<std::string> texts = made.probes;
  std::string with_special = "before";
  for (const auto& id : {made.special.bos, made.special.eos, made.special.eot})
    if (id) with_special += made.pieces.at(static_cast<size_t>(*id)) + "between ";
  if (made.same_after_special) texts.push_back(with_special + "after");
  for (const std::string& text : texts)
    for (const bool add_special : {false, true}) {
      const EncodeOptions options{.add_special = add_special};
      if (original.encode(text, options) != written.encode(text, options)) return text;
    }
  return {};
}

std::vector<std::string> differing_when_written(const Tokenizer& original, const GgufTokenizer& made) {
  namespace fs = std::filesystem;
  std::string path = (fs::temp_directory_path() / "tokenizer-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr)
    throw_error(ErrorCode::kPermissionDenied, "{}: cannot make a temporary folder", path);
  const fs::path file = fs::path(path) / "tokenizer.gguf";
  std::shared_ptr<const Tokenizer> written;
  {
    model::GgufWriter writer(file);
    write_gguf_tokenizer(made, writer);
    writer.finish();
    written = load_tokenizer(file);
  }
  fs::remove_all(path);
  std::vector<std::string> found;
  for (const std::string& probe : made.probes)
    if (original.encode(probe) != written->encode(probe)) found.push_back(probe);
  return found;
}

bool too_many(const std::vector<std::string>& differing) {
  return differing.size() * 3 > tokenizer_probes().size();
}

}  // namespace llmhost::text
