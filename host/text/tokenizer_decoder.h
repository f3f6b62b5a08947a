// Decoders of tokenizer.json as a chain that takes token texts one by one, so that decoding a whole sequence
// and decoding it piece by piece are the same computation. Specifications are constant; a DecoderChain is one
// decoding in progress.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_regex.h"

namespace llmhost::text {

struct DecoderSpec {
  enum class Kind {
    kByteLevel,
    kByteFallback,
    kMetaspace,
    kReplace,
    kReplaceRegex,
    kFuse,
    kStrip,
    kWordPiece,
    kBpe,
    kCtc
  };
  Kind kind = Kind::kFuse;
  std::string from = {};                    // replaced text, prefix, suffix, pad token, stripped character
  std::string to = {};                      // replacement, word delimiter
  std::shared_ptr<const Regex> regex = {};  // kReplaceRegex
  size_t strip_start = 0;
  size_t strip_stop = 0;
  bool flag = false;  // kMetaspace: drops the leading replacement; kWordPiece, kCtc: clean up
};

class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  virtual void push(std::string_view token) = 0;
  virtual void finish() { next_->finish(); }
  void set_next(DecoderStep* next) { next_ = next; }

 protected:
  DecoderStep* next_ = nullptr;
};

class DecoderChain {
 public:
  // Without specifications the tokens are joined by spaces. `specs` must outlive the chain.
  explicit DecoderChain(const std::vector<DecoderSpec>& specs);
  ~DecoderChain();
  void push(std::string_view token, std::string& out);
  void finish(std::string& out);

 private:
  class Output;
  std::vector<std::unique_ptr<DecoderStep>> steps_;
  Output* output_ = nullptr;
};

}  // namespace llmhost::text
