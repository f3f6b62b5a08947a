#include "serve/models/engine_thread.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "core/error.h"
#include "core/log.h"

namespace llmhost::serve {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kMailEvery{20};  // while others have the device
constexpr std::chrono::milliseconds kPause{5};       // when requests are there and none can run

engine::EngineOptions engine_options(engine::EngineOptions options) {
  options.max_waiting = INT64_MAX;  // counted here, with those in the mailbox
  return options;
}

}  // namespace

EngineThread::EngineThread(engine::ModelRunner& runner, const EngineThreadOptions& options,
                           std::unique_ptr<engine::Proposer> proposer, std::shared_ptr<DeviceTurn> turn)
    : engine_(runner, engine_options(options.engine), std::move(proposer)),
      max_waiting_(options.engine.max_waiting),
      turn_(std::move(turn)),
      pace_(options.step_s, runner.options().max_tokens),
      thread_([this] { run(); }) {}

EngineThread::~EngineThread() {
  stop();
}

void EngineThread::stop() {
  {
    const std::scoped_lock lock(mutex_);
    is_stopped_ = true;
    has_mail_ = true;
  }
  mail_came_.notify_one();
  if (thread_.joinable()) thread_.join();
}

uint64_t EngineThread::submit(engine::Request request) {
  engine_.check(request);
  uint64_t ticket = 0;
  {
    const std::scoped_lock lock(mutex_);
    if (is_stopped_) throw_error(ErrorCode::kUnavailable, "the model is being unloaded; try again");
    const int64_t waiting = n_requests_ - load_.running;
    if (waiting >= max_waiting_)
      throw_error(ErrorCode::kResourceExhausted, "{} requests are waiting already; try again later", waiting);
    ticket = ++last_ticket_;
    submitted_.push_back({ticket, std::move(request)});
    ++n_requests_;
    has_mail_ = true;
  }
  mail_came_.notify_one();
  return ticket;
}

void EngineThread::cancel(uint64_t ticket) {
  {
    const std::scoped_lock lock(mutex_);
    cancelled_.push_back(ticket);
    has_mail_ = true;
  }
  mail_came_.notify_one();
}

EngineLoad EngineThread::load() const {
  const std::scoped_lock lock(mutex_);
  EngineLoad load = load_;
  load.waiting = std::max(n_requests_ - load.running, 0);
  return load;
}

void EngineThread::run() {
  for (;;) {
    read_mail();
    {
      const std::scoped_lock lock(mutex_);
      if (is_stopped_) break;
    }
    if (engine_.idle())
      wait_for_mail();
    else
      run_step();
  }
  end_all({});
  publish();
}

void EngineThread::wait_for_mail() {
  publish();
  std::unique_lock lock(mutex_);
  mail_came_.wait(lock, [this] { return has_mail_.load(); });
}

// False: what there was to do has been cancelled while others had the device.
bool EngineThread::take_turn(DeviceTurn::Ticket ticket) {
  while (!turn_->wait(ticket, kMailEvery)) read_mail();
  read_mail();
  return !engine_.idle();
}

void EngineThread::run_step() {
  const DeviceTurn::Ticket ticket = turn_->join();
  bool has_run = true;
  if (take_turn(ticket)) {
    engine_.limit_step(pace_.limit());
    const Clock::time_point start = Clock::now();
    try {
      has_run = engine_.run_step();
      if (has_run)
        pace_.observe(engine_.last_step_tokens(),
                      std::chrono::duration<double>(Clock::now() - start).count());
    } catch (const std::exception& error) {
      spdlog::error("engine: a step failed: {}", error.what());
      end_all(error.what());
      has_run = false;
    }
  }
  turn_->leave(ticket);
  publish();
  if (has_run) return;
  std::unique_lock lock(mutex_);
  mail_came_.wait_for(lock, kPause, [this] { return has_mail_.load(); });
}

void EngineThread::read_mail() {
  if (!has_mail_) return;
  {
    const std::scoped_lock lock(mutex_);
    has_mail_ = false;
    reading_.swap(submitted_);
    to_cancel_.swap(cancelled_);
  }
  for (Letter& letter : reading_) submit_now(std::move(letter));
  for (const uint64_t ticket : to_cancel_)
    if (const auto found = requests_.find(ticket); found != requests_.end()) engine_.cancel(found->second);
  reading_.clear();
  to_cancel_.clear();
}

void EngineThread::submit_now(Letter letter) {
  const auto on_finish =
      std::make_shared<std::function<void(engine::Result &&)>>(std::move(letter.request.on_finish));
  const auto finish = [this, ticket = letter.ticket, on_finish](engine::Result&& result) {
    requests_.erase(ticket);
    --n_requests_;
    if (!failure_.empty()) {
      result.reason = engine::FinishReason::kError;
      result.error = failure_;
    }
    if (*on_finish) (*on_finish)(std::move(result));
  };
  letter.request.on_finish = finish;
  try {
    requests_.emplace(letter.ticket, engine_.submit(std::move(letter.request)));
  } catch (const std::exception& error) {
    engine::Result result;
    result.reason = engine::FinishReason::kError;
    result.error = error.what();
    finish(std::move(result));
  }
}

// With an error, or as cancelled where there is none.
void EngineThread::end_all(const std::string& error) {
  failure_ = error;
  read_mail();
  std::vector<engine::RequestId> ids;
  for (const auto& [ticket, id] : requests_) ids.push_back(id);
  for (const engine::RequestId id : ids) engine_.cancel(id);
  failure_.clear();
}

void EngineThread::publish() {
  const std::scoped_lock lock(mutex_);
  load_.running = engine_.n_running();
  load_.stats = engine_.stats();
}

}  // namespace llmhost::serve
