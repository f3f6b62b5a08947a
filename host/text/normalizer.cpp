#include "text/normalizer.h"

#include "text/byte_level.h"

namespace llmhost::text {
namespace {

// A normalizer given by a function of (text) -> string.
template <class Apply>
class Simple final : public Normalizer {
 public:
  explicit Simple(Apply function) : apply_(std::move(function)) {}
  std::string apply(std::string_view text) const override { return apply_(text); }

 private:
  Apply apply_;
};

template <class Apply>
NormalizerPtr simple(Apply apply) {
  return std::make_unique<Simple<Apply>>(std::move(apply));
}

// Rebuilds the text character by character.
template <class Visit>
std::string map_characters(std::string_view text, const Visit& visit) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    visit(out, c.code);
    i += c.length;
  }
  return out;
}

std::string lowercase(std::string_view text) {
  return map_characters(text, [](std::string& out, char32_t c) { append_lowercase(out, c); });
}

std::string strip(std::string_view text, bool left, bool right) {
  size_t begin = 0;
  size_t end = 0;
  bool seen = false;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    if (!is_white_space(c.code)) {
      if (!seen) begin = i;
      seen = true;
      end = i + c.length;
    }
    i += c.length;
  }
  if (!seen) return left || right ? std::string() : std::string(text);
  if (!left) begin = 0;
  if (!right) end = text.size();
  return std::string(text.substr(begin, end - begin));
}

bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

std::string bert_clean(std::string_view text) {
  return map_characters(text, [](std::string& out, char32_t c) {
    const bool layout = c == '\t' || c == '\n' || c == '\r';
    if (c == 0 || c == 0xFFFD || (!layout && is_control_or_format(c))) return;
    append_utf8(out, layout || is_white_space(c) ? U' ' : c);
  });
}

std::string bert(std::string_view input, const BertNormalizerOptions& options) {
  std::string text = options.clean_text ? bert_clean(input) : std::string(input);
  if (options.handle_chinese_chars) {
    text = map_characters(text, [](std::string& out, char32_t c) {
      if (is_chinese(c)) out += ' ';
      append_utf8(out, c);
      if (is_chinese(c)) out += ' ';
    });
  }
  if (options.strip_accents) {
    text = map_characters(normalize_unicode(text, NormalForm::kNfd), [](std::string& out, char32_t c) {
      if (!is_nonspacing_mark(c)) append_utf8(out, c);
    });
  }
  return options.lowercase ? lowercase(text) : text;
}

// The rules of SentencePiece's "nmt" normalization that are not Unicode normalization.
std::string nmt(std::string_view text) {
  return map_characters(text, [](std::string& out, char32_t c) {
    const bool dropped =
        (c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    if (dropped) return;
    const bool space = c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    append_utf8(out, space ? U' ' : c);
  });
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t copied = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, copied)) {
    out.append(text.substr(copied, at - copied)).append(to);
    copied = at + from.size();
  }
  out.append(text.substr(copied));
  return out;
}

NormalizerPtr make_normalizer_sequence(std::vector<NormalizerPtr> steps) {
  return simple([steps = std::move(steps)](std::string_view text) {
    std::string out(text);
    for (const NormalizerPtr& step : steps) out = step->apply(out);
    return out;
  });
}

NormalizerPtr make_unicode_normalizer(NormalForm form) {
  return simple([form](std::string_view text) { return normalize_unicode(text, form); });
}

NormalizerPtr make_lowercase_normalizer() {
  return simple(lowercase);
}

NormalizerPtr make_strip_accents_normalizer() {
  return simple([](std::string_view text) {
    return map_characters(text, [](std::string& out, char32_t c) {
      if (!is_mark(c)) append_utf8(out, c);
    });
  });
}

NormalizerPtr make_strip_normalizer(bool left, bool right) {
  return simple([left, right](std::string_view text) { return strip(text, left, right); });
}

NormalizerPtr make_replace_normalizer(std::string from, std::string to) {
  return simple([from = std::move(from), to = std::move(to)](std::string_view text) {
    return from.empty() ? std::string(text) : replace_all(text, from, to);
  });
}

NormalizerPtr make_replace_normalizer(Regex from, std::string to) {
  return simple([from = std::move(from), to = std::move(to)](std::string_view text) {
    return from.replace_all(text, to);
  });
}

NormalizerPtr make_prepend_normalizer(std::string prefix) {
  return simple([prefix = std::move(prefix)](std::string_view text) {
    return text.empty() ? std::string() : prefix + std::string(text);
  });
}

NormalizerPtr make_bert_normalizer(const BertNormalizerOptions& options) {
  return simple([options](std::string_view text) { return bert(text, options); });
}

NormalizerPtr make_nmt_normalizer() {
  return simple(nmt);
}

NormalizerPtr make_byte_level_normalizer() {
  return simple([](std::string_view text) { return bytes_to_characters(text); });
}

}  // namespace llmhost::text
