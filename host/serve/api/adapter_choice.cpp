#include "serve/api/adapter_choice.h"

#include <array>

#include "engine/adapter.h"
#include "engine/adapter_merge.h"
#include "serve/api/api_error.h"

namespace llmhost::serve {
namespace {

constexpr size_t kMostParts = 16;
constexpr size_t kMostName = 512;

std::string string_of(const OrderedJson& value, const std::string& field) {
  if (!value.is_string() || value.get_ref<const std::string&>().size() > kMostName)
    throw bad_field(field, "must be a string of up to 512 bytes");
  return value.get<std::string>();
}

double number_of(const OrderedJson& value, const std::string& field, double least, double most) {
  if (!value.is_number() || !(value.get<double>() >= least) || !(value.get<double>() <= most))
    throw bad_field(field, fmt::format("must be a number from {} to {}", least, most));
  return value.get<double>();
}

const OrderedJson& list_of(const OrderedJson& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_array() || found->empty() || found->size() > kMostParts)
    throw bad_field(fmt::format("merged_adapters.{}", name),
                    fmt::format("must be a list of 1 to {}", kMostParts));
  return *found;
}

void read_setting(const std::string& name, const OrderedJson& value, engine::AdapterMerge& merge) {
  const std::string field = "merged_adapters." + name;
  if (name == "merge_strategy") {
    const auto strategy = engine::parse_merge_strategy(string_of(value, field));
    if (!strategy) throw bad_field(field, "expected linear, ties, dare_linear or dare_ties");
    merge.strategy = *strategy;
  } else if (name == "majority_sign_method") {
    const auto sign = engine::parse_majority_sign(string_of(value, field));
    if (!sign) throw bad_field(field, "expected total or frequency");
    merge.majority_sign = *sign;
  } else if (name == "density") {
    merge.density = number_of(value, field, 0, 1);
  } else if (name != "ids" && name != "weights") {
    throw unknown_field("merged_adapters", name,
                        "ids, weights, merge_strategy, density and majority_sign_method");
  }
}

engine::AdapterMerge read_merge(const OrderedJson& object) {
  engine::AdapterMerge merge;
  const OrderedJson& ids = list_of(object, "ids");
  const OrderedJson& weights = list_of(object, "weights");
  if (ids.size() != weights.size())
    throw bad_field("merged_adapters.weights", "there must be as many as ids");
  for (size_t i = 0; i < ids.size(); ++i)
    merge.parts.push_back(
        {string_of(ids[i], fmt::format("merged_adapters.ids[{}]", i)),
         number_of(weights[i], fmt::format("merged_adapters.weights[{}]", i), -1000, 1000)});
  for (const auto& [name, value] : object.items())
    if (!value.is_null()) read_setting(name, value, merge);
  merge.validate();
  return merge;
}

}  // namespace

std::string adapter_digest(const engine::Adapter* adapter) {
  return adapter == nullptr ? std::string() : adapter->digest();
}

void get_adapter(
    engine::AdapterStore& store, const AdapterChoice& choice,
    std::function<void(std::shared_ptr<const engine::Adapter>, const std::exception_ptr&)> ready) {
  if (choice.merged.is_null())
    store.get(choice.name, std::move(ready));
  else
    store.get_merged(read_merge(choice.merged), std::move(ready));
}

}  // namespace llmhost::serve
