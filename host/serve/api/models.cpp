// GET /v1/models, /v1/models/{id}, /info
#include <algorithm>

#include "engine/adapter_store.h"
#include "serve/api/endpoints.h"

namespace llmhost::serve {
namespace {

bool may_see(const Caller& caller, const std::string& id) {
  return caller.may_use(id);
}

OrderedJson adapter_entries(ServedModel& model) {
  OrderedJson list = OrderedJson::array();
  if (engine::AdapterStore* store = model.adapters())
    for (const auto& adapter : store->list())
      list.push_back({{"id", adapter.name},
                      {"state", engine::to_text(adapter.state)},
                      {"digest", adapter.digest.empty() ? OrderedJson() : OrderedJson(adapter.digest)},
                      {"bytes", adapter.bytes}});
  return list;
}

OrderedJson entry_of(const ModelStatus& status) {
  OrderedJson entry = {{"id", status.id},
                       {"object", "model"},
                       {"created", 0},
                       {"owned_by", "llmhost"},
                       {"root", status.id},
                       {"parent", nullptr},
                       {"state", to_text(status.state)},
                       {"pinned", status.pinned}};
  if (status.state == ModelState::kLoading) entry["progress"] = status.progress;
  if (!status.error.empty()) entry["error"] = status.error;
  uint64_t bytes = status.planned_bytes;
  if (status.model) {
    const ModelCard& card = status.model->card();
    entry["created"] = card.created;
    entry["context_length"] = card.context_length;
    entry["max_model_len"] = card.context_length;
    entry["vocab_size"] = card.vocab_size;
    entry["digest"] = card.digest;
    entry["replicas"] = card.n_replicas;
    entry["has_chat_template"] = card.has_chat_template;
    entry["takes_adapters"] = card.takes_adapters;
    entry["tool_format"] = card.tool_format.empty() ? OrderedJson() : OrderedJson(card.tool_format);
    entry["adapters"] = adapter_entries(*status.model);
  }
  entry["memory_bytes"] = bytes;
  return entry;
}

// An adapter as a model of its own, so that clients that know models alone may choose it.
OrderedJson adapter_model(const OrderedJson& base, const OrderedJson& adapter) {
  return {{"id", base["id"].get<std::string>() + ':' + adapter["id"].get<std::string>()},
          {"object", "model"},
          {"created", base["created"]},
          {"owned_by", "llmhost"},
          {"root", base["id"]},
          {"parent", base["id"]},
          {"state", adapter["state"]},
          {"digest", adapter["digest"]},
          {"context_length", base.value("context_length", OrderedJson())},
          {"memory_bytes", adapter["bytes"]}};
}

OrderedJson all_entries(const std::shared_ptr<Call>& call) {
  OrderedJson bases = OrderedJson::array();
  OrderedJson adapters = OrderedJson::array();
  for (const ModelStatus& status : call->context().pool.list()) {
    if (!may_see(call->request().caller, status.id)) continue;
    bases.push_back(entry_of(status));
    if (bases.back().contains("adapters"))
      for (const OrderedJson& adapter : bases.back()["adapters"])
        adapters.push_back(adapter_model(bases.back(), adapter));
  }
  for (OrderedJson& adapter : adapters) bases.push_back(std::move(adapter));
  return bases;
}

void send(const std::shared_ptr<Call>& call, const OrderedJson& body) {
  Response response;
  response.body = body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  call->exchange().send(std::move(response));
}

}  // namespace

void list_models(const std::shared_ptr<Call>& call) {
  send(call, {{"object", "list"}, {"data", all_entries(call)}});
}

void get_model(const std::shared_ptr<Call>& call) {
  const std::string_view id = call->request().parameter("id");
  for (const OrderedJson& entry : all_entries(call))
    if (entry["id"] == id) return send(call, entry);
  ApiError error(404, "invalid_request_error", "there is no such model, or this key may not use it");
  error.param = "model";
  error.code = "model_not_found";
  throw error;
}

void server_info(const std::shared_ptr<Call>& call) {
  OrderedJson body = {
      {"model_id", ""}, {"version", call->context().options.version}, {"docker_label", nullptr}};
  const auto models = call->context().pool.list();
  const std::string& chosen = call->context().options.default_model;
  const auto found = std::find_if(models.begin(), models.end(), [&](const ModelStatus& status) {
    return (chosen.empty() || status.id == chosen) && may_see(call->request().caller, status.id);
  });
  if (found != models.end()) {
    body["model_id"] = found->id;
    body["state"] = to_text(found->state);
    if (found->model) {
      const ModelCard& card = found->model->card();
      body["model_sha"] = card.digest;
      body["max_input_length"] = card.context_length - 1;
      body["max_total_tokens"] = card.context_length;
      body["max_stop_sequences"] = 16;
      body["max_best_of"] = 64;
      body["sdk"] = "llmhost";
    }
  }
  send(call, body);
}

}  // namespace llmhost::serve
