// llmhost graph: the text form of a model's graph, as the architecture built it or as the backend gets it.
#include <fmt/core.h>

#include "cli/command.h"
#include "cli/support.h"
#include "engine/model_stack.h"
#include "graph/dump.h"

namespace llmhost::cli {
namespace {

class GraphCommand final : public Command {
 public:
  std::string name() const override { return "graph"; }
  std::string summary() const override { return "Print a model's graph"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.flag("--lowered", lowered_, "After decomposition and fusion for the backend");
    options.setting("--arch", "model.arch");
    options.setting_flag("--best-effort", "model.best_effort");
    options.setting("--backend", "backend.name");
  }

  int run(Context& context) override {
    const auto registry = open_registry(context.settings);
    const auto loaded = model::load_model(model_, *registry, load_options(context.settings));
    std::string text;
    if (lowered_) {
      const engine::HostDevice host(*registry, context.settings, engine::RunUse::kGeneration);
      text = graph::dump(engine::lower_graph(*loaded, host.device()));
    } else {
      text = graph::dump(loaded->graph());
    }
    if (context.json)
      print_json(
          {{"model", model_}, {"lowered", lowered_}, {"graph", text}, {"warnings", loaded->warnings()}});
    else
      fmt::print("{}", text);
    flush_stdout();
    return 0;
  }

 private:
  std::string model_;
  bool lowered_ = false;
};

}  // namespace

std::unique_ptr<Command> make_graph_command() {
  return std::make_unique<GraphCommand>();
}

}  // namespace llmhost::cli
