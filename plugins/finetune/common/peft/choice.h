// What a config of this format means for the modules of one model in training: who has a branch, whose own
// weights are trained, what the files call it all. Throws llmh::Error.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/finetune.hpp"
#include "peft/config.h"
#include "peft/modules.h"

namespace peft {

class Choice {
 public:
  // Refuses what no adapter of the format can have, and names of the job's settings that match nothing. The
  // model need not outlive it.
  Choice(const AdapterConfig& config, const llmh_base_model& model);

  struct Chosen {
    std::string path;
    int32_t kind = 0;
    uint32_t bits = 0;  // LLMH_TUNE_*
    bool is_head = false;
    std::optional<BranchShape> branch;
  };
  // Of the module with this index in the model.
  const Chosen& at(uint32_t module) const { return modules_.at(module); }
  const std::vector<Chosen>& modules() const { return modules_; }

  // The name in the file of a parameter below a module's path, or of a trained weight or bias.
  std::string file_name(std::string_view parameter) const;
  // What a copy of the base's weight is called: of an adapted embedding or head.
  static std::string copy_name(const std::string& path);

  // adapter_config.json without its braces and without what only one kind of adapter has: whole paths of the
  // modules, saved ones, biases, the base.
  std::string shared_json(std::string_view peft_type) const;

 private:
  void choose(const AdapterConfig& config, const llmh_base_model& model, const ModuleTable& table);

  TrainedBias bias_;
  std::string base_name_;
  std::vector<Chosen> modules_;
  std::map<std::string, std::string, std::less<>> bias_names_;  // of adapted modules: parameter to file
};

// The name in a file of what is below a module's path, as the library has it now.
std::string library_name(std::string_view parameter);

// JSON of a finite number that reads back as the same.
std::string json_number(double value);

}  // namespace peft
