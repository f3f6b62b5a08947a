#include "serve/pool_routes.h"

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/json.h"
#include "serve/http/metrics.h"
#include "serve/http/router.h"
#include "serve/models/model_pool.h"
#include "serve/status_json.h"

namespace llmhost::serve {
namespace {

using Clock = std::chrono::steady_clock;

class PoolRoutes : public std::enable_shared_from_this<PoolRoutes> {
 public:
  PoolRoutes(ModelPool& pool, Metrics& metrics, std::function<bool()> is_draining)
      : pool_(pool), metrics_(metrics), is_draining_(std::move(is_draining)) {}

  void add_to(Router& router) {
    const auto self = shared_from_this();
    const auto health = [](const auto& exchange) { exchange->send(json_response({{"status", "ok"}})); };
    const auto ready = [self](const auto& exchange) { exchange->send(self->ready()); };
    const auto metrics = [self](const auto& exchange) { exchange->send(self->metrics()); };
    const auto status = [self](const auto& exchange) {
      const double uptime = std::chrono::duration<double>(Clock::now() - self->start_).count();
      exchange->send(json_response(status_json(self->pool_, exchange->request().caller, uptime)));
    };
    router.add({"GET", "/health", Scope::kPublic, health, "The process answers", true, true});
    router.add({"GET", "/ready", Scope::kPublic, ready,
                "All models that are to be there from the start are loaded, and the server takes requests",
                true, true});
    // They name all models and count everybody's requests: nothing for keys of few models.
    router.add({"GET", "/metrics", Scope::kAdmin, metrics, "Counters in Prometheus' text format", true});
    router.add({"GET", "/status", Scope::kInfer, status, "Models, memory, requests, adapters", true});
  }

  // Values that are looked up when they are asked for.
  void watch() {
    metrics_.before_text([self = shared_from_this()] { self->update(); });
  }

 private:
  Response ready() const {
    const char* state = is_draining_() ? "draining" : pool_.is_ready() ? "ready" : "loading";
    return json_response({{"status", state}}, std::string_view(state) == "ready" ? 200 : 503);
  }

  Response metrics() const {
    Response response;
    response.content_type = Metrics::kContentType;
    response.body = metrics_.text();
    return response;
  }

  void update() const {
    metrics_.gauge("models_memory_budget_bytes", "Memory for models")
        .set(static_cast<double>(pool_.memory_budget()));
    metrics_.gauge("models_memory_bytes", "Memory that models hold")
        .set(static_cast<double>(pool_.memory_used()));
    for (const ModelStatus& status : pool_.list()) {
      const MetricLabels labels{{"model", status.id}};
      metrics_.gauge("model_loaded", "Whether the model is loaded", labels)
          .set(status.model != nullptr ? 1 : 0);
      const ModelLoad load = status.model != nullptr ? status.model->load() : ModelLoad{};
      set("model_running_requests", "Requests in the model's batch", labels, load.running);
      set("model_waiting_requests", "Requests that wait for a place in the batch", labels, load.waiting);
      set("model_adapter_bytes", "Memory that adapters hold", labels,
          static_cast<double>(load.adapter_bytes));
      const auto hits = static_cast<double>(load.stats.prefix_hits);
      set("model_prefix_pages_found", "Pages of prompts that the prefix cache had, since loading", labels,
          hits);
      const auto misses = static_cast<double>(load.stats.prefix_misses);
      set("model_prefix_pages_computed", "Pages of prompts that it did not have, since loading", labels,
          misses);
    }
  }

  void set(std::string_view name, std::string_view help, const MetricLabels& labels, double value) const {
    metrics_.gauge(name, help, labels).set(value);
  }

  ModelPool& pool_;
  Metrics& metrics_;
  std::function<bool()> is_draining_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace

void add_pool_routes(Router& router, ModelPool& pool, Metrics& metrics, std::function<bool()> is_draining) {
  const auto routes = std::make_shared<PoolRoutes>(pool, metrics, std::move(is_draining));
  routes->add_to(router);
  routes->watch();
}

}  // namespace llmhost::serve
