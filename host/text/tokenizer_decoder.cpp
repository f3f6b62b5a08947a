#include "text/tokenizer_decoder.h"

#include <algorithm>

#include "text/byte_level.h"
#include "text/normalizer.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text {

class DecoderChain::Output final : public DecoderStep {
 public:
  void push(std::string_view token) override { target->append(token); }
  void finish() override {}
  std::string* target = nullptr;
};

namespace {

// The clean-up that BERT-like tokenizers do around punctuation and English contractions.
std::string clean_up(std::string_view text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  std::string out(text);
  for (const auto& [from, to] : kRules) out = replace_all(out, from, to);
  return out;
}

class JoinWithSpaces final : public DecoderStep {
 public:
  void push(std::string_view token) override {
    if (!first_) next_->push(" ");
    first_ = false;
    next_->push(token);
  }

 private:
  bool first_ = true;
};

class ByteLevelStep final : public DecoderStep {
 public:
  void push(std::string_view token) override {
    std::string bytes;
    if (!append_characters_as_bytes(token, bytes)) bytes = token;
    emit([&](std::string& text) { assembler_.push(bytes, text); });
  }
  void finish() override {
    emit([&](std::string& text) { assembler_.finish(text); });
    next_->finish();
  }

 private:
  template <class Fill>
  void emit(const Fill& fill) {
    std::string text;
    fill(text);
    if (!text.empty()) next_->push(text);
  }
  Utf8Assembler assembler_;
};

// A run of byte tokens is text if all of it is valid UTF-8, else one U+FFFD a byte; so it waits for its end.
class ByteFallbackStep final : public DecoderStep {
 public:
  void push(std::string_view token) override {
    const int byte = byte_of_piece(token);
    if (byte >= 0) {
      run_ += static_cast<char>(byte);
      return;
    }
    flush();
    next_->push(token);
  }
  void finish() override {
    flush();
    next_->finish();
  }

 private:
  void flush() {
    if (run_.empty()) return;
    if (is_valid_utf8(run_)) {
      next_->push(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) next_->push("\xEF\xBF\xBD");
    }
    run_.clear();
  }
  std::string run_;
};

// Collects everything into one token.
class CollectStep final : public DecoderStep {
 public:
  void push(std::string_view token) override { text_ += token; }
  void finish() override {
    if (!text_.empty()) next_->push(text_);
    next_->finish();
  }

 private:
  std::string text_;
};

// A step that rewrites each token by itself, knowing only whether it is the first.
template <class Rewrite>
class MapStep final : public DecoderStep {
 public:
  explicit MapStep(Rewrite rewrite) : rewrite_(std::move(rewrite)) {}
  void push(std::string_view token) override {
    const std::string text = rewrite_(token, first_);
    first_ = false;
    next_->push(text);
  }

 private:
  Rewrite rewrite_;
  bool first_ = true;
};

template <class Rewrite>
std::unique_ptr<DecoderStep> map_step(Rewrite rewrite) {
  return std::make_unique<MapStep<Rewrite>>(std::move(rewrite));
}

// The suffix of a word becomes a space, except in the last token, which therefore is held back.
class BpeStep final : public DecoderStep {
 public:
  explicit BpeStep(const DecoderSpec& spec) : suffix_(spec.from) {}
  void push(std::string_view token) override {
    if (has_held_) next_->push(replaced(" "));
    held_ = token;
    has_held_ = true;
  }
  void finish() override {
    if (has_held_) next_->push(replaced(""));
    has_held_ = false;
    next_->finish();
  }

 private:
  std::string replaced(std::string_view with) const {
    return suffix_.empty() ? held_ : replace_all(held_, suffix_, with);
  }
  const std::string& suffix_;
  std::string held_;
  bool has_held_ = false;
};

class CtcStep final : public DecoderStep {
 public:
  explicit CtcStep(const DecoderSpec& spec) : spec_(spec) {}
  void push(std::string_view token) override {
    if (seen_ && last_ == token) return;
    seen_ = true;
    last_ = token;
    std::string text = spec_.from.empty() ? last_ : replace_all(token, spec_.from, "");
    if (spec_.flag) {
      text = clean_up(text);
      if (!spec_.to.empty()) text = replace_all(text, spec_.to, " ");
    }
    if (!text.empty()) next_->push(text);
  }

 private:
  const DecoderSpec& spec_;
  std::string last_;
  bool seen_ = false;
};

// Strips a stream as if it were one token.
class StripStreamStep final : public DecoderStep {
 public:
  explicit StripStreamStep(const DecoderSpec& spec) : spec_(spec) {}
  void push(std::string_view token) override {
    while (stripped_ < spec_.strip_start && !token.empty()) {
      if (!token.starts_with(spec_.from)) {
        stripped_ = spec_.strip_start;
        break;
      }
      token.remove_prefix(spec_.from.size());
      ++stripped_;
    }
    held_ += token;
    // Only the last `strip_stop` copies of the character can still be stripped.
    size_t keep = 0;
    const size_t width = spec_.from.size();
    while (keep < spec_.strip_stop && held_.size() >= (keep + 1) * width &&
           std::string_view(held_).substr(held_.size() - (keep + 1) * width, width) == spec_.from) {
      ++keep;
    }
    const size_t ready = held_.size() - keep * width;
    if (ready != 0) next_->push(std::string_view(held_).substr(0, ready));
    held_.erase(0, ready);
  }

