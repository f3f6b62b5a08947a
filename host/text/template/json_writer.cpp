// JSON as Python's json.dumps writes it.
#include <algorithm>
#include <cmath>

#include "text/template/filters.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  void write(const Value& value) {
    Meter::work(1);
    if (Meter* meter = Meter::current()) meter->check(out_.size());
    switch (value.kind()) {
      case Kind::kNone:
        out_ += "null";
        break;
      case Kind::kBool:
        out_ += value.as_bool() ? "true" : "false";
        break;
      case Kind::kInt:
        out_ += integer_text(value.as_integer());
        break;
      case Kind::kFloat:
        write_real(value.as_real());
        break;
      case Kind::kString:
        write_string(value.text());
        break;
      case Kind::kList:
      case Kind::kTuple:
        write_list(value.items());
        break;
      case Kind::kDict:
        write_dict(value.dict());
        break;
      default:
        fail("Object of type {} is not JSON serializable", value.type_name());
    }
  }
  std::string take() { return std::move(out_); }

 private:
  void write_real(double value) {
    if (std::isnan(value)) {
      out_ += "NaN";
    } else if (std::isinf(value)) {
      out_ += value < 0 ? "-Infinity" : "Infinity";
    } else {
      out_ += float_repr(value);
    }
  }

  void write_unit(uint32_t unit) { out_ += fmt::format("\\u{:04x}", unit); }

  void write_string(std::string_view text) {
    static constexpr std::string_view kPlain = "\"\\\n\r\t\b\f";
    static constexpr std::string_view kEscaped = "\"\\nrtbf";
    out_ += '"';
    for (; !text.empty(); text.remove_prefix(char_size(text))) {
      const auto byte = static_cast<unsigned char>(text[0]);
      if (const size_t found = kPlain.find(text[0]); found != std::string_view::npos) {
        out_ += '\\';
        out_ += kEscaped[found];
      } else if (byte < 0x20) {
        write_unit(byte);
      } else if (byte < 0x80 || !style_.ensure_ascii) {
        if (byte == 0x7F && style_.ensure_ascii) {
          out_ += text[0];
          continue;
        }
        out_ += text.substr(0, char_size(text));
      } else {
        const auto code = static_cast<uint32_t>(first_char(text));
        if (code >= 0x10000) {
          write_unit(0xD800 + ((code - 0x10000) >> 10));
          write_unit(0xDC00 + ((code - 0x10000) & 0x3FF));
        } else {
          write_unit(code);
        }
      }
    }
    out_ += '"';
  }

  void line() {
    if (!style_.indented) return;
    out_ += '\n';
    for (size_t i = 0; i < level_; ++i) out_ += style_.indent;
  }

  void write_list(const Values& items) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i != 0) out_ += style_.item_separator;
      line();
      write(items[i]);
    }
    --level_;
    line();
    out_ += ']';
  }

  void write_key(const Value& key) {
    if (key.is_string()) return write_string(key.text());
    if (!key.is_number() && !key.is_none())
      fail("keys must be str, int, float, bool or None, not {}", key.type_name());
    out_ += '"';
    write(key);
    out_ += '"';
  }

  void write_dict(const DictNode& dict) {
    if (dict.size() == 0) {
      out_ += "{}";
      return;
    }
    std::vector<const DictNode::Entry*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto* a, const auto* b) { return order(a->first, b->first, "<") == -1; });
    out_ += '{';
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i != 0) out_ += style_.item_separator;
      line();
      write_key(entries[i]->first);
      out_ += style_.key_separator;
      write(entries[i]->second);
    }
    --level_;
    line();
    out_ += '}';
  }

  const JsonStyle& style_;
  std::string out_;
  size_t level_ = 0;
};

}  // namespace

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value);
  return writer.take();
}

}  // namespace llmhost::text::jinja
