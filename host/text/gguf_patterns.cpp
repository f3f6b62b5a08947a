#include "text/gguf_patterns.h"

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/sha256.h"
#include "text/byte_level.h"
#include "text/tokenizer_registry.h"

namespace llmhost::text {
namespace {

std::vector<std::string> pieces_of(const PreTokenizer* pre_tokenizer, bool maps_bytes,
                                   const std::string& text) {
  Pieces cut(text, true);
  if (pre_tokenizer != nullptr) pre_tokenizer->apply(cut);
  std::vector<std::string> pieces;
  for (const Pieces::Range& range : cut.ranges)
    pieces.push_back(maps_bytes ? std::string(cut.piece(range)) : bytes_to_characters(cut.piece(range)));
  return pieces;
}

std::vector<std::string> differing(const CutBy& cut, const GgufPreset& preset,
                                   const std::vector<std::string>& texts) {
  std::vector<PreTokenizerPtr> steps;
  for (const std::string& pattern : preset.patterns)
    steps.push_back(make_regex_split(Regex(pattern, RegexFlavor::kPerl, "registry/tokenizers/gguf.yaml"),
                                     SplitBehavior::kIsolated, false));
  const PreTokenizerPtr patterns = make_pre_tokenizer_sequence(std::move(steps));
  std::vector<std::string> found;
  for (const std::string& text : texts)
    if (pieces_of(patterns.get(), false, text) != pieces_of(cut.own, cut.maps_bytes, text))
      found.push_back(text);
  return found;
}

}  // namespace

std::string known_gguf_patterns(const Tokenizer& tokenizer) {
  const GgufKnown known = known_gguf_tokenizers();
  const std::vector<int32_t> ids = tokenizer.encode(known.text, {.add_special = true});
  const auto found = known.names.find(to_hex(sha256(fmt::format("[{}]", fmt::join(ids, ", ")))));
  return found == known.names.end() ? std::string() : found->second;
}

GgufPatterns find_gguf_patterns(const CutBy& cut, const std::vector<std::string>& texts) {
  std::vector<std::string> ids = gguf_preferred_presets();
  const size_t n_usual = ids.size();
  for (std::string& id : gguf_preset_ids()) ids.push_back(std::move(id));
  GgufPatterns best{"", texts};
  bool is_alike = true;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto preset = find_gguf_preset(ids[i]);
    const bool is_candidate =
        preset && preset->byte_level && !preset->add_sep && preset->ignore_merges == cut.ignores_merges;
    if (!is_candidate) continue;
    std::vector<std::string> found = differing(cut, *preset, texts);
    const bool cleans_alike = !cut.cleans_spaces || preset->clean_spaces == *cut.cleans_spaces;
    const bool is_better =
        found.size() < best.cut_differently.size() ||
        (found.size() == best.cut_differently.size() && i < n_usual && cleans_alike && !is_alike);
    if (!is_better) continue;
    best = {ids[i], std::move(found)};
    is_alike = cleans_alike;
  }
  return best;
}

std::vector<std::string> cut_differently(const CutBy& cut, const std::string& name,
                                         const std::vector<std::string>& texts) {
  const auto preset = find_gguf_preset(name);
  if (!preset)
    throw UsageError(fmt::format("'{}' is no known name of patterns (registry/tokenizers/gguf.yaml)", name));
  return differing(cut, *preset, texts);
}

}  // namespace llmhost::text
