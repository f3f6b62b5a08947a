// JSON schemas of answers: what every answer has; more may be there.
#include "serve/api/openapi.h"

namespace llmhost::serve {
namespace {

OrderedJson typed(std::string_view type) {
  return {{"type", type}};
}

OrderedJson list_of(OrderedJson items) {
  return {{"type", "array"}, {"items", std::move(items)}};
}

// An object whose properties are all required.
OrderedJson object(std::initializer_list<std::pair<std::string_view, OrderedJson>> properties) {
  OrderedJson out = {{"type", "object"}};
  for (const auto& [name, schema] : properties) {
    out["properties"][std::string(name)] = schema;
    out["required"].push_back(name);
  }
  return out;
}

OrderedJson usage() {
  return object({{"prompt_tokens", typed("integer")},
                 {"completion_tokens", typed("integer")},
                 {"total_tokens", typed("integer")}});
}

OrderedJson answer(std::string_view object_name, OrderedJson choice) {
  return object({{"id", typed("string")},
                 {"object", {{"const", object_name}}},
                 {"created", typed("integer")},
                 {"model", typed("string")},
                 {"choices", list_of(std::move(choice))},
                 {"usage", usage()},
                 {"llmhost", typed("object")}});
}

OrderedJson finish_reasons() {
  return {{"enum", {"stop", "length", "tool_calls"}}};
}

OrderedJson model_schema() {
  return object({{"id", typed("string")},
                 {"object", {{"const", "model"}}},
                 {"created", typed("integer")},
                 {"owned_by", typed("string")},
                 {"state", typed("string")}});
}

OrderedJson generated() {
  return object({{"generated_text", typed("string")}});
}

}  // namespace

OrderedJson answer_schema(AnswerShape shape) {
  switch (shape) {
    case AnswerShape::kChat:
      return answer("chat.completion",
                    object({{"index", typed("integer")},
                            {"message", object({{"role", {{"const", "assistant"}}},
                                                {"content", {{"type", {"string", "null"}}}}})},
                            {"finish_reason", finish_reasons()}}));
    case AnswerShape::kCompletion:
      return answer("text_completion", object({{"index", typed("integer")},
                                               {"text", typed("string")},
                                               {"finish_reason", finish_reasons()}}));
    case AnswerShape::kResponse:
      return object({{"id", typed("string")},
                     {"object", {{"const", "response"}}},
                     {"created_at", typed("number")},
                     {"status", typed("string")},
                     {"model", typed("string")},
                     {"output", list_of(typed("object"))}});
    case AnswerShape::kEmbeddings:
      return object({{"object", {{"const", "list"}}},
                     {"model", typed("string")},
                     {"data", list_of(object({{"index", typed("integer")},
                                              {"embedding", {{"type", {"array", "string"}}}}}))}});
    case AnswerShape::kModels:
      return object({{"object", {{"const", "list"}}}, {"data", list_of(model_schema())}});
    case AnswerShape::kModel:
      return model_schema();
    case AnswerShape::kTokens:
      return object({{"tokens", list_of(typed("integer"))}, {"count", typed("integer")}});
    case AnswerShape::kText:
      return object({{"prompt", typed("string")}});
    case AnswerShape::kPrompt:
      return object({{"prompt", typed("string")}, {"tokens", list_of(typed("integer"))}});
    case AnswerShape::kGenerate:
      return generated();
    case AnswerShape::kGenerateList:
      return list_of(generated());
    case AnswerShape::kInfo:
      return object({{"model_id", typed("string")}, {"version", typed("string")}});
    case AnswerShape::kDeleted:
      return object({{"id", typed("string")}, {"deleted", typed("boolean")}});
    case AnswerShape::kGenerateStream:
    case AnswerShape::kDocument:
      return typed("object");
  }
  return typed("object");
}

}  // namespace llmhost::serve
