#include "serve/api/adapter_choice.h"

#include "engine/adapter.h"
#include "serve/api/api_error.h"

namespace llmhost::serve {

std::string adapter_digest(const engine::Adapter* adapter) {
  return adapter == nullptr ? std::string() : adapter->digest();
}

void get_adapter(
    engine::AdapterStore& store, const AdapterChoice& choice,
    std::function<void(std::shared_ptr<const engine::Adapter>, const std::exception_ptr&)> ready) {
  if (!choice.merged.is_null())
    throw bad_field("merged_adapters", "is not supported", "unsupported_parameter");
  store.get(choice.name, std::move(ready));
}

}  // namespace llmhost::serve
