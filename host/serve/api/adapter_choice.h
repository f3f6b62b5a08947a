// What a request says of adapters, asked of a model's store.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "core/json.h"
#include "engine/adapter_store.h"

namespace llmhost::serve {

// One adapter by its name, or several made one; neither: the base, or what the model's name says.
struct AdapterChoice {
  std::string name = {};
  OrderedJson merged = nullptr;  // "merged_adapters" of a request, or null
};

// The hash of its content; empty for the base.
std::string adapter_digest(const engine::Adapter* adapter);

// Throws ApiError for what is no "merged_adapters".
void get_adapter(
    engine::AdapterStore& store, const AdapterChoice& choice,
    std::function<void(std::shared_ptr<const engine::Adapter>, const std::exception_ptr&)> ready);

}  // namespace llmhost::serve
