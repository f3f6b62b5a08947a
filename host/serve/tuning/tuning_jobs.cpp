#include "serve/tuning/tuning_jobs.h"

#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/names.h"
#include "engine/model_stack.h"
#include "serve/api/api_error.h"
#include "serve/api/endpoints.h"
#include "serve/models/without_paths.h"
#include "serve/tuning/pace.h"
#include "serve/tuning/training_base.h"
#include "serve/tuning/tuning_job_entry.h"
#include "train/method.h"
#include "train/trainer.h"

namespace llmhost::serve {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDataPrefix = "data:";
constexpr int64_t kEventsEvery = 10;  // steps without an event of their own, at most

ApiError forbidden(std::string_view field, const std::string& message) {
  ApiError error(403, "invalid_request_error", message);
  error.param = field;
  error.code = "forbidden";
  return error;
}

// A page of a list whose items have ids, newest first.
OrderedJson page_of(std::vector<OrderedJson> items, std::string_view after, int64_t limit) {
  if (!after.empty()) {
    const auto found = std::find_if(items.begin(), items.end(),
                                    [&](const OrderedJson& item) { return item["id"] == after; });
    if (found == items.end()) throw bad_field("after", "'after' is not in this list");
    items.erase(items.begin(), found + 1);
  }
  const bool has_more = static_cast<int64_t>(items.size()) > limit;
  if (has_more) items.resize(static_cast<size_t>(limit));
  OrderedJson page = {{"object", "list"}, {"data", items}, {"has_more", has_more}};
  page["first_id"] = items.empty() ? OrderedJson() : items.front()["id"];
  page["last_id"] = items.empty() ? OrderedJson() : items.back()["id"];
  return page;
}

}  // namespace

// Turns what the trainer tells into events and the job's figures.
class TuningJobs::Listener final : public train::TrainingListener {
 public:
  Listener(Entry& entry, const fs::path& root, const TuningJobs& jobs)
      : entry_(entry), root_(root), jobs_(jobs) {}

  void on_step(const train::StepEvent& step) override {
    last_loss_ = step.loss;
    {
      const std::scoped_lock lock(entry_.mutex);
      entry_.trained_tokens += step.n_tokens;
      entry_.eta_s = step.eta_s;
    }
    if (step.step != 1 && step.step != step.n_steps && step.step % kEventsEvery != 0) return;
    entry_.add_event("info",
                     fmt::format("Step {}/{}: training loss={:.4f}", step.step, step.n_steps, step.loss),
                     {{"step", step.step},
                      {"total_steps", step.n_steps},
                      {"train_loss", step.loss},
                      {"grad_norm", step.grad_norm},
                      {"learning_rate", step.lr},
                      {"tokens_per_s", step.tokens_per_s}});
  }
  void on_eval(const train::EvalEvent& eval) override {
    last_valid_ = eval.loss;
    entry_.add_event("info", fmt::format("Step {}: validation loss={:.4f}", eval.step, eval.loss),
                     {{"step", eval.step}, {"valid_loss", eval.loss}});
  }
  void on_publish(int64_t step, std::string_view folder) override {
    const std::string model = jobs_.publish(entry_, fs::path(folder), root_, std::to_string(step));
    {
      const std::scoped_lock lock(entry_.mutex);
      entry_.checkpoints.push_back({step, unix_time(), model, last_loss_, last_valid_});
    }
    entry_.save();
    entry_.add_event("info", fmt::format("Checkpoint created at step {}: {}", step, model));
  }
  void on_message(std::string_view line) override { entry_.add_event("warn", without_paths(line)); }

 private:
  Entry& entry_;
  const fs::path& root_;
  const TuningJobs& jobs_;
  double last_loss_ = 0;
  double last_valid_ = -1;
};

TuningJobs::TuningJobs(ModelPool& pool, TuningOptions options)
    : pool_(pool), options_(std::move(options)), files_(options_.folder / "files", options_.file_bytes) {
  fs::create_directories(options_.folder / "jobs");
  read_jobs();
}

