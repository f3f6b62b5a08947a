// Which models a serving command has: --model, --adapters, --models and what belongs to them.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "serve/models/configuration.h"

namespace llmhost::cli {

class ServedModels {
 public:
  void declare(Options& options);
  // The configuration of the file and the options, checked.
  serve::ServeConfig read(const Context& context) const;

 private:
  std::vector<std::string> models_;
  std::vector<std::string> adapters_;
};

}  // namespace llmhost::cli
