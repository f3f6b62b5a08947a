// A method's settings against the keys that it declares: types, ranges and choices are checked, and every
// error names file, line and key. Private to the layer.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/yaml.h"
#include "llmhost/finetune.h"
#include "train/method.h"

namespace llmhost::train {

// A checked value.
struct MethodValue {
  bool is_given = false;  // written in the file
  int64_t integer = 0;    // BOOL and INT
  double number = 0;      // FLOAT
  // The text of STRING; the items of STRING_LIST and STRING_OR_LIST; the values of a MAP.
  std::vector<std::string> texts;
  std::vector<std::string> names;  // of a MAP
  bool is_list = false;            // STRING_OR_LIST: written as a list
  bool is_map = false;
};

// The table that a plugin reads its settings from. Throws UsageError while it is made. [control]
class MethodConfig : public llmh_config {
 public:
  MethodConfig(std::vector<MethodKey> keys, const YamlNode& settings, std::string_view source);
  MethodConfig(const MethodConfig&) = delete;
  MethodConfig& operator=(const MethodConfig&) = delete;

 private:
  struct Thunks;
  void add_defaults(const YamlNode& settings, std::string_view source);

  std::vector<MethodKey> keys_;
  std::map<std::string, MethodValue, std::less<>> values_;
};

}  // namespace llmhost::train
