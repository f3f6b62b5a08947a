#include "text/tools/loose_value.h"

#include <fmt/format.h>

#include <cstdint>

#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

constexpr int kMaxDepth = 64;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' ||
         static_cast<unsigned char>(c) >= 0x80;
}

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class LooseReader {
 public:
  LooseReader(MarkReader& reader, std::string_view quote) : reader_(reader), quote_(quote) {}

  Got value(std::string& out, int depth);
  Got object(std::string& out, int depth);
  Got members(const LooseMemberReader& member, int depth);
  Got string(std::string& decoded);

 private:
  Got next(char& c) {
    if (reader_.ended()) return reader_.whole ? Got::kNo : Got::kMore;
    c = reader_.text[reader_.at];
    return Got::kYes;
  }
  Got next_visible(char& c) {
    reader_.skip_space();
    return next(c);
  }
  Got marked(std::string& decoded);
  Got quoted(char quote, std::string& decoded);
  Got escape(std::string& decoded);
  Got code(size_t digits, char32_t& out);
  Got array(char close, std::string& out, int depth);
  Got number(std::string& out);
  Got word(std::string& out);
  Got key(std::string& out);
  Got separator(char close, bool& closed);

  MarkReader& reader_;
  std::string_view quote_;
};

Got LooseReader::value(std::string& out, int depth) {
  if (depth > kMaxDepth) return Got::kNo;
  char c = 0;
  if (const Got got = next_visible(c); got != Got::kYes) return got;
  if (c == '{') return object(out, depth);
  if (c == '[') return array(']', out, depth);
  if (c == '(') return array(')', out, depth);
  if (c == '-' || is_digit(c)) return number(out);
  std::string decoded;
  const size_t from = reader_.at;
  const Got text = string(decoded);
  if (text == Got::kYes) {
    append_json_string(out, decoded);
  } else if (reader_.at > from) {
    append_open_json_string(out, decoded);
  } else if (text == Got::kNo && is_word(c)) {
    return word(out);
  }
  return text;
}

// No step where no string begins; a part of a string where its end is not there.
Got LooseReader::string(std::string& decoded) {
  if (!quote_.empty()) {
    const Got opened = reader_.literal(quote_);
    if (opened == Got::kMore) return opened;
    if (opened == Got::kYes) return marked(decoded);
  }
  char c = 0;
  if (const Got got = next(c); got != Got::kYes) return got;
  return c == '"' || c == '\'' ? quoted(c, decoded) : Got::kNo;
}

Got LooseReader::marked(std::string& decoded) {
  const std::string mark(quote_);
  const MarkPlace place = find_mark(reader_.text, reader_.at, {&mark, 1}, reader_.whole);
  decoded = reader_.text.substr(reader_.at, place.at - reader_.at);
  reader_.at = place.at + place.length;
  return place.got;
}

Got LooseReader::quoted(char quote, std::string& decoded) {
  ++reader_.at;
  for (;;) {
    char c = 0;
    if (const Got got = next(c); got != Got::kYes) return got;
    ++reader_.at;
    if (c == quote) return Got::kYes;
    if (c != '\\') {
      decoded += c;
      continue;
    }
    const size_t from = reader_.at - 1;
    if (const Got got = escape(decoded); got != Got::kYes) {
      reader_.at = from;
      return got;
    }
  }
}

Got LooseReader::code(size_t digits, char32_t& out) {
  out = 0;
  for (size_t i = 0; i < digits; ++i, ++reader_.at) {
    char c = 0;
    if (const Got got = next(c); got != Got::kYes) return got;
    const int digit = hex_digit(c);
    if (digit < 0) return Got::kNo;
    out = out * 16 + static_cast<char32_t>(digit);
  }
  return Got::kYes;
}

