#include "serve/admin_routes.h"

#include <charconv>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/names.h"
#include "engine/adapter_store.h"
#include "serve/api/api_error.h"
#include "serve/http/router.h"
#include "serve/models/on_demand_pool.h"
#include "serve/status_json.h"

namespace llmhost::serve {
namespace {

using Shared = std::shared_ptr<Exchange>;

void answer_error(Exchange& exchange, ApiError error) {
  // As things are it cannot be done: that is no fault of the body.
  if (error.code == "unsupported") error.status = 409;
  exchange.send(error_response(error, ErrorStyle::kOpenAi, exchange.request().id));
}

void answer_error(Exchange& exchange, const std::exception_ptr& error) {
  answer_error(exchange, to_api_error(error, exchange.request().id));
}

// Runs it; what it throws is the answer.
template <typename Work>
void answer(const Shared& exchange, const Work& work) {
  try {
    work();
  } catch (const std::exception&) {
    answer_error(*exchange, std::current_exception());
  }
}

// The texts of a body's fields, all that it may have.
struct Body {
  std::string model;
  std::string adapter;
};

Body read_body(const Shared& exchange, std::initializer_list<std::string_view> fields) {
  const Json json = parse_json(exchange->request().body, "the request's body");
  if (!json.is_object()) throw_invalid("the request's body must be an object");
  Body body;
  for (const auto& [name, value] : json.items()) {
    if (std::find(fields.begin(), fields.end(), name) == fields.end())
      throw_invalid("unknown field {}", quote_name(name));
    if (!value.is_string()) throw_invalid("{} must be a string", quote_name(name));
    (name == "model" ? body.model : body.adapter) = value.get<std::string>();
  }
  return body;
}

int64_t read_limit(const HttpRequest& request, std::string_view name) {
  const std::string_view text = request.query_value(name);
  int64_t value = 0;
  if (text.empty()) return 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > int64_t{1} << 30)
    throw_invalid("{} must be a number from 1 to 2^30", name);
  return value;
}

class AdminRoutes : public std::enable_shared_from_this<AdminRoutes> {
 public:
  explicit AdminRoutes(OnDemandPool& pool) : pool_(pool) {}

  void add_to(Router& router) {
    const auto self = shared_from_this();
    const auto add = [&](const char* method, const char* pattern, Scope scope, const char* doc,
                         void (AdminRoutes::*work)(const Shared&)) {
      const auto handler = [self, work](const Shared& exchange) {
        answer(exchange, [&] { (self.get()->*work)(exchange); });
      };
      router.add({method, pattern, scope, handler, doc});
    };
    add("POST", "/v1/models/load", Scope::kAdmin, "Begin to load a model: {\"model\"}", &AdminRoutes::load);
    add("POST", "/v1/models/unload", Scope::kAdmin,
        "Unload a model when its requests have finished: {\"model\"}", &AdminRoutes::unload);
    add("GET", "/v1/models/{id}/memory", Scope::kInfer,
        "What a model would take with ?context= and ?sequences=", &AdminRoutes::memory);
    add("POST", "/v1/load_lora_adapter", Scope::kAdapters,
        "Load an adapter of a model: {\"lora_name\"} and, of several models, {\"model\"}",
        &AdminRoutes::load_adapter);
    add("POST", "/v1/unload_lora_adapter", Scope::kAdapters,
        "Unload an adapter when its requests have finished: {\"lora_name\"}", &AdminRoutes::unload_adapter);
  }

 private:
  void load(const Shared& exchange) {
    pool_.load(named(exchange));
    exchange->send(json_response({{"status", "loading"}}, 202));
  }

  void unload(const Shared& exchange) {
    pool_.unload(named(exchange));
    exchange->send(json_response({{"status", "unloading"}}, 202));
  }

  static void check_use(const Shared& exchange, std::string_view model) {
    if (!exchange->request().caller.may_use(model))
      throw_error(ErrorCode::kNotFound, "there is no model {}", quote_name(model));
  }

  static std::string named(const Shared& exchange) {
    std::string model = read_body(exchange, {"model"}).model;
    if (model.empty()) throw_invalid("'model' is missing");
    check_use(exchange, model);
    return model;
  }