TuningJobs::~TuningJobs() {
  stop();
}

void TuningJobs::read_jobs() {
  for (const auto& folder : fs::directory_iterator(options_.folder / "jobs")) {
    if (!fs::exists(folder.path() / "job.json")) continue;  // never began
    try {
      auto entry = std::make_shared<Entry>(folder.path());
      entries_.emplace(entry->id, std::move(entry));
    } catch (const std::exception& error) {
      spdlog::error("fine-tuning job {}: {}; it is left out", folder.path().filename().string(),
                    error.what());
    }
  }
}

void TuningJobs::start() {
  thread_ = std::thread([this] { work(); });
}

void TuningJobs::stop() {
  {
    const std::scoped_lock lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

// --- Requests

fs::path TuningJobs::data_file(std::string_view field, const std::string& name, uint64_t owner) const {
  if (name.starts_with("file-")) return files_.get(name, owner).path;
  if (!name.starts_with(kDataPrefix))
    throw forbidden(
        field,
        "a training file is the id of an uploaded file, or data:NAME of a folder that the server was given");
  const fs::path wanted = name.substr(kDataPrefix.size());
  for (const fs::path& root : options_.data_roots) {
    std::error_code gone;
    const fs::path base = fs::canonical(root, gone);
    const fs::path found = gone ? fs::path() : fs::canonical(base / wanted, gone);
    if (gone || wanted.is_absolute()) continue;
    const auto [end, rest] = std::mismatch(base.begin(), base.end(), found.begin(), found.end());
    if (end == base.end() && fs::is_regular_file(found)) return found;
  }
  throw forbidden(field, fmt::format("no folder of data sets has {}", quote_name(name)));
}

// What can be told before the job's turn comes.
void TuningJobs::check(const TuningRequest& request, uint64_t owner) const {
  data_file("training_file", request.training_file, owner);
  if (!request.validation_file.empty()) data_file("validation_file", request.validation_file, owner);
  const train::Job job = to_job(request);
  if (options_.registry == nullptr) return;
  try {
    train::Method::open(*options_.registry, job.method, job.method_settings, "tuning.settings");
  } catch (const Error& error) {
    throw bad_field(error.code() == ErrorCode::kNotFound ? "tuning.method" : "tuning.settings", error.what());
  }
}

OrderedJson TuningJobs::create(const TuningRequest& request, std::string_view body, uint64_t owner) {
  check(request, owner);
  const auto models = pool_.list();
  if (std::none_of(models.begin(), models.end(), [&](const ModelStatus& m) { return m.id == request.model; }))
    throw_error(ErrorCode::kNotFound, "there is no model {}", quote_name(request.model));
  const std::scoped_lock lock(mutex_);
  const auto n_queued = std::count_if(entries_.begin(), entries_.end(), [](const auto& item) {
    const std::scoped_lock inner(item.second->mutex);
    return item.second->status == TuningStatus::kQueued;
  });
  if (n_queued >= options_.max_queued)
    throw_error(ErrorCode::kResourceExhausted, "{} jobs wait already", n_queued);
  auto entry = std::make_shared<Entry>(options_.folder / "jobs" / random_id("ftjob-"), request, body, owner);
  try {
    entry->add_event("info", fmt::format("Created fine-tuning job: {}", entry->id));
    entry->save();
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(entry->folder, ignored);
    throw;
  }
  OrderedJson json = entry->json();
  entries_.emplace(entry->id, std::move(entry));
  changed_.notify_all();
  return json;
}

std::shared_ptr<TuningJobs::Entry> TuningJobs::find(std::string_view id, uint64_t owner) const {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second->owner != owner)
    throw_error(ErrorCode::kNotFound, "there is no fine-tuning job {}", quote_name(id));
  return found->second;
}

OrderedJson TuningJobs::get(std::string_view id, uint64_t owner) const {
  return find(id, owner)->json();
}

OrderedJson TuningJobs::cancel(std::string_view id, uint64_t owner) {
  const std::shared_ptr<Entry> entry = find(id, owner);
  bool is_waiting = false;
  {
    const std::scoped_lock lock(entry->mutex);
    if (entry->status != TuningStatus::kQueued && entry->status != TuningStatus::kRunning)
      throw bad_field("fine_tuning_job_id", fmt::format("the job has {} already", to_text(entry->status)));
    entry->is_cancelled = true;
    is_waiting = entry->status == TuningStatus::kQueued;
    if (is_waiting) entry->status = TuningStatus::kCancelled;
  }
  if (is_waiting)
    finish(*entry, TuningStatus::kCancelled, {});
  else
    entry->save();  // it holds if the server ends before the step does
  OrderedJson json = entry->json();
  json["status"] = to_text(TuningStatus::kCancelled);  // a running one ends after its step
  return json;
}

OrderedJson TuningJobs::list(uint64_t owner, std::string_view after, int64_t limit) const {
  std::vector<std::shared_ptr<Entry>> own;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& [id, entry] : entries_)
      if (entry->owner == owner) own.push_back(entry);
  }
  std::sort(own.begin(), own.end(), [](const auto& a, const auto& b) {
    return std::tie(b->created, b->id) < std::tie(a->created, a->id);
  });
  std::vector<OrderedJson> items;
  for (const auto& entry : own) items.push_back(entry->json());
  return page_of(std::move(items), after, limit);
}

