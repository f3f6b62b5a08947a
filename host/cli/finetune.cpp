// llmhost finetune: trains an adapter or a model as a job file says.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <vector>

#include "cli/command.h"
#include "cli/finetune_preflight.h"
#include "cli/finetune_progress.h"
#include "cli/model_options.h"
#include "cli/support.h"
#include "core/error.h"
#include "train/job.h"
#include "train/logs/loss_plot.h"
#include "train/logs/tensorboard_file.h"
#include "train/logs/trace_log.h"
#include "train/matrix.h"
#include "train/method.h"
#include "train/trainer.h"

namespace llmhost::cli {
namespace {

// EX_TEMPFAIL of sysexits.h: begin me again (with --resume). Batch systems requeue by it.
constexpr int kInterruptedCode = 75;

std::atomic<bool> g_stop{false};
std::atomic<bool> g_has_begun{false};  // there is something to be kept

// The first signal asks for a checkpoint, the second ends at once: what is on disk stays whole. Before the
// run there is nothing on disk.
void on_signal(int signal) {
  if (!g_has_begun) _exit(kInterruptedCode);
  if (g_stop.exchange(true)) _exit(128 + signal);
}

class SignalScope {
 public:
  SignalScope() {
    struct sigaction action {};
    action.sa_handler = &on_signal;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, &before_int_);
    sigaction(SIGTERM, &action, &before_term_);
  }
  ~SignalScope() {
    sigaction(SIGINT, &before_int_, nullptr);
    sigaction(SIGTERM, &before_term_, nullptr);
  }
  SignalScope(const SignalScope&) = delete;
  SignalScope& operator=(const SignalScope&) = delete;

 private:
  struct sigaction before_int_ {};
  struct sigaction before_term_ {};
};

// What the job asks to be written, and the progress.
class Listeners final : public train::TrainingListener {
 public:
  explicit Listeners(const train::Job& job) {
    list_.push_back(std::make_unique<FinetuneProgress>());
    if (!job.plot.empty()) list_.push_back(std::make_unique<train::LossPlot>(job.plot, job.trace));
    // After the plot, which reads the trace of an earlier run before it is cut back.
    if (!job.trace.empty()) list_.push_back(std::make_unique<train::TraceLog>(job.trace));
    if (!job.tensorboard.empty()) list_.push_back(std::make_unique<train::TensorBoardFile>(job.tensorboard));
  }

  void on_start(int64_t done, int64_t all) override {
    for (const auto& each : list_) each->on_start(done, all);
  }
  void on_step(const train::StepEvent& step) override {
    for (const auto& each : list_) each->on_step(step);
  }
  void on_eval(const train::EvalEvent& eval) override {
    for (const auto& each : list_) each->on_eval(eval);
  }
  void on_checkpoint(int64_t step, std::string_view folder) override {
    for (const auto& each : list_) each->on_checkpoint(step, folder);
  }
  void on_publish(int64_t step, std::string_view folder) override {
    for (const auto& each : list_) each->on_publish(step, folder);
  }
  void on_message(std::string_view line) override {
    for (const auto& each : list_) each->on_message(line);
  }

 private:
  std::vector<std::unique_ptr<train::TrainingListener>> list_;
};

// Products round activations only when the job's type is below f32.
engine::RunUse use_of(const train::Job& job) {
  return job.dtype == "bf16" || job.dtype == "f16" ? engine::RunUse::kGeneration : engine::RunUse::kLogits;
}

class FinetuneCommand final : public Command {
 public:
  std::string name() const override { return "finetune"; }
  std::string summary() const override {
    return "Train an adapter or a model as a job file says (-c JOB.yaml)";
  }
  const ConfigSchema& schema() const override { return train::job_schema(); }
  bool reads_config() const override { return true; }

  void declare(Options& options) override {
    options.flag("--resume", resume_, "Go on from the newest checkpoint of the job");
    options.flag("--dry-run", dry_run_, "Show what would be done, and end");
    options.list("--method-set", method_settings_, "KEY=VALUE of the method, over the file's (repeatable)");
    options.flag("--methods", methods_, "List the methods and their keys, and end");
    options.flag("--matrix", matrix_,
                 "List which method fits which architecture, or the MODELs that are named, and end");
    options.value("--weights", n_weights_,
                  "With --matrix: reckon with so many weights, for a small model of a large family");
    options.positional_list("MODEL", models_, "With --matrix: models to ask about");
    options.setting("-t,--threads", "engine.threads");
    options.setting("--backend", "backend.name");
  }

