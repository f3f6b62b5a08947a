// Every field of every request body, in one table: what it is called, where it may stand, what it may be,
// what it means and how it is applied. Parsing, range errors, the documentation, the OpenAPI document and the
// edge cases of the tests all come from this table. A field that is not in it is refused by name, or, where
// the server is lenient, left out and listed in the answer. A field of null counts as not given.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "engine/request.h"

namespace llmhost::serve {

// The objects that requests are made of; a set of them is a sum.
enum Body : uint32_t {
  kChatBody = 1,
  kCompletionBody = 2,
  kResponseBody = 4,
  kEmbeddingBody = 8,
  kTokenizeBody = 16,
  kDetokenizeBody = 32,
  kTemplateBody = 64,
  kGenerateBody = 128,            // /generate and its like
  kGenerateParametersBody = 256,  // "parameters" of it
};
std::string_view to_text(Body body);  // "chat", …

// Kinds of JSON values; a set of them is a sum.
enum Kind : uint32_t { kBool = 1, kInteger = 2, kNumber = 4, kString = 8, kList = 16, kObject = 32 };

// What most endpoints ask of a generation.
struct TextOptions {
  engine::SamplingParams sampling;
  int64_t max_tokens = engine::Request::kToEndOfContext;
  int64_t min_tokens = 0;
  int32_t n = 1;
  int32_t best_of = 0;  // 0: as n
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  bool prompt_logprobs = false;
  bool cache_prompt = true;
  std::string cache_salt;
  std::string adapter;
};

struct Parameter {
  enum class Effect {
    kApplied,
    kWithoutEffect,  // taken, and changes nothing: the documentation says why
    kFixed,          // only the listed values; others are refused for the stated reason
    kRefused         // for the stated reason
  };

  std::string_view name = {};
  uint32_t bodies = 0;
  uint32_t kinds = 0;
  std::string_view documentation = {};  // for kFixed and kRefused it is the reason
  Effect effect = Effect::kApplied;
  double least = 0;  // of numbers, and of a list's numbers
  double most = 0;
  bool above_least = false;                   // `least` itself is not allowed
  size_t max_bytes = size_t{1} << 24;         // of a string, and of a list's strings
  size_t max_items = 1024;                    // of a list or an object
  uint32_t item_kinds = 0;                    // of a list's items; 0: the endpoint looks at them
  std::vector<std::string_view> values = {};  // strings, or JSON texts for kFixed
  std::string_view default_text = {};
  bool required = false;
  void (*apply)(const OrderedJson& value, TextOptions& options) = nullptr;
};

// Ordered by subject; names are unique within a body.
std::span<const Parameter> all_parameters();
const Parameter* find_parameter(Body body, std::string_view name);

enum class Compat { kStrict, kLenient };

struct CheckedBody {
  OrderedJson json;  // nulls and what is ignored are left out
  std::vector<std::string> ignored;

  const OrderedJson* find(std::string_view name) const;
  std::string text(std::string_view name) const;  // a string's value, or empty
  bool flag(std::string_view name, bool otherwise) const;
  int64_t integer(std::string_view name, int64_t otherwise) const;
};

// Throws ApiError (400) naming the field.
CheckedBody check_object(Body body, OrderedJson json, Compat compat);
// Parses, with the table's limits on lengths found before anything is built, and checks.
CheckedBody check_body(Body body, std::string_view text, Compat compat);

// What the fields that have an `apply` ask.
void apply_parameters(Body body, const CheckedBody& checked, TextOptions& options);

// The value as an error message of the table says it: kinds, range, lengths.
std::string describe(const Parameter& parameter);
// docs/serving-parameters.md
std::string parameters_document();
// JSON schema of a body, as OpenAPI 3.1 has it.
OrderedJson parameters_schema(Body body);

}  // namespace llmhost::serve
