// llmhost serve: models behind an HTTP server.
#include <fmt/core.h>

#include "cli/command.h"
#include "cli/model_options.h"
#include "core/error.h"
#include "serve/models/configuration.h"
#include "serve/server_app.h"

namespace llmhost::cli {
namespace {

class ServeCommand final : public Command {
 public:
  std::string name() const override { return "serve"; }
  std::string summary() const override { return "Serve models over HTTP, with OpenAI's API"; }
  const ConfigSchema& schema() const override { return serve::serve_schema(); }
  bool reads_config() const override { return true; }

  void declare(Options& options) override {
    options.list("-m,--model", models_,
                 "Model folder, safetensors or GGUF file (repeatable); more in --config");
    options.list("--adapters", adapters_, "Folder with adapters for the models of --model (repeatable)");
    options.setting("--host", "server.host");
    options.setting("-p,--port", "server.port");
    options.setting("--socket", "server.socket");
    options.setting("--api-key-file", "access.keys_file");
    options.setting("--models", "pool.roots");
    options.setting("--memory", "pool.memory");
    options.setting("--context", "engine.context");
    options.setting("--sequences", "engine.sequences");
    options.setting("--chat-template", "model.chat_template");
    options.flag("--check", check_, "Read the configuration, say what is wrong with it, and end");
    declare_model_options(options);
  }

  int run(Context& context) override {
    serve::ServeConfig config = serve::read_configuration(context.settings, context.config_file);
    if (models_.empty() && !adapters_.empty())
      throw UsageError("serve: --adapters needs --model; in a file adapters are named with their model");
    for (const std::string& model : models_) serve::add_model(config, model, adapters_);
    serve::check_configuration(config);
    if (check_) {
      fmt::print("{} model(s), {} folder(s) of models\n", config.models.size(), config.pool.roots.size());
      return 0;
    }
    return serve::run_server(config);
  }

 private:
  std::vector<std::string> models_;
  std::vector<std::string> adapters_;
  bool check_ = false;
};

}  // namespace

std::unique_ptr<Command> make_serve_command() {
  return std::make_unique<ServeCommand>();
}

}  // namespace llmhost::cli
