// The routes of the endpoints, and the OpenAPI document that is made of them and of the table of parameters.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "core/json.h"
#include "serve/api/call.h"
#include "serve/api/parameters.h"

namespace llmhost::serve {

enum class AnswerShape {
  kChat,
  kCompletion,
  kResponse,
  kEmbeddings,
  kModels,
  kModel,
  kTokens,
  kText,
  kPrompt,
  kGenerate,
  kGenerateStream,
  kGenerateList,
  kInfo,
  kDeleted,
  kDocument
};

struct ApiRoute {
  std::string_view method;
  std::string_view pattern;
  void (*endpoint)(const std::shared_ptr<Call>& call);
  ErrorStyle style;
  std::optional<Body> body;
  AnswerShape answer;
  std::string_view documentation;
};

std::span<const ApiRoute> api_routes();
OrderedJson openapi(std::string_view version);
// JSON schema of an answer.
OrderedJson answer_schema(AnswerShape shape);

}  // namespace llmhost::serve
