#include "serve/api/api.h"

#include <chrono>

#include "serve/api/endpoints.h"
#include "serve/api/openapi.h"
#include "serve/api/response_store.h"
#include "serve/api/text_metrics.h"
#include "text/grammar/grammar.h"

namespace llmhost::serve {

ApiContext::ApiContext(ModelPool& models, Metrics& counts_of, ApiOptions settings)
    : pool(models),
      metrics(counts_of),
      options(std::move(settings)),
      grammars(std::make_unique<text::GrammarCache>(options.grammar_cache_bytes)),
      responses(std::make_unique<ResponseStore>(options.stored_responses)),
      counts(std::make_unique<TextMetrics>(counts_of)) {}

ApiContext::~ApiContext() = default;

std::string answer_id(std::string_view prefix, const Call& call) {
  std::string_view id = call.request().id;
  if (const size_t dash = id.find('-'); dash != std::string_view::npos) id.remove_prefix(dash + 1);
  return std::string(prefix) + std::string(id);
}

int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void add_api_routes(Router& router, ModelPool& pool, Metrics& metrics, const ApiOptions& options) {
  const auto context = std::make_shared<ApiContext>(pool, metrics, options);
  for (const ApiRoute& route : api_routes())
    router.add({.method = std::string(route.method),
                .pattern = std::string(route.pattern),
                .scope = Scope::kInfer,
                .handler =
                    [context, endpoint = route.endpoint,
                     style = route.style](const std::shared_ptr<Exchange>& exchange) {
                      const auto call = Call::make(exchange, context, style);
                      call->run([&] { endpoint(call); });
                    },
                .doc = std::string(route.documentation)});
}

}  // namespace llmhost::serve