 private:
  const DecoderSpec& spec_;
  size_t stripped_ = 0;
  std::string held_;
};

// Replaces in a stream as if it were one token: a tail that may begin a match waits.
class ReplaceStreamStep final : public DecoderStep {
 public:
  explicit ReplaceStreamStep(const DecoderSpec& spec) : spec_(spec) {}
  void push(std::string_view token) override {
    held_ += token;
    std::string out;
    size_t done = 0;
    for (size_t at = held_.find(spec_.from); at != std::string::npos; at = held_.find(spec_.from, done)) {
      out.append(held_, done, at - done).append(spec_.to);
      done = at + spec_.from.size();
    }
    size_t tail = std::min(held_.size() - done, spec_.from.size() - 1);
    while (tail > 0 &&
           !std::string_view(spec_.from).starts_with(std::string_view(held_).substr(held_.size() - tail)))
      --tail;
    out.append(held_, done, held_.size() - tail - done);
    held_.erase(0, held_.size() - tail);
    if (!out.empty()) next_->push(out);
  }
  void finish() override {
    if (!held_.empty()) next_->push(held_);
    next_->finish();
  }

 private:
  const DecoderSpec& spec_;
  std::string held_;
};

std::string strip_token(std::string_view token, const DecoderSpec& spec) {
  for (size_t i = 0; i < spec.strip_start && token.starts_with(spec.from); ++i)
    token.remove_prefix(spec.from.size());
  for (size_t i = 0; i < spec.strip_stop && token.ends_with(spec.from); ++i)
    token.remove_suffix(spec.from.size());
  return std::string(token);
}

std::string word_piece(std::string_view token, bool first, const DecoderSpec& spec) {
  std::string text;
  if (!first && !token.starts_with(spec.from)) text = " ";
  if (!first && token.starts_with(spec.from)) token.remove_prefix(spec.from.size());
  text += token;
  return spec.flag ? clean_up(text) : text;
}

std::unique_ptr<DecoderStep> make_step(const DecoderSpec& spec, bool fused) {
  using Kind = DecoderSpec::Kind;
  switch (spec.kind) {
    case Kind::kByteLevel:
      return std::make_unique<ByteLevelStep>();
    case Kind::kByteFallback:
      return std::make_unique<ByteFallbackStep>();
    case Kind::kFuse:
      return nullptr;  // later steps see a stream
    case Kind::kBpe:
      return std::make_unique<BpeStep>(spec);
    case Kind::kCtc:
      return std::make_unique<CtcStep>(spec);
    case Kind::kStrip:
      if (fused) return std::make_unique<StripStreamStep>(spec);
      return map_step([&spec](std::string_view token, bool) { return strip_token(token, spec); });
    case Kind::kReplace:
      if (spec.from.empty()) return nullptr;
      if (fused) return std::make_unique<ReplaceStreamStep>(spec);
      return map_step(
          [&spec](std::string_view token, bool) { return replace_all(token, spec.from, spec.to); });
    case Kind::kReplaceRegex:
      return map_step(
          [&spec](std::string_view token, bool) { return spec.regex->replace_all(token, spec.to); });
    case Kind::kMetaspace:
      return map_step([&spec](std::string_view token, bool first) {
        return replace_all(token, spec.from, first && spec.flag ? "" : " ");
      });
    case Kind::kWordPiece:
      return map_step([&spec](std::string_view token, bool first) { return word_piece(token, first, spec); });
  }
  return nullptr;
}

// Works on a stream as it does on one token; every other step needs the fused text in one piece.
bool handles_stream(DecoderSpec::Kind kind) {
  using Kind = DecoderSpec::Kind;
  return kind == Kind::kStrip || kind == Kind::kReplace || kind == Kind::kFuse;
}

}  // namespace

DecoderChain::DecoderChain(const std::vector<DecoderSpec>& specs) {
  bool fused = false;
  for (const DecoderSpec& spec : specs) {
    if (fused && !handles_stream(spec.kind)) steps_.push_back(std::make_unique<CollectStep>());
    if (auto step = make_step(spec, fused)) steps_.push_back(std::move(step));
    fused = fused || spec.kind == DecoderSpec::Kind::kFuse || spec.kind == DecoderSpec::Kind::kByteLevel;
  }
  if (specs.empty()) steps_.push_back(std::make_unique<JoinWithSpaces>());
  auto output = std::make_unique<Output>();
  output_ = output.get();
  steps_.push_back(std::move(output));
  for (size_t i = 0; i + 1 < steps_.size(); ++i) steps_[i]->set_next(steps_[i + 1].get());
}

DecoderChain::~DecoderChain() = default;

void DecoderChain::push(std::string_view token, std::string& out) {
  output_->target = &out;
  steps_.front()->push(token);
}

void DecoderChain::finish(std::string& out) {
  output_->target = &out;
  steps_.front()->finish();
}

}  // namespace llmhost::text
