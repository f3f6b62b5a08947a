// map, select and reject: filters that apply other filters and tests to each item.
#include "text/template/filters.h"
#include "text/template/operators.h"

namespace llmhost::text::jinja {
namespace {

// Takes the first positional argument out.
Value shift(Arguments& arguments, std::string_view missing) {
  if (arguments.positional.empty()) fail("{}", missing);
  Value first = std::move(arguments.positional.front());
  arguments.positional.erase(arguments.positional.begin());
  return first;
}

Value map_attribute(const Value& value, Arguments& arguments) {
  const auto given = arguments.take("map", {"attribute", "default"}, 1);
  const Value* fallback = given[1] && !given[1]->is_none() ? &*given[1] : nullptr;
  Values out;
  for (const auto walked = iterate(value); const Value& item : walked->items)
    out.push_back(attribute_at(item, *given[0], fallback));
  return iterator_value(std::move(out));
}

Value map(Runtime& runtime, const Value& value, Arguments& arguments) {
  if (!value.truth()) return iterator_value({});
  if (arguments.positional.empty()) {
    for (const auto& entry : arguments.named)
      if (entry.first == "attribute") return map_attribute(value, arguments);
  }
  const Value name = shift(arguments, "map requires a filter argument");
  const Filter filter = name.is_string() ? find_filter(name.text()) : nullptr;
  if (filter == nullptr) fail("No filter named {}.", repr_of(name));
  Values out;
  for (const auto walked = iterate(value); const Value& item : walked->items) {
    Meter::work(1);
    Arguments copy = arguments;
    out.push_back(filter(runtime, item, copy));
  }
  return iterator_value(std::move(out));
}

template <bool kKeep, bool kAttribute>
Value select(Runtime& runtime, const Value& value, Arguments& arguments) {
  if (!value.truth()) return iterator_value({});
  Value path;
  if (kAttribute) path = shift(arguments, "Missing parameter for attribute name");
  Test test = nullptr;
  if (!arguments.positional.empty()) {
    const Value name = shift(arguments, "");
    test = name.is_string() ? find_test(name.text()) : nullptr;
    if (test == nullptr) fail("No test named {}.", repr_of(name));
  }
  Values out;
  for (const auto walked = iterate(value); const Value& item : walked->items) {
    Meter::work(1);
    const Value subject = kAttribute ? attribute_at(item, path) : item;
    Arguments copy = arguments;
    if ((test == nullptr ? subject.truth() : test(runtime, subject, copy)) == kKeep) out.push_back(item);
  }
  return iterator_value(std::move(out));
}

constexpr FilterEntry kFilters[] = {
    {"map", map},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
};

}  // namespace

std::span<const FilterEntry> selection_filters() {
  return kFilters;
}

}  // namespace llmhost::text::jinja
