// llmhost serve: models behind an HTTP server.
#include <fmt/core.h>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/serve_options.h"
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
    served_.declare(options);
    options.setting("--host", "server.host");
    options.setting("-p,--port", "server.port");
    options.setting("--socket", "server.socket");
    options.setting("--api-key-file", "access.keys_file");
    options.flag("--check", check_, "Read the configuration, say what is wrong with it, and end");
    declare_model_options(options);
  }

  int run(Context& context) override {
    const serve::ServeConfig config = served_.read(context);
    if (check_) {
      serve::check_files(config);
      fmt::print("{} model(s), {} folder(s) of models\n", config.models.size(), config.pool.roots.size());
      return 0;
    }
    return serve::run_server(config);
  }

 private:
  ServedModels served_;
  bool check_ = false;
};

}  // namespace

std::unique_ptr<Command> make_serve_command() {
  return std::make_unique<ServeCommand>();
}

}  // namespace llmhost::cli
