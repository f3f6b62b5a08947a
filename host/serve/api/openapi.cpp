#include "serve/api/openapi.h"

#include <array>

#include "serve/api/endpoints.h"

namespace llmhost::serve {
namespace {

constexpr auto kJson = ErrorStyle::kOpenAi;
constexpr auto kPlain = ErrorStyle::kPlainText;

constexpr std::array<ApiRoute, 16> kRoutes = {{
    {"POST", "/v1/chat/completions", chat_completions, kJson, kChatBody, AnswerShape::kChat,
     "Answers a conversation."},
    {"POST", "/v1/completions", completions, kJson, kCompletionBody, AnswerShape::kCompletion,
     "Goes on from a prompt."},
    {"POST", "/v1/responses", create_response, kJson, kResponseBody, AnswerShape::kResponse,
     "Answers a text or a list of items."},
    {"GET", "/v1/responses/{id}", get_response, kJson, std::nullopt, AnswerShape::kResponse,
     "An answer that is still remembered."},
    {"DELETE", "/v1/responses/{id}", delete_response, kJson, std::nullopt, AnswerShape::kDeleted,
     "Forgets an answer."},
    {"POST", "/v1/embeddings", embeddings, kJson, kEmbeddingBody, AnswerShape::kEmbeddings,
     "Texts as vectors."},
    {"GET", "/v1/models", list_models, kJson, std::nullopt, AnswerShape::kModels,
     "Models and adapters with their state."},
    {"GET", "/v1/models/{id*}", get_model, kJson, std::nullopt, AnswerShape::kModel, "One model or adapter."},
    {"POST", "/tokenize", tokenize, kJson, kTokenizeBody, AnswerShape::kTokens,
     "A text's or a prompt's tokens."},
    {"POST", "/detokenize", detokenize, kJson, kDetokenizeBody, AnswerShape::kText, "The text of tokens."},
    {"POST", "/apply-template", apply_template, kJson, kTemplateBody, AnswerShape::kPrompt,
     "The exact prompt of a conversation."},
    {"POST", "/generate", generate, kPlain, kGenerateBody, AnswerShape::kGenerate,
     "Goes on from a prompt, with an adapter for this request."},
    {"POST", "/generate_stream", generate_stream, kPlain, kGenerateBody, AnswerShape::kGenerateStream,
     "The same, token by token."},
    {"POST", "/", generate_either, kPlain, kGenerateBody, AnswerShape::kGenerateList,
     "As /generate in a list of one, or as /generate_stream, as \"stream\" says."},
    {"GET", "/info", server_info, kJson, std::nullopt, AnswerShape::kInfo,
     "The default model and its limits."},
    {"GET", "/openapi.json", openapi_document, kJson, std::nullopt, AnswerShape::kDocument, "This document."},
}};

OrderedJson error_answer(ErrorStyle style, std::string_view what) {
  const char* const schema =
      style == kPlain ? "#/components/schemas/PlainError" : "#/components/schemas/Error";
  return {{"description", what}, {"content", {{"application/json", {{"schema", {{"$ref", schema}}}}}}}};
}

OrderedJson error_schemas() {
  const OrderedJson text_or_null = {{"type", {"string", "null"}}};
  return {{"Error",
           {{"type", "object"},
            {"required", {"error"}},
            {"properties",
             {{"error",
               {{"type", "object"},
                {"required", {"message", "type", "param", "code"}},
                {"properties",
                 {{"message", {{"type", "string"}}},
                  {"type", {{"type", "string"}}},
                  {"param", text_or_null},
                  {"code", text_or_null},
                  {"request_id", {{"type", "string"}}},
                  {"state", {{"type", "string"}}},
                  {"progress", {{"type", "number"}}}}}}}}}}},
          {"PlainError",
           {{"type", "object"},
            {"required", {"error"}},
            {"properties",
             {{"error", {{"type", {"string", "object"}}}}, {"error_type", {{"type", "string"}}}}}}}};
}

// "/v1/models/{id*}" as OpenAPI writes it.
std::string plain_pattern(std::string_view pattern) {
  std::string out(pattern);
  std::erase(out, '*');
  return out;
}

OrderedJson operation(const ApiRoute& route) {
  OrderedJson answer = {{"description", "The answer."}};
  OrderedJson content = {{"application/json", {{"schema", answer_schema(route.answer)}}}};
  if (route.answer == AnswerShape::kGenerateStream) content = OrderedJson::object();
  const bool streams =
      route.body && (*route.body & (kChatBody | kCompletionBody | kResponseBody | kGenerateBody)) != 0;
  if (streams) content["text/event-stream"] = OrderedJson::object();
  answer["content"] = std::move(content);
  OrderedJson out = {{"summary", route.documentation},
                     {"responses",
                      {{"200", std::move(answer)},
                       {"4XX", error_answer(route.style, "The request is at fault.")},
                       {"503", error_answer(route.style, "Not now; Retry-After says when.")}}}};
  if (route.pattern.find('{') != std::string_view::npos)
    out["parameters"] = OrderedJson::array({{{"name", "id"},
                                             {"in", "path"},
                                             {"required", true},
                                             {"schema", {{"type", "string"}, {"minLength", 1}}}}});
  if (route.body)
    out["requestBody"] = {
        {"required", true},
        {"content",
         {{"application/json",
           {{"schema", {{"$ref", fmt::format("#/components/schemas/{}", to_text(*route.body))}}}}}}}};
  return out;
}

}  // namespace

std::span<const ApiRoute> api_routes() {
  return kRoutes;
}

OrderedJson openapi(std::string_view version) {
  OrderedJson paths = OrderedJson::object();
  for (const ApiRoute& route : api_routes())
    paths[plain_pattern(route.pattern)][route.method == "GET"    ? "get"
                                        : route.method == "POST" ? "post"
                                                                 : "delete"] = operation(route);
  OrderedJson schemas = error_schemas();
  for (const Body body : {kChatBody, kCompletionBody, kResponseBody, kEmbeddingBody, kTokenizeBody,
                          kDetokenizeBody, kTemplateBody, kGenerateBody, kGenerateParametersBody})
    schemas[std::string(to_text(body))] = parameters_schema(body);
  schemas["generate"]["properties"]["parameters"] = {{"$ref", "#/components/schemas/generate.parameters"}};
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "llmhost"}, {"version", version}}},
          {"security", OrderedJson::array({OrderedJson::object(), {{"key", OrderedJson::array()}}})},
          {"paths", std::move(paths)},
          {"components",
           {{"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}},
            {"schemas", std::move(schemas)}}}};
}

void openapi_document(const std::shared_ptr<Call>& call) {
  Response response;
  response.body = openapi(call->context().options.version).dump();
  call->exchange().send(std::move(response));
}

}  // namespace llmhost::serve
