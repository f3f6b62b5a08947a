#include "train/trainer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "engine/memory_plan.h"
#include "model/base_fingerprint.h"
#include "train/checkpoint.h"
#include "train/golden_prompts.h"
#include "train/job_data.h"
#include "train/output.h"
#include "train/output_claim.h"
#include "train/stepper.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kCheckpoints = "checkpoints";
constexpr const char* kPublished = "published";
constexpr double kSmoothing = 0.9;  // of tokens per second
// Pages of program and libraries, and what a step holds besides its buffers; measured on several models.
constexpr uint64_t kProcessMargin = uint64_t{20} << 20;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0;
  uint64_t resident = 0;
  statm >> pages >> resident;
  return resident * 4096;
}

std::unique_ptr<Method> open_method(const Job& job, const plugin::Registry& registry) {
  auto method = Method::open(registry, job.method, job.method_settings, job.source);
  if (job.adapter.empty()) return method;
  if (!fs::is_directory(job.adapter))
    throw_error(ErrorCode::kNotFound, "{}: no such folder: an adapter to start from is not a 'method'",
                job.adapter.string());
  return Method::open_adapter(registry, job.adapter, method.get());
}

llmh_dtype saved_dtype(const std::string& name) {
  if (name == "bf16") return LLMH_DTYPE_BF16;
  if (name == "f16") return LLMH_DTYPE_F16;
  return LLMH_DTYPE_F32;
}

int64_t count_values(const model::LoadedModel& model) {
  int64_t n = 0;
  for (const model::CheckpointTensor& tensor : model.checkpoint().tensors()) n += tensor.element_count();
  return n;
}

// Thrown where work can be left: the values are still those of the last step.
struct Interrupted {};

}  // namespace

struct Trainer::Parts {
  Job job;
  const plugin::Registry& registry;
  const model::LoadedModel& model;
  const engine::Device& device;
  TrainerHooks hooks;
  std::unique_ptr<Method> method;
  JobData data;
  TrainingOptions options;
  TrainingStack::Plan plan;
  int64_t n_steps = 0;
  std::vector<std::string> warnings;
  CheckpointFolder checkpoints;
  TrainingListener silent;

  // Of the run.
  std::optional<OutputClaim> claim;
  std::optional<TrainingStack> stack;
  std::optional<Stepper> stepper;
  CheckpointState state;
  double tokens_per_s = 0;

  Parts(Job of, const plugin::Registry& plugins, const model::LoadedModel& base, const engine::Device& on,
        TrainerHooks with)
      : job(std::move(of)),
        registry(plugins),
        model(base),
        device(on),
        hooks(std::move(with)),
        method(open_method(job, registry)),
        data(job, base),
        options(options_of()),
        plan(TrainingStack::plan(base, on, *method, options)),
        n_steps(data.n_steps()),
        checkpoints(job.output / kCheckpoints) {
    plan.memory.optimizer = Optimizer::bytes(job.optimizer, plan.shapes);
    plan.memory.process = engine::resident_anonymous_bytes() + kProcessMargin;
    Schedule(job.schedule, n_steps, job.optimizer.lr);  // refuses what it does not know
    const auto [verdict, reason] = method->fit(base);
    if (verdict == LLMH_FIT_NO)
      throw_error(ErrorCode::kUnimplemented, "method '{}' does not fit this model: {}", method->name(),
                  reason);
    if (verdict == LLMH_FIT_WARNING) warnings.push_back(reason);
    if (job.patience > 0 && data.eval() == nullptr)
      warnings.emplace_back("patience has no meaning without data for evaluations");
    refuse_too_large();
  }

  TrainingOptions options_of() const {
    TrainingOptions wanted;
    wanted.max_tokens = data.max_tokens();
    wanted.max_sequences = data.max_sequences();
    wanted.checkpoint_layers = job.checkpoint_layers;
    wanted.saved_dtype = saved_dtype(job.dtype);
    wanted.init_seed = job.seed;
    return wanted;
  }

  void refuse_too_large() const {
    const TrainingMemory& m = plan.memory;
    const uint64_t needed = m.parameters + m.gradients + m.activations + m.scratch + m.optimizer;
    if (device.memory_free() > 0 && needed > device.memory_free())
      throw_error(ErrorCode::kResourceExhausted,
                  "training needs {} bytes besides the weights, {} are free on {}; lower "
                  "micro_batch_tokens or max_length, or switch checkpoint_layers on",
                  needed, device.memory_free(), device.name());
  }

  TrainingListener& listener() { return hooks.listener != nullptr ? *hooks.listener : silent; }
  bool is_stopped() const { return hooks.stop != nullptr && hooks.stop->load(); }

  // --- Beginning ---

