#include "text/clean_spaces.h"

namespace llmhost::text {
namespace {

// What becomes of a space, given the text from it on.
struct Decision {
  bool wait = false;
  size_t consumed = 1;
  std::string_view written = " ";
};

constexpr Decision kWait{true, 0, {}};
constexpr Decision kDrop{false, 1, {}};

Decision before_punctuation(std::string_view text, bool end) {
  if (text.size() < 2) return end ? Decision{} : kWait;
  return std::string_view("?!.,").find(text[1]) != std::string_view::npos ? kDrop : Decision{};
}

Decision lone_apostrophe(std::string_view text, bool end) {
  if (text.size() >= 2 && text[1] != '\'') return {};
  if (text.size() < 3) return end ? Decision{} : kWait;
  return text[2] == ' ' ? Decision{false, 3, "'"} : Decision{};
}

Decision contraction(std::string_view text, bool end) {
  if (text.size() >= 2 && text[1] != '\'') return {};
  if (text.size() >= 3) {
    if (text[2] == 's' || text[2] == 'm') return kDrop;
    if (text[2] != 'r' && text[2] != 'v') return {};
  }
  if (text.size() < 4) return end ? Decision{} : kWait;
  return text[3] == 'e' ? kDrop : Decision{};
}

template <class Rule>
std::string apply_rule(std::string& held, std::string_view text, bool end, const Rule& rule) {
  std::string input = std::move(held);
  held.clear();
  input += text;
  std::string out;
  for (size_t i = 0; i < input.size();) {
    if (input[i] != ' ') {
      out += input[i++];
      continue;
    }
    const Decision d = rule(std::string_view(input).substr(i), end);
    if (d.wait) {
      held = input.substr(i);
      break;
    }
    out += d.written;
    i += d.consumed;
  }
  return out;
}

}  // namespace

void CleanSpaces::run(std::string_view text, bool end, std::string& out) {
  const std::string first = apply_rule(held_[0], text, end, before_punctuation);
  const std::string second = apply_rule(held_[1], first, end, lone_apostrophe);
  out += apply_rule(held_[2], second, end, contraction);
}

void CleanSpaces::push(std::string_view text, std::string& out) {
  run(text, false, out);
}

void CleanSpaces::finish(std::string& out) {
  run({}, true, out);
}

}  // namespace llmhost::text