  int run(Context& context) override {
    if (methods_) return list_methods(context);
    if (matrix_) return print_matrix(context);
    if (!models_.empty())
      throw UsageError("finetune: the model stands in the job file; MODEL is for --matrix");
    if (context.config_file.empty())
      throw UsageError("finetune: a job file is needed: llmhost finetune -c JOB.yaml");
    const SignalScope signals;
    const train::JobFile file = train::read_job_file(context.config_file, context.settings, method_settings_);
    const auto registry = engine::open_registry(file.settings);
    const auto model = model::load_model(file.job.model, *registry, engine::load_options(file.settings));
    engine::HostDevice host(*registry, file.settings, use_of(file.job));
    Listeners listeners(file.job);
    train::TrainerHooks hooks;
    hooks.listener = &listeners;
    hooks.stop = &g_stop;
    train::Trainer trainer(file.job, *registry, *model, host.device(), hooks);
    print_preflight(file.job, trainer.summary(), tokenizer_of(file.job).get());
    if (dry_run_) return 0;
    g_has_begun = true;
    if (trainer.run(resume_) == train::Outcome::kFinished) {
      fmt::print("{}\n", file.job.output.string());
      flush_stdout();
      return 0;
    }
    fmt::print(stderr, "llmhost: interrupted; go on with: llmhost finetune -c {} --resume\n",
               context.config_file);
    return kInterruptedCode;
  }

 private:
  // Pre-tokenised data needs none.
  static std::shared_ptr<const text::Tokenizer> tokenizer_of(const train::Job& job) {
    try {
      return text::load_tokenizer(tokenizer_path(job.model));
    } catch (const Error&) {
      return nullptr;
    }
  }

  static int list_methods(const Context& context) {
    const auto registry = engine::open_registry(context.settings);
    OrderedJson all = OrderedJson::object();
    for (plugin::Plugin* plugin : registry->all(plugin::Kind::kFinetune)) {
      const std::string& id = plugin->manifest().id;
      if (!context.json) fmt::print("{}\n", id);
      for (const train::MethodKey& key : train::method_keys(plugin::finetune(*plugin))) {
        const std::string fallback = key.is_required ? "required" : key.default_value;
        all[id].push_back({{"name", key.name},
                           {"aliases", key.aliases},
                           {"default", fallback},
                           {"documentation", key.documentation}});
        if (!context.json)
          fmt::print("  {:<28} {:<16} {}\n", fmt::format("{}", fmt::join(names_of(key), ", ")), fallback,
                     key.documentation);
      }
    }
    if (context.json) print_json(all);
    flush_stdout();
    return 0;
  }

  static std::vector<std::string> names_of(const train::MethodKey& key) {
    std::vector<std::string> names{key.name};
    names.insert(names.end(), key.aliases.begin(), key.aliases.end());
    return names;
  }

  // Of models that are named, or what is known of the architectures.
  int print_matrix(const Context& context) const {
    OrderedJson rows = models_.empty() ? train::known_matrix() : OrderedJson::array();
    const auto registry = engine::open_registry(context.settings);
    for (const std::string& path : models_)
      rows.push_back(train::matrix_row(
          *registry, *model::load_model(path, *registry, engine::load_options(context.settings)),
          static_cast<uint64_t>(std::max<int64_t>(n_weights_, 0))));
    if (context.json)
      print_json(rows);
    else
      fmt::print("{}", train::matrix_text(rows));
    flush_stdout();
    return 0;
  }

  bool resume_ = false;
  bool dry_run_ = false;
  bool methods_ = false;
  bool matrix_ = false;
  int64_t n_weights_ = 0;
  std::vector<std::string> method_settings_;
  std::vector<std::string> models_;
};

}  // namespace

std::unique_ptr<Command> make_finetune_command() {
  return std::make_unique<FinetuneCommand>();
}

}  // namespace llmhost::cli