// Behind a backslash. One that escapes nothing stays: models write regular expressions so.
Got LooseReader::escape(std::string& decoded) {
  char c = 0;
  if (const Got got = next(c); got != Got::kYes) return got;
  ++reader_.at;
  constexpr std::string_view kLetters = "\"'\\/bfnrt";
  constexpr std::string_view kMeanings = "\"'\\/\b\f\n\r\t";
  if (const size_t found = kLetters.find(c); found != std::string_view::npos) {
    decoded += kMeanings[found];
    return Got::kYes;
  }
  if (c != 'u' && c != 'U' && c != 'x') {
    decoded += '\\';
    decoded += c;
    return Got::kYes;
  }
  char32_t first = 0;
  if (const Got got = code(c == 'u' ? 4 : c == 'U' ? 8 : 2, first); got != Got::kYes) return got;
  if (first >= 0xD800 && first < 0xDC00) {
    const Got pair = reader_.literal("\\u");
    if (pair == Got::kMore) return pair;
    char32_t second = 0;
    if (pair == Got::kYes) {
      if (const Got got = code(4, second); got != Got::kYes) return got;
      if (second < 0xDC00 || second > 0xDFFF) return Got::kNo;
      first = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    }
  }
  append_utf8(decoded, first > 0x10FFFF || (first >= 0xD800 && first <= 0xDFFF) ? U'\uFFFD' : first);
  return Got::kYes;
}

// Steps over a comma or the closing bracket; a comma before the bracket is let pass.
Got LooseReader::separator(char close, bool& closed) {
  char c = 0;
  if (const Got got = next_visible(c); got != Got::kYes) return got;
  closed = c == close;
  if (!closed && c != ',') return Got::kNo;
  ++reader_.at;
  if (closed) return Got::kYes;
  if (const Got got = next_visible(c); got != Got::kYes) return got;
  if (c == close) {
    closed = true;
    ++reader_.at;
  }
  return Got::kYes;
}

Got LooseReader::array(char close, std::string& out, int depth) {
  ++reader_.at;
  out += '[';
  char c = 0;
  if (const Got got = next_visible(c); got != Got::kYes) return got;
  bool closed = c == close;
  if (closed) ++reader_.at;
  for (bool first = true; !closed; first = false) {
    if (!first) out += ',';
    if (const Got got = value(out, depth + 1); got != Got::kYes) return got;
    if (const Got got = separator(close, closed); got != Got::kYes) return got;
  }
  out += ']';
  return Got::kYes;
}

Got LooseReader::key(std::string& out) {
  char c = 0;
  if (const Got got = next_visible(c); got != Got::kYes) return got;
  const Got text = string(out);
  if (text != Got::kNo || quote_.empty()) return text;
  while (!reader_.ended() && is_word(reader_.text[reader_.at])) out += reader_.text[reader_.at++];
  if (reader_.ended() && !reader_.whole) return Got::kMore;
  return out.empty() ? Got::kNo : Got::kYes;
}

Got LooseReader::object(std::string& out, int depth) {
  char c = 0;
  if (const Got got = next_visible(c); got != Got::kYes) return got;
  if (c != '{') return Got::kNo;
  out += '{';
  const Got got = members(
      [&](const std::string& key) {
        return append_json_member(out, key, [&] { return value(out, depth + 1); });
      },
      depth);
  if (got == Got::kYes) out += '}';
  return got;
}

Got LooseReader::members(const LooseMemberReader& member, int depth) {
  char c = 0;
  if (const Got got = next_visible(c); got != Got::kYes) return got;
  if (c != '{' || depth > kMaxDepth) return Got::kNo;
  ++reader_.at;
  if (const Got got = next_visible(c); got != Got::kYes) return got;
  bool closed = c == '}';
  if (closed) ++reader_.at;
  while (!closed) {
    const size_t from = reader_.at;
    std::string name;
    Got got = key(name);
    if (got == Got::kYes) got = next_visible(c);
    if (got == Got::kYes && c != ':') got = Got::kNo;
    if (got != Got::kYes) {
      reader_.at = from;
      return got;
    }
    ++reader_.at;
    const size_t value_at = reader_.at;
    if (got = member(name); got != Got::kYes) {
      if (trimmed(reader_.text.substr(value_at, reader_.at - value_at)).empty()) reader_.at = from;
      return got;
    }
    if (got = separator('}', closed); got != Got::kYes) return got;
  }
  return Got::kYes;
}

