// A document while it is written: YAML in the order of writing, with a comment beside what needs one.
#pragma once

#include <list>
#include <string>
#include <vector>

namespace declarative {

class Draft {
 public:
  // A later value replaces an earlier one.
  void set(const std::string& key, const std::string& value, const std::string& comment = "");
  void set_list(const std::string& key, const std::vector<std::string>& values);
  // The section below `key`, made at its first use; references stay valid.
  Draft& section(const std::string& key);
  // One more map in the list at `key`.
  Draft& item(const std::string& key);
  bool is_empty() const { return entries_.empty(); }
  std::string text() const;

 private:
  struct Entry {
    std::string key, value, comment;
    std::vector<std::string> values;
    std::list<Draft> children;  // one: a section; more, or is_list: a list of maps
    bool is_list = false;
  };
  Entry& entry(const std::string& key);
  void write(std::string& out, const std::string& indent, const std::string& first_indent) const;

  std::list<Entry> entries_;
};

}  // namespace declarative
