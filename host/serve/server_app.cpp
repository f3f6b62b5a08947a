#include "serve/server_app.h"

#include <fmt/core.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "serve/http/access.h"
#include "serve/http/metrics.h"
#include "serve/http/router.h"
#include "serve/http/server.h"
#include "serve/models/host_loader.h"
#include "serve/models/on_demand_pool.h"
#include "serve/served_routes.h"
#include "serve/tuning/tuning_jobs.h"
#include "serve/tuning/tuning_routes.h"

namespace llmhost::serve {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{50};

// Signals are waited for, not handled: no thread is interrupted by one. Made before any other thread.
class Signals {
 public:
  Signals() {
    sigemptyset(&ours_);
    sigaddset(&ours_, SIGTERM);
    sigaddset(&ours_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ours_, &before_);
  }
  ~Signals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Whether one came within the time.
  bool wait(std::chrono::milliseconds time) const {
    const timespec limit{time.count() / 1000, (time.count() % 1000) * 1'000'000};
    return sigtimedwait(&ours_, nullptr, &limit) > 0;
  }

 private:
  sigset_t ours_{};
  sigset_t before_{};
};

size_t bytes_of(const Settings& settings, const char* key) {
  return static_cast<size_t>(
      parse_bytes(settings.get_string(key), fmt::format("{}: {}", settings.at(key).where, key)));
}

ServerOptions server_options(const ServeConfig& config) {
  const Settings& settings = config.settings;
  const auto seconds = [&](const char* key) { return std::chrono::seconds(settings.get_int(key)); };
  ServerOptions options;
  options.host = settings.get_string("server.host");
  options.port = static_cast<uint16_t>(settings.get_int("server.port"));
  options.unix_socket = config.socket;
  options.worker_threads = static_cast<int>(settings.get_int("server.workers"));
  options.max_connections = static_cast<size_t>(settings.get_int("server.max_connections"));
  if (const size_t most = bytes_of(settings, "server.max_body"); most > 0) options.max_body_bytes = most;
  if (const size_t most = bytes_of(settings, "server.max_queued_output"); most > 0)
    options.max_queued_bytes = most;
  options.header_time = seconds("server.header_timeout");
  options.body_time = seconds("server.body_timeout");
  options.idle_time = seconds("server.idle_timeout");
  options.allowed_hosts = settings.get_list("access.allowed_hosts");
  options.allowed_origins = settings.get_list("access.allowed_origins");
  return options;
}

std::vector<AccessKey> read_keys(const ServeConfig& config) {
  std::vector<AccessKey> keys;
  if (!config.keys_file.empty()) keys = read_keys_file(config.keys_file);
  if (std::optional<AccessKey> key = key_from_environment()) keys.push_back(std::move(*key));
  return keys;
}

TuningOptions tuning_options(const ServeConfig& config, std::shared_ptr<const plugin::Registry> registry) {
  TuningOptions options;
  options.registry = std::move(registry);
  options.folder = config.tuning.folder;
  options.data_roots = config.tuning.data_roots;
  options.file_bytes = config.tuning.file_bytes;
  options.share = config.settings.get_float("tuning.share");
  options.micro_batch_tokens = config.settings.get_int("tuning.micro_batch_tokens");
  options.max_queued = config.settings.get_int("tuning.queue");
  return options;
}

class ServerApp {
 public:
  explicit ServerApp(const ServeConfig& config)
      : ServerApp(config, std::make_unique<HostLoader>(config.settings)) {}

  ServerApp(const ServeConfig& config, std::unique_ptr<HostLoader> loader)
      : config_(config),
        registry_(loader->registry()),
        access_(std::make_shared<Access>(read_keys(config))),
        metrics_(std::make_shared<Metrics>()),
        router_(std::make_shared<Router>()),
        pool_(std::make_unique<OnDemandPool>(config, std::move(loader))),
        jobs_(config.tuning.folder.empty()
                  ? nullptr
                  : std::make_unique<TuningJobs>(*pool_, tuning_options(config, registry_))) {
    add_tuning_routes(*router_, jobs_.get());
    add_served_routes(
        *router_, *pool_, *metrics_, config, [this] { return is_draining_.load(); },
        [this](std::function<void()> job) { return server_->run_on_worker(std::move(job)); });
    server_ = std::make_unique<Server>(server_options(config), router_, access_, metrics_);
  }

  // Handlers first, then the models, whose last words still find the connections.
  ~ServerApp() {
    server_->stop();
    jobs_.reset();  // it holds the model that it trains on
    pool_.reset();
  }
  ServerApp(const ServerApp&) = delete;
  ServerApp& operator=(const ServerApp&) = delete;

  int run(const Signals& signals) {
    server_->start();
    pool_->start();
    if (jobs_ != nullptr) jobs_->start();
    fmt::print(stderr, "llmhost: serving on {}{}\n", server_->address(),
               access_->has_keys() ? "" : " (no keys)");
    bool was_ready = false;
    while (!signals.wait(kPoll)) {
      if (was_ready) continue;
      if (const std::exception_ptr failure = pool_->preload_failure()) std::rethrow_exception(failure);
      was_ready = pool_->is_ready();
      if (was_ready) fmt::print(stderr, "llmhost: ready after {:.1f} s\n", seconds_since(start_));
    }
    drain(signals);
    return 0;
  }

 private:
  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  // From now on until everything is torn down, also while threads that load or render are waited for.
  void end_at_second_signal(const Signals& signals) {
    second_signal_ = std::jthread([this, &signals](const std::stop_token& stop) {
      while (!signals.wait(kPoll))
        if (stop.stop_requested()) return;
      std::error_code ignored;
      if (!config_.socket.empty()) std::filesystem::remove(config_.socket, ignored);
      spdlog::default_logger()->flush();
      std::fflush(nullptr);
      _exit(0);
    });
  }

  void drain(const Signals& signals) {
    is_draining_ = true;
    server_->begin_drain();
    fmt::print(stderr, "llmhost: ending when running requests have finished; a second signal ends at once\n");
    end_at_second_signal(signals);
    const Clock::time_point start = Clock::now();
    const int64_t limit_s = config_.settings.get_int("server.drain_timeout");
    while (!server_->wait_drained(kPoll)) {
      if (limit_s <= 0 || seconds_since(start) <= static_cast<double>(limit_s)) continue;
      server_->force_close();
      return;
    }
  }

  const ServeConfig& config_;
  const Clock::time_point start_ = Clock::now();
  const std::shared_ptr<const plugin::Registry> registry_;
  std::atomic<bool> is_draining_{false};
  std::shared_ptr<Access> access_;
  std::shared_ptr<Metrics> metrics_;
  std::shared_ptr<Router> router_;
  std::unique_ptr<OnDemandPool> pool_;
  std::unique_ptr<TuningJobs> jobs_;  // null: fine-tuning is off
  std::unique_ptr<Server> server_;
  std::jthread second_signal_;
};

}  // namespace

int run_server(const ServeConfig& asked) {
  check_configuration(asked);
  ServeConfig config = asked;
  open_for_tuning(config);
  // The file may say something else than the command line, by which logging was set up.
  spdlog::set_level(spdlog::level::from_str(config.settings.get_string("log.level")));
  const Signals signals;
  ServerApp app(config);
  return app.run(signals);
}

}  // namespace llmhost::serve