OrderedJson TuningJobs::events(std::string_view id, uint64_t owner, std::string_view after,
                               int64_t limit) const {
  std::vector<OrderedJson> items = find(id, owner)->read_events();
  std::reverse(items.begin(), items.end());
  return page_of(std::move(items), after, limit);
}

OrderedJson TuningJobs::checkpoints(std::string_view id, uint64_t owner, std::string_view after,
                                    int64_t limit) const {
  const std::shared_ptr<Entry> entry = find(id, owner);
  std::vector<OrderedJson> items;
  const std::scoped_lock lock(entry->mutex);
  for (auto point = entry->checkpoints.rbegin(); point != entry->checkpoints.rend(); ++point) {
    OrderedJson metrics = {{"step", point->step}, {"train_loss", point->train_loss}};
    if (point->valid_loss >= 0) metrics["valid_loss"] = point->valid_loss;
    items.push_back({{"id", fmt::format("ftckpt-{}-{}", entry->id, point->step)},
                     {"object", "fine_tuning.job.checkpoint"},
                     {"created_at", point->created},
                     {"fine_tuned_model_checkpoint", point->model},
                     {"fine_tuning_job_id", entry->id},
                     {"metrics", std::move(metrics)},
                     {"step_number", point->step}});
  }
  return page_of(std::move(items), after, limit);
}

// --- Work

std::shared_ptr<TuningJobs::Entry> TuningJobs::next() {
  std::unique_lock lock(mutex_);
  for (;;) {
    std::shared_ptr<Entry> oldest;
    for (const auto& [id, entry] : entries_) {
      const std::scoped_lock inner(entry->mutex);
      if (entry->status != TuningStatus::kQueued) continue;
      if (oldest == nullptr || std::tie(entry->created, entry->id) < std::tie(oldest->created, oldest->id))
        oldest = entry;
    }
    if (is_stopping_) return nullptr;
    if (oldest != nullptr) {
      const std::scoped_lock inner(oldest->mutex);
      oldest->status = TuningStatus::kRunning;
      return oldest;
    }
    changed_.wait(lock);
  }
}

void TuningJobs::work() {
  while (const std::shared_ptr<Entry> entry = next()) {
    try {
      run(*entry);
    } catch (const std::exception& error) {
      spdlog::error("fine-tuning job {}: {}", entry->id, error.what());
      finish(*entry, TuningStatus::kFailed, without_paths(error.what()));
    }
  }
}

void TuningJobs::run(Entry& entry) {
  entry.save();
  entry.add_event("info", "Fine-tuning job started");
  train(entry, *acquire(entry));
}

