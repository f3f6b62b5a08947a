#include "cli/serve_options.h"

#include "core/error.h"

namespace llmhost::cli {

void ServedModels::declare(Options& options) {
  options.list("-m,--model", models_,
               "Model folder, safetensors or GGUF file (repeatable); more in --config");
  options.list("--adapters", adapters_, "Folder with adapters for the models of --model (repeatable)");
  options.setting("--models", "pool.roots");
  options.setting("--memory", "pool.memory");
  options.setting("--context", "engine.context");
  options.setting("--sequences", "engine.sequences");
  options.setting("--chat-template", "model.chat_template");
}

serve::ServeConfig ServedModels::read(const Context& context) const {
  serve::ServeConfig config = serve::read_configuration(context.settings, context.config_file);
  if (models_.empty() && !adapters_.empty())
    throw UsageError("--adapters needs --model; in a file adapters are named with their model");
  for (const std::string& model : models_) serve::add_model(config, model, adapters_);
  serve::check_configuration(config);
  return config;
}

}  // namespace llmhost::cli
