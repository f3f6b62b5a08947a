// llmhost fit: the memory a model will take, before it is loaded.
#include <fmt/core.h>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/support.h"
#include "core/error.h"
#include "core/progress.h"
#include "engine/memory_plan.h"
#include "engine/model_stack.h"
#include "text/tokenizer.h"
#include "train/job.h"
#include "train/trainer.h"

namespace llmhost::cli {
namespace {

class FitCommand final : public Command {
 public:
  std::string name() const override { return "fit"; }
  std::string summary() const override { return "Plan the memory of a model before loading it"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file", false);
    options.value("--train", job_, "Job file: the memory of fine-tuning instead, term by term");
    options.setting("--context", "engine.context");
    options.setting("--sequences", "engine.sequences");
    declare_model_options(options);
  }

  int run(Context& context) override {
    if (!job_.empty()) return plan_training(context.json);
    if (model_.empty()) throw UsageError("fit: MODEL is missing, or --train JOB.yaml");
    const auto registry = open_registry(context.settings);
    const auto model = model::load_model(model_, *registry, load_options(context.settings));
    const auto tokenizer = load_tokenizer_if_any();
    engine::HostDevice host(*registry, context.settings, engine::RunUse::kGeneration);
    const engine::RunnerOptions limits = generation_limits(context.settings, model->info());
    const graph::Graph lowered = engine::lower_graph(*model, host.device());
    const engine::MemoryPlan plan = engine::plan_memory(*model, lowered, host.device(), limits);
    report(plan, limits, host.device(), model->warnings(), context.json);
    const uint64_t free = host.device().memory_free();
    return free == 0 || plan.total() <= free ? 0 : 1;
  }

 private:
  // As `llmhost finetune` would run it: the same data decides how many steps and how long the examples are.
  int plan_training(bool json) const {
    if (!model_.empty()) throw UsageError("fit: the model of --train stands in the job file");
    Settings settings(train::job_schema());
    settings.load_environment();
    const train::JobFile file = train::read_job_file(job_, std::move(settings));
    const auto registry = open_registry(file.settings);
    const auto model = model::load_model(file.job.model, *registry, load_options(file.settings));
    const engine::HostDevice host(*registry, file.settings, engine::RunUse::kLogits);
    const train::Trainer trainer(file.job, *registry, *model, host.device(), {});
    const train::Trainer::Summary summary = trainer.summary();
    const train::TrainingMemory& memory = summary.memory;
    const OrderedJson terms{{"weights", memory.weights},         {"parameters", memory.parameters},
                            {"gradients", memory.gradients},     {"optimizer", memory.optimizer},
                            {"activations", memory.activations}, {"scratch", memory.scratch},
                            {"output", memory.output},           {"process", memory.process}};
    const bool fits = summary.memory_free == 0 || memory.total() <= summary.memory_free;
    if (json) {
      print_json({{"job", job_},
                  {"bytes", terms},
                  {"total", memory.total()},
                  {"memory_free", summary.memory_free},
                  {"fits", fits}});
    } else {
      fmt::print("{} on {}, {} steps\n", job_, host.device().name(), summary.n_steps);
      print_terms(terms, memory.total(), fits, summary.memory_free);
    }
    flush_stdout();
    return fits ? 0 : 1;
  }

  static void print_terms(const OrderedJson& terms, uint64_t total, bool fits, uint64_t free) {
    for (const auto& [name, bytes] : terms.items())
      fmt::print("  {:<18} {:>12}\n", name, format_bytes(bytes));
    fmt::print("  {:<18} {:>12}   {}\n", "total", format_bytes(total),
               fits ? "fits" : fmt::format("does not fit: {} are free", format_bytes(free)));
  }

  // It is part of what a run holds; a model without one still has a plan.
  std::shared_ptr<const text::Tokenizer> load_tokenizer_if_any() const {
    try {
      return text::load_tokenizer(model_);
    } catch (const Error&) {
      return nullptr;
    }
  }

  void report(const engine::MemoryPlan& plan, const engine::RunnerOptions& limits,
              const engine::Device& device, const std::vector<std::string>& warnings, bool json) const {
    const OrderedJson terms{{"weights_mapped", plan.weights_mapped},
                            {"weights_copied", plan.weights_copied},
                            {"weights_prepared", plan.weights_prepared},
                            {"state", plan.state},
                            {"arena", plan.arena},
                            {"scratch", plan.scratch},
                            {"sampler", plan.sampler},
                            {"process", plan.process}};
    const bool fits = device.memory_free() == 0 || plan.total() <= device.memory_free();
    if (json) {
      print_json({{"model", model_},
                  {"context", limits.max_context},
                  {"sequences", limits.max_sequences},
                  {"devices",
                   {{{"backend", device.plugin_id()},
                     {"name", device.name()},
                     {"memory_free", device.memory_free()},
                     {"bytes", terms},
                     {"total", plan.total()}}}},
                  {"total", plan.total()},
                  {"fits", fits},
                  {"warnings", warnings}});
      return;
    }
    fmt::print("{} on {}, context {}, {} sequence(s)\n", model_, device.name(), limits.max_context,
               limits.max_sequences);
    print_terms(terms, plan.total(), fits, device.memory_free());
    flush_stdout();
  }

  std::string model_;
  std::string job_;
};

}  // namespace

std::unique_ptr<Command> make_fit_command() {
  return std::make_unique<FitCommand>();
}

}  // namespace llmhost::cli
