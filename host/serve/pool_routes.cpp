#include "serve/pool_routes.h"

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "engine/adapter_store.h"
#include "serve/http/errors.h"
#include "serve/http/metrics.h"
#include "serve/http/router.h"
#include "serve/models/model_pool.h"

namespace llmhost::serve {
namespace {

using Clock = std::chrono::steady_clock;

Response json_response(const OrderedJson& body, int status = 200) {
  Response response;
  response.status = status;
  response.body = body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  return response;
}

OrderedJson memory_json(const engine::MemoryPlan& plan, uint64_t held, uint64_t adapters) {
  return {{"weights", plan.weights_mapped + plan.weights_copied + plan.weights_prepared},
          {"state", plan.state},
          {"adapters", adapters},
          {"arena", plan.arena + plan.scratch + plan.sampler},
          {"total", held}};
}

OrderedJson adapters_json(ServedModel& model) {
  OrderedJson rows = OrderedJson::array();
  if (const engine::AdapterStore* store = model.adapters())
    for (const engine::AdapterInfo& adapter : store->list())
      rows.push_back({{"id", adapter.name},
                      {"state", engine::to_text(adapter.state)},
                      {"bytes", adapter.bytes},
                      {"requests", adapter.uses},
                      {"in_use", adapter.is_in_use}});
  return rows;
}

OrderedJson model_json(const ModelStatus& status) {
  OrderedJson row{{"id", status.id}, {"state", to_text(status.state)}, {"pinned", status.pinned}};
  if (status.state == ModelState::kQueued || status.state == ModelState::kLoading)
    row["progress"] = status.progress;
  if (!status.error.empty()) row["error"] = status.error;
  if (status.planned_bytes > 0) row["planned_bytes"] = status.planned_bytes;
  if (status.model == nullptr) return row;
  const ModelCard& card = status.model->card();
  const ModelLoad load = status.model->load();
  row["replicas"] = card.n_replicas;
  row["running"] = load.running;
  row["waiting"] = load.waiting;
  row["context_length"] = card.context_length;
  row["digest"] = card.digest;
  row["memory"] = memory_json(card.memory, status.planned_bytes, load.adapter_bytes);
  row["adapters"] = adapters_json(*status.model);
  return row;
}

class PoolRoutes : public std::enable_shared_from_this<PoolRoutes> {
 public:
  PoolRoutes(ModelPool& pool, Metrics& metrics, std::function<bool()> is_draining)
      : pool_(pool), metrics_(metrics), is_draining_(std::move(is_draining)) {}

  void add_to(Router& router) {
    const auto self = shared_from_this();
    router.add({"GET", "/health", Scope::kPublic,
                [](const auto& exchange) {
                  exchange->send(json_response({{"status", "ok"}}));
                },
                "The process answers", true});
    router.add(
        {"GET", "/ready", Scope::kPublic, [self](const auto& exchange) { exchange->send(self->ready()); },
         "All models that are to be there from the start are loaded, and the server takes requests", true});
    router.add({"GET", "/metrics", Scope::kAdmin,
                [self](const auto& exchange) { exchange->send(self->metrics()); },
                "Counters in Prometheus' text format", true});
    router.add({"GET", "/status", Scope::kInfer,
                [self](const auto& exchange) { exchange->send(json_response(self->status())); },
                "Models, memory, requests, adapters", true});
    add_admin(router, "/v1/models/load", "Begin to load a model: {\"model\"}",
              [self](const std::string& id) { self->pool_.load(id); });
    add_admin(router, "/v1/models/unload", "Unload a model when its requests have finished: {\"model\"}",
              [self](const std::string& id) { self->pool_.unload(id); });
  }

 private:
  Response ready() const {
    const char* state = is_draining_() ? "draining" : pool_.is_ready() ? "ready" : "loading";
    const bool is_ready = std::string_view(state) == "ready";
    return json_response({{"status", state}}, is_ready ? 200 : 503);
  }

  Response metrics() const {
    Response response;
    response.content_type = Metrics::kContentType;
    response.body = metrics_.text();
    return response;
  }

  OrderedJson status() const {
    OrderedJson models = OrderedJson::array();
    int64_t running = 0;
    int64_t waiting = 0;
    for (const ModelStatus& model : pool_.list()) {
      models.push_back(model_json(model));
      if (model.model == nullptr) continue;
      const ModelLoad load = model.model->load();
      running += load.running;
      waiting += load.waiting;
    }
    const double uptime = std::chrono::duration<double>(Clock::now() - start_).count();
    return {{"models", std::move(models)},
            {"memory", {{"budget", pool_.memory_budget()}, {"used", pool_.memory_used()}}},
            {"uptime_s", uptime},
            {"requests", {{"running", running}, {"waiting", waiting}, {"total", running + waiting}}}};
  }

  using Action = std::function<void(const std::string& model)>;

  static void add_admin(Router& router, std::string pattern, std::string doc, Action action) {
    router.add({"POST", std::move(pattern), Scope::kAdmin,
                [action = std::move(action)](const auto& exchange) { answer_admin(*exchange, action); },
                std::move(doc)});
  }

  static void answer_admin(Exchange& exchange, const Action& action) {
    try {
      const Json body = parse_json(exchange.request().body, "the request's body");
      const auto name = body.is_object() ? body.find("model") : body.end();
      if (!body.is_object() || body.size() != 1 || name == body.end() || !name->is_string())
        throw_invalid("expected an object with the model's name: {{\"model\": \"…\"}}");
      action(name->get<std::string>());
      exchange.send(json_response({{"status", "ok"}}));
    } catch (const Error& error) {
      HttpError answer;
      answer.status = error.code() == ErrorCode::kNotFound             ? 404
                      : error.code() == ErrorCode::kFailedPrecondition ? 409
                                                                       : 400;
      answer.code = answer.status == 404 ? "model_not_found" : "";
      answer.message = error.what();
      send_error(exchange, answer);
    }
  }

  ModelPool& pool_;
  Metrics& metrics_;
  std::function<bool()> is_draining_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace

void add_pool_routes(Router& router, ModelPool& pool, Metrics& metrics, std::function<bool()> is_draining) {
  std::make_shared<PoolRoutes>(pool, metrics, std::move(is_draining))->add_to(router);
}

}  // namespace llmhost::serve