std::shared_ptr<ServedModel> TuningJobs::acquire(Entry& entry) {
  auto answered = std::make_shared<std::promise<std::shared_ptr<ServedModel>>>();
  auto future = answered->get_future();
  pool_.acquire(entry.request.model, [answered](const std::shared_ptr<ServedModel>& model, const std::string&,
                                                const std::exception_ptr& error) {
    if (error) return answered->set_exception(error);
    answered->set_value(model);
  });
  return future.get();
}

void TuningJobs::train(Entry& entry, ServedModel& model) {
  const TrainingBase* base = model.training_base();
  if (base == nullptr || base->adapters.empty())
    throw_error(ErrorCode::kFailedPrecondition,
                "the model {} is not open to fine-tuning: it must stand in `models`",
                quote_name(entry.request.model));
  train::Job job = to_job(entry.request);
  job.model = base->path;
  job.output = entry.folder / "run";
  job.train_data = data_file("training_file", entry.request.training_file, entry.owner);
  if (!entry.request.validation_file.empty())
    job.eval_data = data_file("validation_file", entry.request.validation_file, entry.owner);
  job.batches.micro_batch_tokens = std::max(options_.micro_batch_tokens, job.dataset.max_length);
  Listener listener(entry, base->adapters, *this);
  // Either the server ends or the job is to.
  std::atomic<bool> stop{false};
  const auto update_stop = [&] { stop = is_stopping_ || entry.is_cancelled; };
  Pace pace(model, options_.share, stop);
  train::TrainerHooks hooks;
  hooks.listener = &listener;
  hooks.stop = &stop;
  hooks.between_micro_batches = [&] {
    update_stop();
    pace.pause();
    update_stop();
  };
  const engine::HostDevice host(*base->registry, base->settings, engine::RunUse::kGeneration);
  train::Trainer trainer(job, *base->registry, *base->model, host.device(), hooks);
  if (!trainer.summary().makes_adapter)
    throw_error(ErrorCode::kFailedPrecondition,
                "method '{}' makes a whole model, and adapters are served: use a method that makes one",
                job.method);
  const train::Outcome outcome = trainer.run(fs::exists(entry.folder / "run"));  // begun by an earlier server
  if (outcome == train::Outcome::kFinished) {
    const std::string made = publish(entry, entry.folder / "run", base->adapters, {});
    {
      const std::scoped_lock lock(entry.mutex);
      entry.fine_tuned_model = made;
    }
    return finish(entry, TuningStatus::kSucceeded, {});
  }
  if (entry.is_cancelled) return finish(entry, TuningStatus::kCancelled, {});
  const std::scoped_lock lock(entry.mutex);  // the server ends: on disk it is running still
  entry.status = TuningStatus::kQueued;
}

// Copies an adapter to where the model's adapters are, whole or not at all. Its name for requests.
std::string TuningJobs::publish(Entry& entry, const fs::path& finished, const fs::path& root,
                                std::string_view step) const {
  const std::string name = entry.adapter_name(step);
  const fs::path hidden = root / ("." + name + ".part");
  fs::remove_all(hidden);
  fs::create_directories(hidden);
  for (const auto& file : fs::directory_iterator(finished))
    if (file.is_regular_file()) fs::copy_file(file.path(), hidden / file.path().filename());
  fs::remove_all(root / name);
  fs::rename(hidden, root / name);
  return entry.request.model + ":" + name;
}

void TuningJobs::finish(Entry& entry, TuningStatus status, const std::string& error) {
  {
    const std::scoped_lock lock(entry.mutex);
    entry.status = status;
    entry.error = error;
    entry.finished = unix_time();
  }
  const bool has_failed = status == TuningStatus::kFailed;
  try {
    entry.add_event(has_failed ? "error" : "info",
                    has_failed ? "The job failed: " + error : fmt::format("The job has {}", to_text(status)));
    entry.save();
  } catch (
      const std::exception& fault) {  // the disk may be full: what is in memory counts until the next start
    spdlog::error("fine-tuning job {}: {}", entry.id, fault.what());
  }
}

}  // namespace llmhost::serve
