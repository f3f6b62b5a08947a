// Rewrites a pattern for PCRE2: the white-space and word classes of Oniguruma and of Rust's regex follow
// Unicode's binary properties, PCRE2's own \s, \w and \h do not.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cctype>
#include <vector>

#include "core/error.h"
#include "text/tokenizer_regex.h"

namespace llmhost::text {
namespace {

constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

// Oniguruma's bracket names where PCRE2 means other characters by them.
struct Bracket {
  std::string_view name, members;
};
constexpr std::array kBrackets = {
    Bracket{"[:alpha:]", "\\p{Alphabetic}"},
    Bracket{"[:^alpha:]", "\\P{Alphabetic}"},
    Bracket{"[:alnum:]", "\\p{Alphabetic}\\p{Nd}"},
    Bracket{"[:punct:]", "\\p{P}\\p{S}"},
    Bracket{"[:space:]", "\\p{White_Space}"},
    Bracket{"[:^space:]", "\\P{White_Space}"},
    Bracket{"[:upper:]", "\\p{Uppercase}"},
    Bracket{"[:^upper:]", "\\P{Uppercase}"},
    Bracket{"[:lower:]", "\\p{Lowercase}"},
    Bracket{"[:^lower:]", "\\P{Lowercase}"},
    Bracket{"[:word:]", kWord},
};

// PCRE2 reads \p{Han} as a script extension, the other engines as the script alone.
bool is_script(std::string_view name) {
  const std::string pattern = "\\p{sc:" + std::string(name) + "}";
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF,
                                   &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

class Translator {
 public:
  Translator(std::string_view pattern, RegexFlavor flavor, std::string_view where)
      : in_(pattern), oniguruma_(flavor == RegexFlavor::kOniguruma), where_(where) {}

  std::string run() {
    while (i_ < in_.size()) step();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw_invalid("{}: {} at byte {} of the pattern '{}' is not supported", where_, what, i_, in_);
  }

  bool next_is(std::string_view text) const { return in_.substr(i_, text.size()) == text; }

  void step() {
    const char c = in_[i_];
    if (c == '\\') {
      atom_ = out_.size();
      out_ += escape(false);
    } else if (c == '[') {
      atom_ = out_.size();
      out_ += character_class();
    } else if (c == '(') {
      groups_.push_back(out_.size());
      out_ += c;
      ++i_;
    } else if (c == ')') {
      if (!groups_.empty()) {
        atom_ = groups_.back();
        groups_.pop_back();
      }
      out_ += c;
      ++i_;
    } else if (c == '{') {
      interval();
    } else {
      if (c != '*' && c != '+' && c != '?' && (static_cast<uint8_t>(c) & 0xC0) != 0x80) atom_ = out_.size();
      out_ += c;
      ++i_;
    }
  }

  // {n,m}, and in Oniguruma {n,m}+ as a repeated repetition.
  void interval() {
    const size_t close = in_.find('}', i_);
    const bool quantifier =
        close != std::string_view::npos && close > i_ + 1 &&
        in_.substr(i_ + 1, close - i_ - 1).find_first_not_of("0123456789,") == std::string_view::npos;
    if (!quantifier) {
      atom_ = out_.size();
      out_ += in_[i_++];
      return;
    }
    const std::string_view text = in_.substr(i_, close + 1 - i_);
    i_ = close + 1;
    if (oniguruma_ && text.size() > 3 && text[1] == ',') {  // {,m} is {0,m}; PCRE2 10.42 reads it as text
      out_ += "{0";
      out_ += text.substr(1);
    } else {
      out_ += text;
    }
    if (oniguruma_ && next_is("+")) {
      out_.insert(atom_, "(?:");
      out_ += ')';
    }
  }

  std::string escape(bool in_class) {
    if (i_ + 1 >= in_.size()) refuse("a backslash at the end");
    const char c = in_[i_ + 1];
    i_ += 2;
    const auto word = [&](bool negated) {
      if (!in_class) {  // there Oniguruma has a table of its own for Latin-1, with its raised digits and
                        // fractions
        const char* latin = oniguruma_ ? "\\xB2\\xB3\\xB9\\xBC-\\xBE]" : "]";
        return std::string(negated ? "[^" : "[") + std::string(kWord) + latin;
      }
      if (negated) refuse("\\W inside a character class");
      return std::string(kWord);
    };
    switch (c) {
      case 's':
        return "\\p{White_Space}";
      case 'S':
        return "\\P{White_Space}";
      case 'w':
        return word(false);
      case 'W':
        return word(true);
      case 'h':
        if (!oniguruma_) break;
        return in_class ? "0-9a-fA-F" : "[0-9a-fA-F]";
      case 'K':
      case 'C':
        refuse("this escape");
      case 'u': {
        const std::string digits(in_.substr(i_, 4));
        i_ += digits.size();
        return "\\x{" + digits + "}";
      }
      default:
        break;
    }
    std::string text = {'\\', c};
    if (std::string_view("pPxoN").find(c) != std::string_view::npos && next_is("{")) {  // \p{…} is one atom
      const size_t close = in_.find('}', i_);
      if (close == std::string_view::npos) refuse("a brace without its end");
      std::string name(in_.substr(i_ + 1, close - i_ - 1));
      if ((c == 'p' || c == 'P') && name.size() > 2) {
        const std::string_view plain = std::string_view(name).substr(name[0] == '^' ? 1 : 0);
        if (is_script(plain)) name.insert(name.size() - plain.size(), "sc:");
      }
      text += '{' + name + '}';
      i_ = close + 1;
    }
    return text;
  }

  // Reads from '[' to its ']'. [A&&[^B]] becomes (?:(?![B])[A]).
  std::string character_class() {
    std::string body = "[";
    std::string guard;
    ++i_;
    if (next_is("^")) body += in_[i_++];
    bool first = true;
    while (true) {
      if (i_ >= in_.size()) refuse("a character class without its end");
      const char c = in_[i_];
      if (c == ']' && !first) break;
      first = false;
      if (c == '\\') {
        body += escape(true);
      } else if (oniguruma_ && next_is("&&")) {
        guard += intersection();
      } else if (oniguruma_ && next_is("[:") && bracket(body)) {
        continue;
      } else if (c == '[' && !next_is("[:")) {
        if (oniguruma_) {
          body += nested_class();
        } else {
          body += "\\[";
          ++i_;
        }
      } else {
        body += c;
        ++i_;
      }
    }
    ++i_;
    body += ']';
    return guard.empty() ? body : "(?:" + guard + body + ")";
  }

  // Appends what a bracket name like [:alpha:] stands for; false where PCRE2 may read it itself.
  bool bracket(std::string& body) {
    for (const Bracket& known : kBrackets) {
      if (!next_is(known.name)) continue;
      body += known.members;
      i_ += known.name.size();
      return true;
    }
    return false;
  }

  // A class in a class adds its characters.
  std::string nested_class() {
    const std::string inner = character_class();
    if (!inner.starts_with('[') || inner[1] == '^') refuse("a negated class or an intersection in a class");
    return inner.substr(1, inner.size() - 2);
  }

  std::string intersection() {
    i_ += 2;
    if (!next_is("[")) refuse("an intersection without a bracketed right side");
    std::string inner = character_class();
    if (inner.size() > 2 && inner[1] == '^') return "(?![" + inner.substr(2) + ")";
    return "(?=" + inner + ")";
  }

  std::string_view in_;
  bool oniguruma_;
  std::string_view where_;
  size_t i_ = 0;
  std::string out_;
  size_t atom_ = 0;  // where the last atom starts in out_
  std::vector<size_t> groups_;
};

}  // namespace

std::string translate_regex(std::string_view pattern, RegexFlavor flavor, std::string_view where) {
  return Translator(pattern, flavor, where).run();
}

}  // namespace llmhost::text
