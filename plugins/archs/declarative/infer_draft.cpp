#include "infer_draft.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace declarative {

namespace {

// Plain where YAML reads it back as it is, quoted elsewhere.
std::string scalar(const std::string& value) {
  const auto is_plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("_.$/+*() -").find(c) != std::string_view::npos;
  };
  const bool plain = !value.empty() && std::all_of(value.begin(), value.end(), is_plain) &&
                     std::string_view("-*. ").find(value.front()) == std::string_view::npos &&
                     value.back() != ' ';
  if (plain) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return quoted + "\"";
}

// A comment ends with its line.
std::string remark(const std::string& comment) {
  if (comment.empty()) return "\n";
  std::string line = "  # " + comment;
  std::replace_if(
      line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return line + "\n";
}

}  // namespace

Draft::Entry& Draft::entry(const std::string& key) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
  if (found != entries_.end()) return *found;
  entries_.emplace_back();
  entries_.back().key = key;
  return entries_.back();
}

void Draft::set(const std::string& key, const std::string& value, const std::string& comment) {
  Entry& e = entry(key);
  e.value = value;
  e.comment = comment;
}

void Draft::set_list(const std::string& key, const std::vector<std::string>& values) {
  entry(key).values = values;
}

Draft& Draft::section(const std::string& key) {
  Entry& e = entry(key);
  if (e.children.empty()) e.children.emplace_back();
  return e.children.front();
}

Draft& Draft::item(const std::string& key) {
  Entry& e = entry(key);
  e.is_list = true;
  e.children.emplace_back();
  return e.children.back();
}

void Draft::write(std::string& out, const std::string& indent, const std::string& first_indent) const {
  for (const Entry& e : entries_) {
    out += (&e == &entries_.front() ? first_indent : indent) + scalar(e.key) + ":";
    if (!e.values.empty()) {
      std::string line;
      for (const std::string& value : e.values) line += (line.empty() ? "" : ", ") + scalar(value);
      out += " [" + line + "]\n";
    } else if (e.is_list) {
      out += "\n";
      for (const Draft& child : e.children) child.write(out, indent + "    ", indent + "  - ");
    } else if (!e.children.empty()) {
      out += e.children.front().is_empty() ? " {}\n" : "\n";
      e.children.front().write(out, indent + "  ", indent + "  ");
    } else {
      out += " " + scalar(e.value) + remark(e.comment);
    }
  }
}

std::string Draft::text() const {
  std::string out;
  write(out, "", "");
  return out;
}

}  // namespace declarative