  Outcome run(bool resume) {
    if (!begin(resume)) return Outcome::kFinished;
    listener().on_start(state.step, n_steps);
    try {
      try_longest();
      if (is_eval_due()) end_step();  // interrupted before it was evaluated
      while (state.step < n_steps && !is_out_of_patience()) run_step();
    } catch (const Interrupted&) {
      save_checkpoint();
      return Outcome::kInterrupted;
    }
    finish();
    return Outcome::kFinished;
  }

  void breathe() {
    if (hooks.between_micro_batches) hooks.between_micro_batches();
    if (is_stopped()) throw Interrupted();
  }

  // Returns false when the run was finished before.
  bool begin(bool resume) {
    CheckpointState fresh;
    fresh.job = job.description();
    fresh.data_hash = data.hash();
    fresh.base_hash = model::base_fingerprint(model);
    state = fresh;
    // A checkpoint, and the result or the best values.
    claim.emplace(job, checkpoints, resume, 2 * plan.memory.parameters + plan.memory.optimizer);
    std::optional<CheckpointState> saved;
    if (resume) {
      checkpoints.clean();
      if (const auto finished = checkpoints.finished()) {
        check_same_run(*finished, fresh);
        listener().on_message(fmt::format("{}: the run is finished already", job.output.string()));
        return false;
      }
      saved = checkpoints.newest([&](std::string_view why) {
        listener().on_message(fmt::format("a checkpoint is left out: {}", why));
      });
      if (saved)
        check_same_run(*saved, fresh);
      else
        listener().on_message("there is no checkpoint to go on from: the run begins at its first step");
    }
    stack.emplace(model, device, *method, options);
    if (!job.adapter.empty()) stack->load_values(job.adapter);
    Stepper::Options steps;
    steps.optimizer = job.optimizer;
    steps.schedule = job.schedule;
    steps.n_steps = n_steps;
    steps.seed = job.seed;
    steps.between_micro_batches = [this] { breathe(); };
    stepper.emplace(*stack, *method, std::move(steps), device.pool());
    if (saved)
      go_on_from(*saved);
    else
      stepper->start();
    return true;
  }

  void go_on_from(const CheckpointState& saved) {
    const std::vector<std::byte> method_state = checkpoints.load(saved.step, all_tensors());
    stepper->load_method_state(method_state);
    stepper->optimizer().set_updates(saved.updates);
    state = saved;
    listener().on_message(fmt::format("going on after step {} of {}", saved.step, n_steps));
  }

  // What needs the most memory comes first: a run that begins does not end in the middle for want of it.
  void try_longest() {
    try {
      stack->accumulate(data.longest(), 1);
    } catch (const NonFiniteError&) {
      // The step that has it will say so, with its number.
    }
    stack->zero_gradients();
  }

  // --- Steps ---

  void run_step() {
    const auto begin = Clock::now();
    const int64_t step = state.step + 1;
    breathe();
    const StepResult result = guarded(step, [&] { return stepper->step(step, data.step(step - 1)); });
    state.step = step;
    state.updates = stepper->optimizer().updates();
    tell(result, seconds_since(begin));
    end_step();
  }

  void end_step() {
    const int64_t step = state.step;
    if (is_eval_due()) evaluate();
    if (job.checkpoint_every > 0 && step % job.checkpoint_every == 0) save_checkpoint();
    if (job.publish_every > 0 && step % job.publish_every == 0 && step < n_steps) publish();
  }

  // Names step and batch in what a non-finite number is reported with.
  template <typename Fn>
  std::invoke_result_t<Fn> guarded(int64_t step, Fn&& fn) {
    try {
      return fn();
    } catch (const NonFiniteError& error) {
      throw_error(
          error.code(),
          "step {}: {} is not finite (batch {} of epoch {}); checkpoints of earlier steps stay: lower "
          "the rate, or look at the examples of this batch",
          step, error.tensor(), (step - 1) % data.steps_per_epoch() + 1,
          (step - 1) / data.steps_per_epoch() + 1);
    }
  }

  void tell(const StepResult& result, double seconds) {
    const double rate = seconds > 0 ? static_cast<double>(result.n_tokens) / seconds : 0;
    tokens_per_s = tokens_per_s == 0 ? rate : kSmoothing * tokens_per_s + (1 - kSmoothing) * rate;
    StepEvent event;
    event.step = state.step;
    event.n_steps = n_steps;
    event.epoch = static_cast<double>(state.step) / static_cast<double>(data.steps_per_epoch());
    event.loss = result.loss;
    event.grad_norm = result.grad_norm;
    event.lr = result.lr;
    event.n_tokens = result.n_tokens;
    event.n_targets = result.n_targets;
    event.seconds = seconds;
    event.tokens_per_s = tokens_per_s;
    const double tokens_left =
        static_cast<double>(n_steps - state.step) * static_cast<double>(result.n_tokens);
    event.eta_s = tokens_per_s > 0 ? tokens_left / tokens_per_s : 0;
    event.memory_bytes = resident_bytes();
    listener().on_step(event);
  }

