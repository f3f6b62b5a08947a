// Reads a JSON schema into rules.
//
// A conjunction is a set of schemas that hold together; each has a rule. It is split into its ways: without
// references and allOf, one alternative chosen of each anyOf and oneOf. What a way's schemas say of each type
// is put together in a Shape, and written as an expression.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "text/grammar/json_text.h"

namespace llmhost::text::grammar {

using Schema = const OrderedJson*;
using Conjunction = std::vector<Schema>;  // each once

enum JsonTypes : uint32_t {
  kNull = 1,
  kBoolean = 2,
  kObject = 4,
  kArray = 8,
  kString = 16,
  kInteger = 32,
  kFraction = 64,  // numbers that are no integers
  kNumbers = kInteger | kFraction,
  kAllTypes = 127,
};
uint32_t type_of(const OrderedJson& value);

// References, places of schemas for errors, and what is asked of schemas outside of rules.
class SchemaDocument {
 public:
  SchemaDocument(std::string_view text, Budget& budget);

  Schema root() const { return &root_; }
  Budget& budget() const { return budget_; }
  // Whether "$ref" stands alone, as up to draft 7.
  bool refs_stand_alone() const { return refs_stand_alone_; }
  Schema target_of(Schema schema) const;  // of its $ref
  // A JSON pointer to the schema.
  std::string where(Schema schema) const;
  [[noreturn]] void fail(Schema schema, std::string_view what) const;
  // Once for each schema: that it is a schema, without keywords that are not enforced.
  void check(Schema schema);

  // Whether it has conditions of its own, references and combinations apart.
  static bool says_something(const OrderedJson& schema);
  uint32_t types_of(Schema schema) const;  // what its "type" allows
  // Types that it may allow, with references, allOf and alternatives.
  uint32_t possible_types(Schema schema, int depth = 0) const;
  // Whether the value is valid.
  bool holds(const OrderedJson& value, Schema schema, int depth = 0);
  // True when no value is valid for both; false when that is not sure.
  bool are_disjoint(Schema a, Schema b, int depth = 0);
  // Texts that hold a match of a pattern, texts of a format.
  const Automaton& pattern_texts(Schema schema, const std::string& pattern);
  const Automaton& format_texts_of(Schema schema, const std::string& name);

 private:
  static constexpr int kMostDepth = 64;

  bool holds_number(const OrderedJson& value, const OrderedJson& schema) const;
  bool holds_string(const OrderedJson& value, Schema schema);
  bool holds_array(const OrderedJson& value, const OrderedJson& schema, int depth);
  bool holds_object(const OrderedJson& value, Schema schema, int depth);
  bool holds_combined(const OrderedJson& value, const OrderedJson& schema, int depth);
  const OrderedJson* values_of(Schema schema) const;  // its enum
  bool objects_disjoint(const OrderedJson& a, const OrderedJson& b, int depth);
  bool numbers_disjoint(const OrderedJson& a, const OrderedJson& b) const;

  Budget& budget_;
  OrderedJson root_;
  bool refs_stand_alone_ = false;
  std::map<Schema, bool> checked_;
  std::map<std::string, Automaton> patterns_;
  std::map<std::string, Automaton> formats_;
};

// All that the schemas of one way say.
struct Shape {
  uint32_t types = kAllTypes;
  std::optional<std::vector<OrderedJson>> values;  // of enum and const

  NumberRange range;
  std::vector<int64_t> divisors;

  int64_t min_length = 0;
  int64_t max_length = -1;  // or any
  std::vector<std::pair<Schema, std::string>> patterns;
  std::vector<std::pair<Schema, std::string>> formats;

  int64_t min_items = 0;
  int64_t max_items = -1;
  std::vector<Conjunction> first_items;
  Conjunction items;  // of the rest

  struct Property {
    std::string name;
    Conjunction schemas;
    bool is_required = false;
  };
  std::vector<Property> properties;
  // Names that are none of these: by the patterns that they match, those of each schema apart. A schema none
  // of whose patterns matches has its additionalProperties.
  struct NamePattern {
    const Automaton* names;
    size_t owner;  // in others
    Schema schema;
  };
  std::vector<NamePattern> name_patterns;
  std::vector<Schema> others;  // additionalProperties of each schema; null: anything
  Conjunction property_names;
  int64_t min_properties = 0;
  int64_t max_properties = -1;
};
// `schemas` is not empty.
Shape merge(SchemaDocument& document, const Conjunction& schemas);

class SchemaReader {
 public:
  SchemaReader(std::string_view text, Budget& budget)
      : document_(text, budget), budget_(budget), json_(set_) {}
  RuleSet read();

 private:
  static constexpr int kMostDepth = 100;
  struct Way {
    Conjunction schemas;         // without references, allOf, alternatives
    std::vector<Schema> unions;  // whose anyOf, oneOf an alternative is to be chosen of
    bool is_possible = true;
  };

  int32_t rule_for(Conjunction conjunction);
  int32_t rule_for_way(const Conjunction& schemas);
  Expr expression_of(const Conjunction& conjunction);
  void add(Schema schema, Way& way, std::vector<Schema>& path);
  void split(Way way, size_t next_union, std::vector<Conjunction>& ways);
  void check_one_of(Schema schema);

  Expr write(const Conjunction& schemas, const Shape& shape);
  Expr write_values(const Conjunction& schemas, const Shape& shape);
  Expr write_numbers(const Conjunction& schemas, const Shape& shape);
  Expr write_string(const Shape& shape);
  Automaton string_content(const Shape& shape);
  Expr write_array(const Shape& shape);
  Expr write_object(const Conjunction& schemas, const Shape& shape);
  Expr other_members(const Conjunction& schemas, const Shape& shape);
  std::optional<Automaton> other_names(const Conjunction& schemas, const Shape& shape);
  Automaton members(const Conjunction& schemas, const Shape& shape, const Expr& others);

  SchemaDocument document_;
  Budget& budget_;
  RuleSet set_;
  JsonRules json_;
  std::map<Conjunction, int32_t> rules_;  // of conjunctions
  std::map<Conjunction, int32_t> ways_;   // of ways
  struct Job {
    Conjunction conjunction;
    int32_t rule;
    bool is_way;
  };
  std::deque<Job> jobs_;
};

}  // namespace llmhost::text::grammar
