#include "text/tokenizer_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <optional>

#include "core/error.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

// Real patterns need a few steps a character; a pattern that backtracks without end reaches these within
// about a second.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* p) const {
    Free(p);
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

}  // namespace

struct Regex::Compiled {
  Code code;
  Context context;
  std::string where;

  // The first match at or after `from`.
  std::optional<Match> search(std::string_view text, size_t from, pcre2_match_data* data) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int rc = pcre2_match(code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK, data, context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                       context.get());
    if (rc == PCRE2_ERROR_NOMATCH) return std::nullopt;
    if (rc < 0)
      throw_error(ErrorCode::kResourceExhausted, "{}: matching the pattern failed: {}; simplify the pattern",
                  where, error_text(rc));
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data);
    if (span[0] > span[1]) return std::nullopt;  // \K in a lookahead can put the start behind the end
    return Match{span[0], span[1], true};
  }

  template <class Visit>
  void for_each(std::string_view text, const Visit& visit) const {
    const Data data(pcre2_match_data_create_from_pattern(code.get(), nullptr));
    if (!data) throw std::bad_alloc();
    size_t from = 0;
    std::optional<size_t> last_end;
    while (from <= text.size()) {
      const auto match = search(text, from, data.get());
      if (!match) return;
      if (match->begin == match->end && last_end == match->end) {  // an empty match right after the last one
        if (match->end >= text.size()) return;
        from = match->end + utf8_at(text, match->end).length;
        continue;
      }
      if (last_end && match->begin < *last_end) return;
      visit(*match);
      last_end = from = match->end;
    }
  }
};

Regex::Regex(std::string_view pattern, RegexFlavor flavor, std::string_view where)
    : compiled_(std::make_unique<Compiled>()) {
  const std::string translated = translate_regex(pattern, flavor, where);
  uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK;
  if (flavor == RegexFlavor::kOniguruma) options |= PCRE2_MULTILINE;
  if (!is_valid_utf8(translated)) throw_invalid("{}: the pattern is not valid UTF-8", where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                      options, &error, &offset, nullptr));
  if (!compiled_->code)
    throw_invalid("{}: the pattern cannot be compiled: {} at byte {} of '{}'", where, error_text(error),
                  offset, translated);
  pcre2_jit_compile(compiled_->code.get(),
                    PCRE2_JIT_COMPLETE);  // without JIT the interpreter matches the same
  compiled_->context.reset(pcre2_match_context_create(nullptr));
  if (!compiled_->context) throw std::bad_alloc();
  pcre2_set_match_limit(compiled_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(compiled_->context.get(), kHeapLimitKib);
  compiled_->where = where;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::split(std::string_view text, std::vector<Match>& out) const {
  size_t covered = 0;
  compiled_->for_each(text, [&](const Match& m) {
    if (m.begin > covered) out.push_back({covered, m.begin, false});
    out.push_back(m);
    covered = m.end;
  });
  if (covered < text.size()) out.push_back({covered, text.size(), false});
}

std::string Regex::replace_all(std::string_view text, std::string_view with) const {
  std::string out;
  size_t covered = 0;
  compiled_->for_each(text, [&](const Match& m) {
    out.append(text.substr(covered, m.begin - covered)).append(with);
    covered = m.end;
  });
  out.append(text.substr(covered));
  return out;
}

}  // namespace llmhost::text