  // --- Evaluations ---

  bool is_eval_due() const {
    if (data.eval() == nullptr || state.step == state.evaluated_step) return false;
    const int64_t every = job.eval_every > 0 ? job.eval_every : data.steps_per_epoch();
    return state.step % every == 0 || state.step == n_steps;
  }

  bool is_out_of_patience() const { return job.patience > 0 && state.evals_since_best >= job.patience; }

  void evaluate() {
    double sum = 0;
    int64_t n_targets = 0;
    for (const auto& batch : data.eval_batches()) {
      breathe();
      sum += guarded(state.step, [&] { return stack->loss(batch); });
      for (const Example* example : batch) n_targets += example->n_targets();
    }
    const double loss = n_targets > 0 ? sum / static_cast<double>(n_targets) : 0;
    state.evaluated_step = state.step;
    const bool is_best = state.best_step == 0 || loss < state.best_loss;
    if (is_best) {
      state.best_step = state.step;
      state.best_loss = loss;
      state.evals_since_best = 0;
      if (job.keep_best) {
        checkpoints.save_best(state.step, values());
        checkpoints.prune(INT64_MAX, state.best_step);
      }
    } else {
      ++state.evals_since_best;
    }
    listener().on_eval({state.step, loss, is_best});
    if (is_out_of_patience())
      listener().on_message(fmt::format("stopping: {} evaluations without a better loss than {} at step {}",
                                        state.evals_since_best, state.best_loss, state.best_step));
  }

  // --- Checkpoints and output ---

  std::vector<CheckpointTensor> values() const {
    std::vector<CheckpointTensor> tensors;
    for (const TrainedValue& tensor : stack->trained())
      tensors.push_back({"value." + tensor.name, tensor.value});
    return tensors;
  }

  std::vector<CheckpointTensor> all_tensors() {
    std::vector<CheckpointTensor> tensors = values();
    for (const Optimizer::State& part : stepper->optimizer().state())
      tensors.push_back({"optimizer." + part.name, part.values});
    return tensors;
  }

  void save_checkpoint() {
    for (const TrainedValue& tensor : stack->trained())
      if (!std::ranges::all_of(tensor.value, [](float x) { return std::isfinite(x); }))
        guarded(state.step,
                [&]() -> int { throw NonFiniteError(fmt::format("value of '{}'", tensor.name)); });
    const fs::path folder = checkpoints.save(state, all_tensors(), stepper->method_state());
    checkpoints.prune(job.keep_checkpoints, state.best_step);
    listener().on_checkpoint(state.step, folder.string());
  }

  OutputArgs output_args(fs::path folder) {
    return {
        std::move(folder), model, *method, *stack, job.hash(), data.hash(), golden_prompts(job, data.train()),
        registry};
  }

  void publish() {
    const fs::path folder = job.output / kPublished;
    fs::remove_all(folder);
    write_output(output_args(folder));
    listener().on_publish(state.step, folder.string());
  }

  void finish() {
    const bool takes_best = job.keep_best && data.eval() != nullptr && state.best_step > 0;
    if (takes_best && state.best_step != state.step) {
      checkpoints.load_best(state.best_step, values());
      listener().on_message(
          fmt::format("the output is that of step {}, with the loss {}", state.best_step, state.best_loss));
    }
    write_output(output_args(job.output));
    checkpoints.mark_finished(state);
    fs::remove_all(job.output / kPublished);
  }
};

Trainer::Trainer(Job job, const plugin::Registry& registry, const model::LoadedModel& model,
                 const engine::Device& device, TrainerHooks hooks)
    : parts_(std::make_unique<Parts>(std::move(job), registry, model, device, std::move(hooks))) {}

Trainer::~Trainer() = default;

Trainer::Summary Trainer::summary() const {
  const Parts& parts = *parts_;
  Summary summary;
  summary.train = &parts.data.train();
  summary.eval = parts.data.eval();
  summary.n_steps = parts.n_steps;
  for (const auto& shape : parts.plan.shapes) {
    int64_t n = 1;
    for (const int64_t size : shape) n *= size;
    summary.n_trained += n;
  }
  summary.n_base = count_values(parts.model);
  summary.makes_adapter = !parts.method->config_json().empty();
  summary.memory = parts.plan.memory;
  summary.memory_free = parts.device.memory_free();
  summary.warnings = parts.warnings;
  return summary;
}

Outcome Trainer::run(bool resume) {
  return parts_->run(resume);
}

}  // namespace llmhost::train
