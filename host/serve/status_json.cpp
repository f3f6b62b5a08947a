#include "serve/status_json.h"

#include "engine/adapter_store.h"

namespace llmhost::serve {
namespace {

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

}  // namespace

Response json_response(const OrderedJson& body, int status) {
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

OrderedJson status_json(const ModelPool& pool, const Caller& caller, double uptime_s) {
  OrderedJson models = OrderedJson::array();
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t total = 0;
  for (const ModelStatus& model : pool.list()) {
    if (caller.may_use(model.id)) models.push_back(model_json(model));
    if (model.model == nullptr) continue;
    const ModelLoad load = model.model->load();
    running += load.running;
    waiting += load.waiting;
    total += load.requests;
  }
  return {{"models", std::move(models)},
          {"memory", {{"budget", pool.memory_budget()}, {"used", pool.memory_used()}}},
          {"uptime_s", uptime_s},
          {"requests", {{"running", running}, {"waiting", waiting}, {"total", total}}}};
}

}  // namespace llmhost::serve
