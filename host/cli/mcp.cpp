// llmhost mcp: the models for agents, over standard input and output.
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/serve_options.h"
#include "serve/mcp_app.h"

namespace llmhost::cli {
namespace {

class McpCommand final : public Command {
 public:
  std::string name() const override { return "mcp"; }
  std::string summary() const override {
    return "Answer an agent's tool calls over standard input and output";
  }
  const ConfigSchema& schema() const override { return serve::serve_schema(); }
  bool reads_config() const override { return true; }

  void declare(Options& options) override {
    served_.declare(options);
    options.flag("--admin", is_admin_, "Offer the tools that load and unload models, too");
    declare_model_options(options);
  }

  int run(Context& context) override { return serve::run_mcp(served_.read(context), is_admin_); }

 private:
  ServedModels served_;
  bool is_admin_ = false;
};

}  // namespace

std::unique_ptr<Command> make_mcp_command() {
  return std::make_unique<McpCommand>();
}

}  // namespace llmhost::cli
