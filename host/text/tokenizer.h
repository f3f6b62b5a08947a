// Text to token ids and back. A Tokenizer is constant after construction; every method is [thread-safe].
//
// encode() takes any bytes: invalid UTF-8 is read as U+FFFD, except where the format is defined on raw bytes
// (byte ranks). decode() always returns valid UTF-8; ids outside the vocabulary decode to nothing.
// StreamDecoder gives the same text as decode() piece by piece and never splits a character.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::text {

struct EncodeOptions {
  bool add_special = false;   // BOS, EOS and what the file's post-processor adds
  bool parse_special = true;  // special tokens written in the text become their ids
};

struct DecodeOptions {
  bool skip_special = false;
};

// Ids of the tokens with a role; absent where the files name none. `stop` holds every id that ends a
// generation.
struct SpecialIds {
  std::optional<int32_t> bos, eos, eot, pad, unk;
  std::vector<int32_t> stop;
};

// One decoding in progress; made by Tokenizer::new_decoding(). Appends to `out` the text that has become
// certain.
class Decoding {
 public:
  virtual ~Decoding() = default;
  virtual void push(int32_t id, std::string& out) = 0;
  virtual void finish(std::string& out) = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const = 0;
  std::vector<int32_t> encode(std::string_view text) const { return encode(text, EncodeOptions{}); }
  std::string decode(std::span<const int32_t> ids, const DecodeOptions& options = {}) const;
  virtual std::unique_ptr<Decoding> new_decoding(const DecodeOptions& options) const = 0;

  // Largest id plus one.
  virtual int32_t vocab_size() const = 0;
  // The piece as the file writes it (byte-level pieces stay mapped); empty for an unused id.
  virtual std::string piece_of(int32_t id) const = 0;
  virtual std::optional<int32_t> id_of(std::string_view piece) const = 0;
  // Dropped by skip_special.
  virtual bool is_special(int32_t id) const = 0;
  // Has no text of its own (BOS, turn markers …); the same as special where a format does not tell them
  // apart.
  virtual bool is_control(int32_t id) const { return is_special(id); }

  const SpecialIds& special_ids() const { return special_ids_; }
  void set_special_ids(SpecialIds ids) { special_ids_ = std::move(ids); }
  // Whether encode(add_special) puts BOS first or EOS last.
  bool adds_bos() const;
  bool adds_eos() const;

 private:
  SpecialIds special_ids_;
};

// Feeds ids one by one: push() returns the text that is certain now, finish() the rest.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, const DecodeOptions& options = {})
      : decoding_(tokenizer.new_decoding(options)) {}
  std::string push(int32_t id);
  std::string finish();

 private:
  std::unique_ptr<Decoding> decoding_;
};

// Accepts a model folder (tokenizer.json, else tokenizer.model), a tokenizer.json, a .model file or a .gguf
// file.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path);

// A tokenizer.json held in memory; `source` names it in errors.
std::shared_ptr<const Tokenizer> load_tokenizer_json(std::string_view json, std::string_view source);

}  // namespace llmhost::text
