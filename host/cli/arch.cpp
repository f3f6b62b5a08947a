// llmhost arch: descriptions of architectures. Each subcommand is a class of its own.
#include <fmt/core.h>

#include <vector>

#include "cli/command.h"
#include "cli/support.h"
#include "core/error.h"

namespace llmhost::cli {
namespace {

// A description of the model to start from, for a model type that nobody described yet.
class InferCommand final : public Command {
 public:
  std::string name() const override { return "infer"; }
  std::string summary() const override { return "Print how a model is built, as far as its files tell"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.setting("--arch", "model.arch");
    options.setting_flag("--best-effort", "model.best_effort");
  }

  int run(Context& context) override {
    const auto registry = open_registry(context.settings);
    const auto loaded = model::load_model(model_, *registry, load_options(context.settings));
    if (loaded->recipe_text().empty())
      throw_error(ErrorCode::kFailedPrecondition,
                  "{}: model type {} is described by plugin {}: nothing to infer", model_,
                  loaded->checkpoint().config().value("model_type", "(none)"), loaded->arch_id());
    if (context.json) {
      print_json({{"model", model_},
                  {"plugin", loaded->arch_id()},
                  {"inferred", loaded->is_inferred()},
                  {"recipe", recipe_json(*loaded)},
                  {"text", loaded->recipe_text()},
                  {"warnings", loaded->warnings()}});
      return 0;
    }
    fmt::print("{}{}", loaded->recipe_text(), loaded->recipe_text().ends_with('\n') ? "" : "\n");
    flush_stdout();
    return 0;
  }

 private:
  std::string model_;
};

class ArchCommand final : public Command {
 public:
  ArchCommand() { members_.push_back(std::make_unique<InferCommand>()); }

  std::string name() const override { return "arch"; }
  std::string summary() const override { return "Work with descriptions of architectures"; }
  std::span<const std::unique_ptr<Command>> members() const override { return members_; }
  void declare(Options&) override {}
  int run(Context&) override { throw_error(ErrorCode::kInternal, "arch: a command is needed"); }

 private:
  std::vector<std::unique_ptr<Command>> members_;
};

}  // namespace

std::unique_ptr<Command> make_arch_command() {
  return std::make_unique<ArchCommand>();
}

}  // namespace llmhost::cli
