// The names that the file of an adapter which is trained on has for what is trained. Throws llmh::Error.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/finetune.h"
#include "peft/choice.h"
#include "peft/config.h"

namespace peft {

class FileNames {
 public:
  FileNames() = default;  // of an adapter that begins: the library's own names
  explicit FileNames(const llmh_adapter_source& source);

  // Finds each tensor's place in the model; refuses one that the config gives none. Copies of frozen weights
  // have a place: they are not read.
  void place(const AdapterConfig& config, const llmh_base_model& model, const Choice& choice);

  // How the file spells the name that the library has now.
  std::string_view spelled(std::string_view name) const;

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::string, std::less<>> spelled_;
};

}  // namespace peft
