#include "peft/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <chrono>

#include "llmhost/plugin.hpp"
#include "peft/json.h"

namespace peft {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxPattern = 16384;  // bytes
constexpr uint32_t kMatchLimit = 200'000;
constexpr uint32_t kHeapLimitKib = 16 * 1024;
constexpr auto kMaxTime = std::chrono::seconds(2);  // of all matching; honest configs take milliseconds

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using Context = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using Data = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;

std::string error_text(int code) {
  PCRE2_UCHAR buffer[160];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

[[noreturn]] void refuse(std::string_view where, const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, std::string(where) + ": " + what);
}

// In quotes, on one line, cut when it is long.
std::string in_quotes(std::string_view text) {
  return shown(OrderedJson(text));
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Goes over a pattern and stops at what the two dialects read differently.
class DialectCheck {
 public:
  DialectCheck(std::string_view pattern, std::string_view where) : text_(pattern), where_(where) {}

  void run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\\')
        escape(false);
      else if (c == '[')
        character_class();
      else if (c == '(')
        group();
      else if (c == '{' && text_.substr(at_).starts_with("{,"))
        differs("'{,' (write '{0,')");
      else
        ++at_;
    }
  }

 private:
  char next(size_t ahead = 1) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  [[noreturn]] void differs(const std::string& what) const {
    refuse(where_, in_quotes(text_) + " has " + what + " at offset " + std::to_string(at_) +
                       ", which is not read alike everywhere; write it another way");
  }

  // A backslash and what it stands before: the classes, anchors and controls that both have, and punctuation.
  void escape(bool in_class) {
    const char c = next();
    if (c == '\0') refuse(where_, in_quotes(text_) + " is no regular expression: it ends in a backslash");
    constexpr std::string_view kCommon = "dDwWsSntrf";
    constexpr std::string_view kAnchors = "bBA";
    const bool is_word = is_digit(c) || is_letter(c);
    const bool is_reference = !in_class && c >= '1' && c <= '9' && !is_digit(next(2));
    const bool is_common = kCommon.find(c) != std::string_view::npos ||
                           (!in_class && kAnchors.find(c) != std::string_view::npos) || is_reference;
    if ((is_word && !is_common) || static_cast<unsigned char>(c) >= 0x80)
      differs(std::string("'\\") + c + "'");
    at_ += 2;
  }

  void character_class() {
    ++at_;
    if (at_ < text_.size() && text_[at_] == '^') ++at_;
    if (at_ < text_.size() && text_[at_] == ']') ++at_;  // a first one is the character
    while (at_ < text_.size() && text_[at_] != ']') {
      if (text_[at_] == '[' && (next() == ':' || next() == '.' || next() == '=')) differs("a named class");
      if (text_[at_] == '\\')
        escape(true);
      else
        ++at_;
    }
    if (at_ == text_.size()) refuse(where_, in_quotes(text_) + " is no regular expression: a '[' stays open");
    ++at_;
  }

  void group() {
    ++at_;
    if (at_ < text_.size() && text_[at_] == '*') differs("'(*'");
    if (at_ == text_.size() || text_[at_] != '?') return;
    for (const std::string_view kind : {"?:", "?=", "?!", "?<=", "?<!", "?P<", "?P="})
      if (text_.substr(at_).starts_with(kind)) {
        at_ += kind.size();
        return;
      }
    differs("the group '(" + std::string(text_.substr(at_, 2)) + "'");
  }

  std::string_view text_;
  std::string_view where_;
  size_t at_ = 0;
};

}  // namespace

struct MatchBudget::State {
  Context context{pcre2_match_context_create(nullptr)};
  Clock::duration used{};
};

MatchBudget::MatchBudget() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(state_->context.get(), kMatchLimit);
  pcre2_set_depth_limit(state_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(state_->context.get(), kHeapLimitKib);
}
MatchBudget::~MatchBudget() = default;

struct Pattern::Compiled {
  Code code;
  Data data;
  std::string where;
  std::string text;
  MatchBudget::State* budget;
};

void check_common_dialect(std::string_view pattern, std::string_view where) {
  DialectCheck(pattern, where).run();
}

Pattern::Pattern(std::string_view text, std::string where, MatchBudget& budget)
    : compiled_(std::make_unique<Compiled>()) {
  if (text.size() > kMaxPattern)
    refuse(where, "a pattern of " + std::to_string(text.size()) + " bytes, at most " +
                      std::to_string(kMaxPattern) + " are taken");
  check_common_dialect(text, where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const uint32_t options = PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF;
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), options, &error,
                                      &offset, nullptr));
  if (compiled_->code == nullptr)
    refuse(where, in_quotes(text) + " is no regular expression: " + error_text(error) + " (offset " +
                      std::to_string(offset) + ")");
  compiled_->data.reset(pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  if (compiled_->data == nullptr) throw std::bad_alloc();
  compiled_->where = std::move(where);
  compiled_->text = text;
  compiled_->budget = budget.state_.get();
}
Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

bool Pattern::matches_whole(std::string_view path) const {
  const Clock::time_point start = Clock::now();
  const int rc = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(path.data()), path.size(), 0,
                             0, compiled_->data.get(), compiled_->budget->context.get());
  compiled_->budget->used += Clock::now() - start;
  if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
    refuse(compiled_->where, "matching " + in_quotes(compiled_->text) + " takes too many steps (" +
                                 error_text(rc) + "); write a simpler pattern, or a list of names");
  if (compiled_->budget->used > kMaxTime)
    refuse(compiled_->where, "matching the patterns takes too long; write simpler ones, or a list of names");
  return rc != PCRE2_ERROR_NOMATCH;
}

}  // namespace peft
