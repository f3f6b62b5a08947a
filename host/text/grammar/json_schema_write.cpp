// Writes what a Shape allows, type by type.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "text/grammar/fragment.h"
#include "text/grammar/json_schema.h"

namespace llmhost::text::grammar {
namespace {

Expr any_character() {
  return character_of(CodeSet{{0, kLastCodePoint}});
}

// Whether no value fulfils a conjunction for a reason that is plain to see.
bool is_never(const Conjunction& schemas) {
  return std::any_of(schemas.begin(), schemas.end(), [](Schema schema) { return *schema == false; });
}

constexpr int64_t kMostPlaces = 1000;  // of arrays, with schemas of their own

}  // namespace

Expr SchemaReader::write(const Conjunction& schemas, const Shape& shape) {
  if (shape.values) return write_values(schemas, shape);
  std::vector<Expr> ways;
  if ((shape.types & kNull) != 0) ways.push_back(bytes_of("null"));
  if ((shape.types & kBoolean) != 0) {
    ways.push_back(bytes_of("true"));
    ways.push_back(bytes_of("false"));
  }
  if ((shape.types & kNumbers) != 0) ways.push_back(write_numbers(schemas, shape));
  if ((shape.types & kString) != 0) ways.push_back(write_string(shape));
  if ((shape.types & kArray) != 0) ways.push_back(write_array(shape));
  if ((shape.types & kObject) != 0) ways.push_back(write_object(schemas, shape));
  return alternatives(std::move(ways));
}

// Those of an enum that all the schemas hold for.
Expr SchemaReader::write_values(const Conjunction& schemas, const Shape& shape) {
  std::vector<Expr> ways;
  for (const OrderedJson& value : *shape.values) {
    const bool is_valid = std::all_of(schemas.begin(), schemas.end(),
                                      [&](Schema schema) { return document_.holds(value, schema); });
    if (is_valid) ways.push_back(json_value(json_, value));
  }
  return alternatives(std::move(ways));
}

Expr SchemaReader::write_numbers(const Conjunction& schemas, const Shape& shape) {
  const bool is_integer = (shape.types & kFraction) == 0;
  if ((shape.types & kInteger) == 0)
    document_.fail(schemas[0], "numbers that are no integers alone are not supported");
  if (shape.range.is_unlimited() && shape.divisors.empty())
    return rule(is_integer ? json_.integer : json_.number);
  const std::string where = "json_schema: " + document_.where(schemas[0]);
  return is_integer ? integers(shape.range, shape.divisors, where, budget_)
                    : decimals(shape.range, where, budget_);
}

Expr SchemaReader::write_string(const Shape& shape) {
  const bool has_content = !shape.patterns.empty() || !shape.formats.empty();
  if (!has_content && shape.min_length == 0 && shape.max_length < 0) return rule(json_.string);
  const int64_t most = shape.max_length < 0 ? Expression::kNoLimit : shape.max_length;
  if (shape.max_length >= 0 && shape.max_length < shape.min_length) return never();
  Expr content = has_content ? automaton_of(escaped(string_content(shape), budget_))
                             : repeat(rule(json_.character), shape.min_length, most);
  return sequence({bytes_of("\""), std::move(content), bytes_of("\"")});
}

// Texts that fulfil patterns, formats and lengths, before they are written as JSON.
Automaton SchemaReader::string_content(const Shape& shape) {
  std::optional<Automaton> all;
  const auto also = [&](const Automaton& automaton) {
    all = all ? intersection(*all, automaton, budget_) : automaton;
  };
  for (const auto& [schema, pattern] : shape.patterns) also(document_.pattern_texts(schema, pattern));
  for (const auto& [schema, format] : shape.formats) also(document_.format_texts_of(schema, format));
  if (shape.min_length > 0 || shape.max_length >= 0) {
    const int64_t most = shape.max_length < 0 ? Expression::kNoLimit : shape.max_length;
    also(to_automaton(repeat(any_character(), shape.min_length, most), budget_));
  }
  return std::move(*all);
}

Expr SchemaReader::write_array(const Shape& shape) {
  const auto n_first = static_cast<int64_t>(shape.first_items.size());
  if (n_first > kMostPlaces)
    throw_error(ErrorCode::kResourceExhausted, "json_schema: more than {} 'prefixItems' are not supported",
                kMostPlaces);
  const int64_t most = is_never(shape.items)
                           ? (shape.max_items < 0 ? n_first : std::min(n_first, shape.max_items))
                           : shape.max_items;
  if (most >= 0 && most < shape.min_items) return never();
  // From the back: what may follow i items of their own.
  const Expr next_item = sequence({json_.separator(), rule(rule_for(shape.items))});
  const auto more = [&](int64_t n) {  // others after n items
    const int64_t least = std::max<int64_t>(shape.min_items - n, 0);
    return repeat(next_item, least, most < 0 ? Expression::kNoLimit : std::max<int64_t>(most - n, 0));
  };
  const int64_t n_own = most < 0 ? n_first : std::min(n_first, most);
  Expr rest = nothing();
  if (n_own > 0) {
    rest = more(n_own);
  } else if (most != 0) {
    rest = sequence({rule(rule_for(shape.items)), more(1)});
  }
  for (int64_t i = n_own; i-- > 0;) {
    std::vector<Expr> parts;
    if (i > 0) parts.push_back(json_.separator());
    parts.push_back(rule(rule_for(shape.first_items[static_cast<size_t>(i)])));
    parts.push_back(std::move(rest));
    rest = sequence(std::move(parts));
    if (i > 0 && i >= shape.min_items) rest = optional(std::move(rest));
  }
  if (shape.min_items == 0) rest = optional(std::move(rest));
  return bracketed(json_, '[', std::move(rest), ']');
}

// What names that are not listed may be; nullopt: any JSON string.
std::optional<Automaton> SchemaReader::other_names(const Conjunction& schemas, const Shape& shape) {
  if (shape.properties.empty() && shape.property_names.empty() && shape.name_patterns.empty())
    return std::nullopt;
  Automaton texts = to_automaton(repeat(any_character(), 0, Expression::kNoLimit), budget_);
  constexpr std::string_view kOfNames[] = {"pattern", "minLength", "maxLength", "format", "type"};
  for (const Schema allowed : shape.property_names) {
    document_.check(allowed);
    if (*allowed == false) return Automaton{};
    if (!allowed->is_object()) continue;
    for (const auto& [key, value] : allowed->items())
      if (std::find(std::begin(kOfNames), std::end(kOfNames), key) == std::end(kOfNames))
        document_.fail(schemas[0],
                       fmt::format("'propertyNames' with '{}' is not supported", key.substr(0, 60)));
    if ((document_.types_of(allowed) & kString) == 0) return Automaton{};
    const Shape its = merge(document_, {allowed});
    if (its.patterns.empty() && its.formats.empty() && its.min_length == 0 && its.max_length < 0) continue;
    texts = intersection(texts, string_content(its), budget_);
  }
  std::vector<Expr> known;
  for (const Shape::Property& property : shape.properties) known.push_back(bytes_of(property.name));
  if (known.empty()) return texts;
  return difference(texts, to_automaton(alternatives(std::move(known)), budget_), budget_);
}

// A member whose name is not listed; null when there are none. One way for each set of patterns that a name
// may match.
Expr SchemaReader::other_members(const Conjunction& schemas, const Shape& shape) {
  constexpr size_t kMostPatterns = 6;
  const size_t n_patterns = shape.name_patterns.size();
  if (n_patterns > kMostPatterns)
    document_.fail(schemas[0],
                   fmt::format("more than {} 'patternProperties' are not supported", kMostPatterns));
  const std::optional<Automaton> all = other_names(schemas, shape);
  std::vector<Expr> ways;
  for (size_t matched = 0; matched < size_t{1} << n_patterns; ++matched) {
    Conjunction values;
    std::vector<bool> has_match(shape.others.size(), false);
    for (size_t i = 0; i < n_patterns; ++i) {
      if ((matched >> i & 1) == 0) continue;
      values.push_back(shape.name_patterns[i].schema);
      has_match[shape.name_patterns[i].owner] = true;
    }
    for (size_t owner = 0; owner < shape.others.size(); ++owner)
      if (!has_match[owner] && shape.others[owner] != nullptr) values.push_back(shape.others[owner]);
    if (is_never(values)) continue;
    Expr name = rule(json_.string);
    if (all) {
      Automaton names = *all;
      for (size_t i = 0; i < n_patterns; ++i)
        names = (matched >> i & 1) != 0 ? intersection(names, *shape.name_patterns[i].names, budget_)
                                        : difference(names, *shape.name_patterns[i].names, budget_);
      if (names.is_empty()) continue;
      name = sequence({bytes_of("\""), automaton_of(escaped(names, budget_)), bytes_of("\"")});
    }
    ways.push_back(sequence({std::move(name), json_.colon(), rule(rule_for(values))}));
  }
  return ways.empty() ? nullptr : alternatives(std::move(ways));
}

Expr SchemaReader::write_object(const Conjunction& schemas, const Shape& shape) {
  const Expr others = other_members(schemas, shape);
  const auto n_required = std::count_if(shape.properties.begin(), shape.properties.end(),
                                        [](const Shape::Property& property) { return property.is_required; });
  if (others != nullptr && shape.min_properties > std::max<int64_t>(n_required, 1))
    document_.fail(schemas[0],
                   "'minProperties' beside names that are not listed is not supported, as one could be "
                   "there twice; list names as 'required', or set 'additionalProperties' to false");
  if (shape.max_properties >= 0 && shape.max_properties < n_required) return never();
  return bracketed(json_, '{', automaton_of(members(schemas, shape, others)), '}');
}

// Members in the order of the schema, then others. A state knows which member may come next and, as far as it
// matters, how many there are already.
Automaton SchemaReader::members(const Conjunction& schemas, const Shape& shape, const Expr& others) {
  const size_t n = shape.properties.size();
  const auto n_counts =
      static_cast<size_t>(std::max<int64_t>({shape.min_properties, shape.max_properties, 1})) + 1;
  constexpr size_t kMostNodes = 50'000;
  if (n_counts > kMostNodes / (n + 1))
    document_.fail(schemas[0], "'minProperties' and 'maxProperties' are only supported when they are small");
  Nfa nfa(budget_);
  FragmentWriter writer(
      nfa, [](int32_t) { return RuleUse{}; }, nullptr);
  const auto node = [&](size_t i, size_t count) { return static_cast<int32_t>(i * n_counts + count); };
  for (size_t i = 0; i < (n + 1) * n_counts; ++i) nfa.add_state();
  const int32_t end = nfa.add_state();
  const Expr separator = json_.separator();
  const auto write_member = [&](const Expr& member, size_t i, size_t count, size_t next) {
    const size_t more = std::min(count + 1, n_counts - 1);
    if (shape.max_properties >= 0 && count >= static_cast<size_t>(shape.max_properties)) return;
    const int32_t from = count == 0 ? node(i, 0) : writer.write(*separator, node(i, count));
    nfa.add_move(writer.write(*member, from), node(next, more));
  };
  for (size_t i = 0; i < n; ++i) {
    const Shape::Property& property = shape.properties[i];
    const bool is_out = is_never(property.schemas);
    const Expr member = sequence({bytes_of(json_string(property.name)), json_.colon(),
                                  rule(is_out ? json_.value : rule_for(property.schemas))});
    for (size_t count = 0; count < n_counts; ++count) {
      if (!property.is_required) nfa.add_move(node(i, count), node(i + 1, count));
      if (!is_out) write_member(member, i, count, i + 1);
    }
  }
  for (size_t count = 0; count < n_counts; ++count) {
    if (others != nullptr) write_member(others, n, count, n);
    if (static_cast<int64_t>(count) >= shape.min_properties) nfa.add_move(node(n, count), end);
  }
  return determinise(nfa, node(0, 0), end);
}

}  // namespace llmhost::text::grammar
