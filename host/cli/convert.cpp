// llmhost convert: a model folder of the Hub as one GGUF file, with tokenizer and chat template.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <optional>

#include "cli/command.h"
#include "cli/model_export.h"
#include "cli/support.h"
#include "core/error.h"
#include "model/gguf_types.h"

namespace llmhost::cli {
namespace {

class ConvertCommand final : public Command {
 public:
  std::string name() const override { return "convert"; }
  std::string summary() const override { return "Write a model as a GGUF file"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder or safetensors file");
    options.value("--out", out_, "The GGUF file");
    options.value("--type", type_,
                  fmt::format("What most weights become: {} (default: as they are stored)",
                              fmt::join(model::GgufTypes::names(), ", ")));
    declare_export_options(options, export_);
    options.setting("--threads", "engine.threads");
    options.setting("--arch", "model.arch");
  }

  int run(Context& context) override {
    if (out_.empty()) throw UsageError("convert: --out FILE.gguf is needed");
    std::optional<model::GgufTypes> types;
    if (!type_.empty()) types.emplace(type_);
    return export_model(model_, out_, types, export_, context);
  }

 private:
  std::string model_, out_, type_;
  ModelExport export_;
};

}  // namespace

std::unique_ptr<Command> make_convert_command() {
  return std::make_unique<ConvertCommand>();
}

}  // namespace llmhost::cli