bool is_json_number(std::string_view text) {
  size_t at = text.starts_with('-') ? 1 : 0;
  const auto digits = [&] {
    const size_t from = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    return at > from;
  };
  const size_t whole = at;
  if (!digits() || (text[whole] == '0' && at > whole + 1)) return false;
  if (at < text.size() && text[at] == '.' && (++at, !digits())) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (!digits()) return false;
  }
  return at == text.size();
}

Got LooseReader::number(std::string& out) {
  const size_t from = reader_.at;
  constexpr std::string_view kParts = "+-.0123456789eE";
  while (!reader_.ended() && kParts.find(reader_.text[reader_.at]) != std::string_view::npos) ++reader_.at;
  if (reader_.ended() && !reader_.whole) return Got::kMore;
  const std::string_view text = reader_.text.substr(from, reader_.at - from);
  if (!is_json_number(text)) {
    reader_.at = from;
    return Got::kNo;
  }
  out += text;
  return Got::kYes;
}

Got LooseReader::word(std::string& out) {
  const size_t from = reader_.at;
  while (!reader_.ended() && is_word(reader_.text[reader_.at])) ++reader_.at;
  if (reader_.ended() && !reader_.whole) return Got::kMore;
  const std::string_view text = reader_.text.substr(from, reader_.at - from);
  if (text == "true" || text == "True") return out += "true", Got::kYes;
  if (text == "false" || text == "False") return out += "false", Got::kYes;
  if (text == "null" || text == "None") return out += "null", Got::kYes;
  reader_.at = from;
  return Got::kNo;
}

}  // namespace

Got read_loose_value(MarkReader& reader, std::string_view quote, std::string& out) {
  return LooseReader(reader, quote).value(out, 0);
}

Got read_loose_object(MarkReader& reader, std::string_view quote, std::string& out) {
  return LooseReader(reader, quote).object(out, 0);
}

Got read_loose_members(MarkReader& reader, std::string_view quote, const LooseMemberReader& member) {
  return LooseReader(reader, quote).members(member, 0);
}

void append_open_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    constexpr std::string_view kSpecial = "\"\\\b\f\n\r\t";
    constexpr std::string_view kLetters = "\"\\bfnrt";
    if (const size_t found = kSpecial.find(c); found != std::string_view::npos) {
      out += '\\';
      out += kLetters[found];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
}

void append_json_string(std::string& out, std::string_view text) {
  append_open_json_string(out, text);
  out += '"';
}

Got append_json_member(std::string& out, std::string_view key, const std::function<Got()>& value) {
  const size_t before = out.size();
  if (out.back() != '{') out += ',';
  append_json_string(out, key);
  out += ':';
  const size_t empty = out.size();
  const Got got = value();
  if (got != Got::kYes && out.size() == empty) out.resize(before);
  return got;
}

bool decode_json_string(std::string_view json, std::string& out) {
  if (json.size() < 2 || json.front() != '"') return false;
  MarkReader reader{json, 0, true};
  out.clear();
  return LooseReader(reader, {}).string(out) == Got::kYes && reader.ended();
}

std::string json_object(const std::vector<LooseMember>& members) {
  std::string out = "{";
  for (const LooseMember& member : members) {
    if (out.size() > 1) out += ',';
    append_json_string(out, member.key);
    out += ':';
    out += member.value;
  }
  return out + "}";
}

bool whole_loose_value(std::string_view text, std::string& json) {
  MarkReader reader{text, 0, true};
  json.clear();
  if (read_loose_value(reader, {}, json) != Got::kYes) return false;
  reader.skip_space();
  return reader.ended();
}

}  // namespace llmhost::text
