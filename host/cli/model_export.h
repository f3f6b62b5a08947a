// What convert and quantize share: a model written as a GGUF file, read again, and compared.
#pragma once

#include <optional>
#include <string>

#include "cli/command.h"
#include "model/gguf_types.h"

namespace llmhost::cli {

struct ModelExport {
  std::string pre;   // name of the patterns that cut text; empty: found
  std::string name;  // general.name; empty: the folder's
  bool no_tokenizer = false;
  bool check = false;  // compares logits with the source's
  bool force = false;  // replaces a file that is there
};

void declare_export_options(Options& options, ModelExport& into);

// From a Hub folder or a GGUF file; without types: as the model is stored. The exit code.
int export_model(const std::string& from, const std::string& to, const std::optional<model::GgufTypes>& types,
                 const ModelExport& options, Context& context);

}  // namespace llmhost::cli