  void memory(const Shared& exchange) {
    const HttpRequest& request = exchange->request();
    const std::string id(request.parameter("id"));
    check_use(exchange, id);
    const OnDemandPool::Limits limits{read_limit(request, "context"), read_limit(request, "sequences")};
    const auto planned = [exchange, id, budget = pool_.memory_budget(), used = pool_.memory_used()](
                             const OnDemandPool::Needs& needs, const std::exception_ptr& error) {
      if (error) return answer_error(*exchange, error);
      exchange->send(json_response({{"model", id},
                                    {"memory", memory_json(needs.plan, needs.bytes, needs.adapter_bytes)},
                                    {"budget", budget},
                                    {"used", used},
                                    {"fits", needs.bytes <= budget}}));
    };
    pool_.estimate(id, limits, planned);
  }

  using WithStore = std::function<void(const std::shared_ptr<ServedModel>& model, engine::AdapterStore& store,
                                       const std::string& adapter)>;

  static Body adapter_of(const Shared& exchange) {
    Body body = read_body(exchange, {"model", "lora_name"});
    if (body.adapter.empty()) throw_invalid("'lora_name' is missing");
    return body;
  }

  // The model that is named, or of those that the caller may use the one that has adapters.
  std::string model_of(const Shared& exchange, const Body& body) const {
    if (!body.model.empty()) {
      check_use(exchange, body.model);
      return body.model;
    }
    std::string found;
    for (const ModelStatus& status : pool_.list()) {
      if (!exchange->request().caller.may_use(status.id)) continue;
      if (status.model == nullptr || status.model->adapters() == nullptr) continue;
      if (!found.empty()) throw_invalid("several models take adapters; name one in 'model'");
      found = status.id;
    }
    if (found.empty()) throw_error(ErrorCode::kFailedPrecondition, "no model that is loaded takes adapters");
    return found;
  }

  void with_store(const Shared& exchange, WithStore work) {
    const Body body = adapter_of(exchange);
    const auto ready = [exchange, adapter = body.adapter, work = std::move(work)](
                           const std::shared_ptr<ServedModel>& model, const std::string&,
                           const std::exception_ptr& error) {
      if (error) return answer_error(*exchange, error);
      answer(exchange, [&] {
        engine::AdapterStore* const store = model->adapters();
        if (store == nullptr)
          throw_error(ErrorCode::kFailedPrecondition, "the model {} takes no adapters",
                      quote_name(model->card().id));
        work(model, *store, adapter);
      });
    };
    pool_.acquire(model_of(exchange, body), ready);
  }

  void load_adapter(const Shared& exchange) {
    with_store(exchange, [exchange](const std::shared_ptr<ServedModel>& model, engine::AdapterStore& store,
                                    const std::string& name) {
      // The model is held until the adapter is there.
      store.get(name, [exchange, model, name](const std::shared_ptr<const engine::Adapter>& adapter,
                                              const std::exception_ptr& error) {
        if (error) return answer_error(*exchange, to_adapter_error(error, exchange->request().id));
        exchange->send(json_response({{"status", "loaded"},
                                      {"model", model->card().id},
                                      {"lora_name", name},
                                      {"digest", adapter->digest()},
                                      {"bytes", adapter->bytes()}}));
      });
    });
  }

  void unload_adapter(const Shared& exchange) {
    const Body body = adapter_of(exchange);
    const std::shared_ptr<ServedModel> model = pool_.loaded(model_of(exchange, body));  // not loaded for this
    engine::AdapterStore* const store = model != nullptr ? model->adapters() : nullptr;
    if (store == nullptr || !store->unload(body.adapter))
      throw_error(ErrorCode::kNotFound, "there is no adapter {} loaded", quote_name(body.adapter));
    exchange->send(json_response({{"status", "unloaded"}, {"lora_name", body.adapter}}));
  }

  OnDemandPool& pool_;
};

}  // namespace

void add_admin_routes(Router& router, OnDemandPool& pool) {
  std::make_shared<AdminRoutes>(pool)->add_to(router);
}

}  // namespace llmhost::serve
