#include "serve/api/body_limits.h"

#include <string>
#include <vector>

#include "serve/api/api_error.h"

namespace llmhost::serve {
namespace {

constexpr size_t kMaxDepth = 128;
constexpr size_t kMaxKeys = 4096;        // of one object: finding a key takes time in proportion
constexpr size_t kMaxAllKeys = 200'000;  // of all objects
constexpr size_t kMaxValues = 2'000'000;

// Reads the text once, keeps a stack of what is open, and knows nothing but brackets, strings and commas.
class Measure {
 public:
  Measure(Body body, std::string_view text) : body_(body), text_(text) {}

  void run() {
    for (at_ = 0; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"')
        string();
      else if (c == '{' || c == '[')
        open(c);
      else if (c == '}' || c == ']')
        close();
      else if (c == ',')
        next();
    }
  }

 private:
  struct Level {
    bool is_object;
    size_t items;  // commas so far, plus one
  };

  void open(char c) {
    if (levels_.size() == kMaxDepth)
      throw bad_field("body", fmt::format("nested deeper than {} levels", kMaxDepth));
    levels_.push_back({c == '{', 1});
  }

  void close() {
    if (!levels_.empty()) levels_.pop_back();
  }

  void next() {
    if (levels_.empty()) return;
    Level& level = levels_.back();
    ++level.items;
    if (++n_values_ > kMaxValues) throw bad_field(place(), fmt::format("more than {} values", kMaxValues));
    if (level.is_object && (level.items > kMaxKeys || ++n_keys_ > kMaxAllKeys))
      throw bad_field(place(), "an object has too many keys");
    if (levels_.size() == 2 && field_ != nullptr && level.items > field_->max_items)
      throw bad_field(field_->name, fmt::format("more than {} entries", field_->max_items));
  }

  void string() {
    const size_t begin = ++at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    if (levels_.size() != 1 || at_ >= text_.size()) return;
    // In the outermost object: perhaps a key.
    size_t after = at_ + 1;
    while (after < text_.size() &&
           (text_[after] == ' ' || text_[after] == '\n' || text_[after] == '\t' || text_[after] == '\r'))
      ++after;
    if (after < text_.size() && text_[after] == ':')
      field_ = find_parameter(body_, text_.substr(begin, at_ - begin));
  }

  std::string_view place() const { return field_ == nullptr ? std::string_view("body") : field_->name; }

  Body body_;
  std::string_view text_;
  size_t at_ = 0;
  size_t n_values_ = 0;
  size_t n_keys_ = 0;
  const Parameter* field_ = nullptr;
  std::vector<Level> levels_;
};

// "…: not valid JSON at byte 12: [what the library read]" without what was read.
std::string without_quote(std::string message) {
  const size_t byte = message.find("at byte ");
  const size_t end = byte == std::string::npos ? std::string::npos : message.find(':', byte);
  if (end != std::string::npos) message.resize(end);
  return byte == std::string::npos ? "is not valid JSON" : "is not valid JSON " + message.substr(byte);
}

}  // namespace

OrderedJson parse_request_body(Body body, std::string_view text) {
  Measure(body, text).run();
  try {
    return parse_ordered_json(text, "it",
                              {.max_bytes = text.size(), .max_depth = static_cast<int>(kMaxDepth)});
  } catch (const Error& error) {
    throw bad_field("body", without_quote(error.what()), "invalid_json");
  }
}

}  // namespace llmhost::serve
