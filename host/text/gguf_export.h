// A model folder's tokenizer in the form that GGUF files have: pieces, types, scores or merges, and the name
// of the patterns that cut the text first, which is found by trying them on a text that tells them apart.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/gguf_writer.h"
#include "text/gguf_vocab.h"
#include "text/tokenizer.h"

namespace llmhost::text {

struct GgufTokenizer {
  std::string model;                 // tokenizer.ggml.model
  std::string pre;                   // tokenizer.ggml.pre
  std::vector<std::string> pieces;   // by id, without a gap
  std::vector<GgufTokenType> types;  // by id
  std::vector<float> scores;         // by id; empty: the form has none
  std::vector<std::string> merges;   // "left right"
  SpecialIds special;
  bool add_bos = false;
  bool add_eos = false;
  std::optional<bool> add_space_prefix;
  std::optional<bool> merges_spaces;  // tokenizer.ggml.remove_extra_whitespaces
  std::string charsmap;               // tokenizer.ggml.precompiled_charsmap; empty: none
  std::vector<std::string> notes;     // one line each: what the form cannot express
  std::vector<std::string> probes;    // texts for which it gives the same ids, if it is right
  bool same_after_special = true;     // and for what follows a special token
};

// `rows`: of the model's embedding; ids without a piece are filled up to there. `pre`: the name of the
// patterns, empty to find it. Throws kUnimplemented for a tokenizer that has no such form.
GgufTokenizer gguf_tokenizer(const std::filesystem::path& folder, int64_t rows, const std::string& pre);

void write_gguf_tokenizer(const GgufTokenizer& tokenizer, model::GgufWriter& writer);

// Whether a tokenizer gives the ids of the original for the probes of what was made of it: empty when it
// does, else the first text that they see differently.
std::string first_difference(const Tokenizer& original, const Tokenizer& written, const GgufTokenizer& made);

// The probes for which the form, written and read again, gives other ids; too many: a share that is no
// tokenizer of the same kind.
std::vector<std::string> differing_when_written(const Tokenizer& original, const GgufTokenizer& made);
bool too_many(const std::vector<std::string>& differing);

}  // namespace llmhost::text
