#include "text/grammar/json_schema.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "text/grammar/sources.h"

namespace llmhost::text::grammar {
namespace {

// Each once, in the order of the first.
void normalise(Conjunction& conjunction) {
  Conjunction out;
  for (const Schema schema : conjunction)
    if (std::find(out.begin(), out.end(), schema) == out.end()) out.push_back(schema);
  conjunction = std::move(out);
}

}  // namespace

RuleSet read_json_schema(std::string_view text, Budget& budget) {
  return SchemaReader(text, budget).read();
}

RuleSet SchemaReader::read() {
  const int32_t root = rule_for({document_.root()});
  while (!jobs_.empty()) {
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    Expr expression = job.is_way ? write(job.conjunction, merge(document_, job.conjunction))
                                 : expression_of(job.conjunction);
    set_.rules[static_cast<size_t>(job.rule)].expression = std::move(expression);
  }
  set_.root = root;
  return std::move(set_);
}

// The rule of a conjunction, which is written later.
int32_t SchemaReader::rule_for(Conjunction conjunction) {
  normalise(conjunction);
  if (conjunction.empty()) return json_.value;
  const auto [entry, is_new] = rules_.try_emplace(std::move(conjunction), 0);
  if (is_new) {
    budget_.spend();
    entry->second = set_.add("schema");
    jobs_.push_back({entry->first, entry->second, false});
  }
  return entry->second;
}

int32_t SchemaReader::rule_for_way(const Conjunction& schemas) {
  if (schemas.empty()) return json_.value;
  const auto [entry, is_new] = ways_.try_emplace(schemas, 0);
  if (is_new) {
    budget_.spend();
    entry->second = set_.add("schema");
    jobs_.push_back({schemas, entry->second, true});
  }
  return entry->second;
}

Expr SchemaReader::expression_of(const Conjunction& conjunction) {
  Way way;
  for (const Schema schema : conjunction) {
    std::vector<Schema> path;
    add(schema, way, path);
  }
  std::vector<Conjunction> ways;
  split(std::move(way), 0, ways);
  std::vector<Expr> parts;
  for (const Conjunction& schemas : ways) parts.push_back(rule(rule_for_way(schemas)));
  return alternatives(std::move(parts));
}

// Adds a schema and what it refers to. `path` is what led to it without reading anything.
void SchemaReader::add(Schema schema, Way& way, std::vector<Schema>& path) {
  document_.check(schema);
  budget_.work(1 + path.size());
  if (schema->is_boolean()) {
    way.is_possible = way.is_possible && schema->get<bool>();
    return;
  }
  if (std::find(path.begin(), path.end(), schema) != path.end())
    document_.fail(schema, "it refers to itself without anything around");
  if (path.size() > kMostDepth)
    document_.fail(schema, fmt::format("references and allOf are nested deeper than {}", kMostDepth));
  path.push_back(schema);
  const bool has_ref = schema->contains("$ref");
  if (has_ref) add(document_.target_of(schema), way, path);
  if (!has_ref || !document_.refs_stand_alone()) {
    if (SchemaDocument::says_something(*schema)) way.schemas.push_back(schema);
    if (schema->contains("allOf"))
      for (const OrderedJson& part : (*schema)["allOf"]) add(&part, way, path);
    if ((schema->contains("anyOf") || schema->contains("oneOf")) &&
        std::find(way.unions.begin(), way.unions.end(), schema) == way.unions.end())
      way.unions.push_back(schema);
  }
  path.pop_back();
}

// Chooses alternatives one union after the other; a union with both anyOf and oneOf is two.
void SchemaReader::split(Way way, size_t next_union, std::vector<Conjunction>& ways) {
  if (!way.is_possible) return;
  if (next_union == way.unions.size()) {
    normalise(way.schemas);
    budget_.spend();
    budget_.work(ways.size());
    if (std::find(ways.begin(), ways.end(), way.schemas) == ways.end())
      ways.push_back(std::move(way.schemas));
    return;
  }
  if (next_union > kMostDepth)
    document_.fail(way.unions[next_union],
                   fmt::format("more than {} alternatives hold together", kMostDepth));
  const Schema chosen = way.unions[next_union];
  const auto choose = [&](const Way& from, std::string_view key, const auto& then) {
    if (!chosen->contains(key)) return then(from);
    for (const OrderedJson& part : (*chosen)[std::string(key)]) {
      Way next = from;
      // A union that is its own alternative would be chosen of without end.
      std::vector<Schema> path(next.unions.begin(),
                               next.unions.begin() + static_cast<std::ptrdiff_t>(next_union) + 1);
      add(&part, next, path);
      then(std::move(next));
    }
  };
  if (chosen->contains("oneOf")) check_one_of(chosen);
  choose(way, "anyOf", [&](const Way& after_any) {
    choose(after_any, "oneOf", [&](const Way& after_one) { split(after_one, next_union + 1, ways); });
  });
}

// Alternatives that are sure to exclude each other make a oneOf an anyOf.
void SchemaReader::check_one_of(Schema schema) {
  const OrderedJson& parts = (*schema)["oneOf"];
  for (size_t i = 0; i < parts.size(); ++i)
    for (size_t j = i + 1; j < parts.size(); ++j) {
      budget_.work(16);
      if (!document_.are_disjoint(&parts[i], &parts[j]))
        document_.fail(schema,
                       fmt::format("'oneOf': alternatives {} and {} may both hold; use 'anyOf', or give "
                                   "them different types or a property with different constants",
                                   i, j));
    }
}

}  // namespace llmhost::text::grammar
