#include "serve/mcp/tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "core/error.h"

namespace llmhost::serve::mcp {
namespace {

// --- Arguments

void allow_only(const OrderedJson& arguments, std::initializer_list<std::string_view> names) {
  for (const auto& [name, value] : arguments.items())
    if (std::ranges::find(names, std::string_view(name)) == names.end())
      throw_invalid("arguments: '{}' is none of this tool's", name);
}

std::string text_argument(const OrderedJson& arguments, std::string_view name) {
  const auto found = arguments.find(name);
  if (found == arguments.end() || !found->is_string() || found->get_ref<const std::string&>().empty())
    throw_invalid("arguments: '{}' must be a text that is not empty", name);
  return found->get<std::string>();
}

// A model's id as one segment of a path.
std::string percent_encode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                          c == '-' || c == '.' || c == '_' || c == '~';
    if (is_plain)
      encoded += c;
    else
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

// --- Models

EndpointCall ask_models(const OrderedJson& arguments) {
  allow_only(arguments, {});
  return {.method = "GET", .path = "/v1/models", .body = {}};
}

ToolAnswer as_it_is(const OrderedJson& body) {
  return {.text = body.dump(1), .structured = body};
}

ToolAnswer adapters_of_models(const OrderedJson& body) {
  OrderedJson adapters = OrderedJson::array();
  for (const OrderedJson& model : body.at("data")) {
    const auto listed = model.find("adapters");
    if (listed == model.end()) continue;
    for (OrderedJson adapter : *listed) {
      adapter["model"] = model.at("id");
      adapters.push_back(std::move(adapter));
    }
  }
  OrderedJson all = {{"adapters", std::move(adapters)}};
  std::string text = all.dump(1);
  return {.text = std::move(text), .structured = std::move(all)};
}

EndpointCall ask_memory(const OrderedJson& arguments) {
  allow_only(arguments, {"model", "context", "sequences"});
  std::string path = fmt::format("/v1/models/{}/memory", percent_encode(text_argument(arguments, "model")));
  char separator = '?';
  for (const char* name : {"context", "sequences"}) {
    const auto found = arguments.find(name);
    if (found == arguments.end()) continue;
    if (!found->is_number_integer()) throw_invalid("arguments: '{}' must be a whole number", name);
    path += fmt::format("{}{}={}", separator, name, found->dump());
    separator = '&';
  }
  return {.method = "GET", .path = std::move(path), .body = {}};
}

EndpointCall change_model(const OrderedJson& arguments, std::string_view path) {
  allow_only(arguments, {"model"});
  return {.method = "POST",
          .path = std::string(path),
          .body = OrderedJson{{"model", text_argument(arguments, "model")}}.dump()};
}

EndpointCall load_model(const OrderedJson& arguments) {
  return change_model(arguments, "/v1/models/load");
}

EndpointCall unload_model(const OrderedJson& arguments) {
  return change_model(arguments, "/v1/models/unload");
}

// --- Fine-tuning

EndpointCall begin_tuning(const OrderedJson& arguments) {
  allow_only(arguments,
             {"model", "training_file", "validation_file", "suffix", "seed", "hyperparameters", "tuning"});
  return {.method = "POST", .path = "/v1/fine_tuning/jobs", .body = arguments.dump()};
}

EndpointCall list_tuning(const OrderedJson& arguments) {
  allow_only(arguments, {});
  return {.method = "GET", .path = "/v1/fine_tuning/jobs", .body = {}};
}

std::string tuning_path(const OrderedJson& arguments) {
  allow_only(arguments, {"job"});
  return "/v1/fine_tuning/jobs/" + percent_encode(text_argument(arguments, "job"));
}

EndpointCall get_tuning(const OrderedJson& arguments) {
  return {.method = "GET", .path = tuning_path(arguments), .body = {}};
}

EndpointCall cancel_tuning(const OrderedJson& arguments) {
  return {.method = "POST", .path = tuning_path(arguments) + "/cancel", .body = {}};
}

// --- Text

// The endpoint checks the values; here stands which of its fields a tool may set.
EndpointCall generate(const OrderedJson& arguments) {
  allow_only(arguments,
             {"model", "prompt", "system", "raw", "max_tokens", "temperature", "top_p", "seed", "stop"});
  OrderedJson body = {{"model", text_argument(arguments, "model")}};
  const OrderedJson raw = arguments.value("raw", OrderedJson(false));
  if (!raw.is_boolean()) throw_invalid("arguments: 'raw' must be true or false");
  if (raw == true) {
    if (arguments.contains("system")) throw_invalid("arguments: 'system' and 'raw' exclude each other");
    body["prompt"] = text_argument(arguments, "prompt");
  } else {
    OrderedJson messages = OrderedJson::array();
    if (arguments.contains("system"))
      messages.push_back({{"role", "system"}, {"content", text_argument(arguments, "system")}});
    messages.push_back({{"role", "user"}, {"content", text_argument(arguments, "prompt")}});
    body["messages"] = std::move(messages);
  }
  for (const char* name : {"max_tokens", "temperature", "top_p", "seed", "stop"})
    if (arguments.contains(name)) body[name] = arguments.at(name);
  if (!body.contains("max_tokens")) body["max_tokens"] = 512;
  const char* const path = raw == true ? "/v1/completions" : "/v1/chat/completions";
  return {.method = "POST", .path = path, .body = body.dump()};
}

ToolAnswer generated(const OrderedJson& body) {
  const OrderedJson& choice = body.at("choices").at(0);
  const OrderedJson& content =
      choice.contains("text") ? choice.at("text") : choice.at("message").at("content");
  std::string text = content.is_string() ? content.get<std::string>() : std::string();
  OrderedJson structured = {
      {"text", text}, {"finish_reason", choice.at("finish_reason")}, {"usage", body.at("usage")}};
  return {.text = std::move(text), .structured = std::move(structured)};
}

EndpointCall tokenize(const OrderedJson& arguments) {
  allow_only(arguments, {"model", "text"});
  return {.method = "POST",
          .path = "/tokenize",
          .body = OrderedJson{{"model", text_argument(arguments, "model")},
                              {"prompt", text_argument(arguments, "text")}}
                      .dump()};
}

constexpr std::string_view kNoArguments = R"({"type":"object","properties":{},"additionalProperties":false})";
constexpr std::string_view kModelArgument =
    R"({"type":"object","properties":{"model":{"type":"string","description":"Id of a model, as list_models has it"}},)"
    R"("required":["model"],"additionalProperties":false})";
constexpr std::string_view kGenerateArguments =
    R"({"type":"object","properties":{)"
    R"("model":{"type":"string","description":"Id of a model or of one of its adapters"},)"
    R"("prompt":{"type":"string","description":"What the user says"},)"
    R"("system":{"type":"string","description":"Instructions that go before it"},)"
    R"("raw":{"type":"boolean","default":false,"description":"The model goes on with the prompt as it stands; for models without a chat template"},)"
    R"("max_tokens":{"type":"integer","minimum":1,"default":512},)"
    R"("temperature":{"type":"number","minimum":0},)"
    R"("top_p":{"type":"number","exclusiveMinimum":0,"maximum":1},)"
    R"("seed":{"type":"integer","minimum":0},)"
    R"("stop":{"type":"array","items":{"type":"string"}}},)"
    R"("required":["model","prompt"],"additionalProperties":false})";
constexpr std::string_view kTokenizeArguments =
    R"({"type":"object","properties":{"model":{"type":"string"},"text":{"type":"string"}},)"
    R"("required":["model","text"],"additionalProperties":false})";
constexpr std::string_view kMemoryArguments =
    R"({"type":"object","properties":{"model":{"type":"string"},)"
    R"("context":{"type":"integer","minimum":1,"description":"Positions of one sequence"},)"
    R"("sequences":{"type":"integer","minimum":1,"description":"Sequences that run at once"}},)"
    R"("required":["model"],"additionalProperties":false})";
constexpr std::string_view kTuningArguments =
    R"({"type":"object","properties":{"model":{"type":"string","description":"Id of the base model"},)"
    R"("training_file":{"type":"string","description":"Id of an uploaded file, or data:NAME of a folder of the server"},)"
    R"("validation_file":{"type":"string"},)"
    R"("suffix":{"type":"string","description":"Part of the name of the adapter that is made"},)"
    R"("seed":{"type":"integer","minimum":0},)"
    R"("hyperparameters":{"type":"object","description":"n_epochs, batch_size, learning_rate_multiplier"},)"
    R"("tuning":{"type":"object","description":"method, settings of the method, max_steps, max_length and others"}},)"
    R"("required":["model","training_file"],"additionalProperties":false})";
constexpr std::string_view kJobArgument =
    R"({"type":"object","properties":{"job":{"type":"string","description":"Id of a fine-tuning job"}},)"
    R"("required":["job"],"additionalProperties":false})";

constexpr Tool kTools[] = {
    {"list_models", "List models", "The models of this server: state, context length, memory.", kNoArguments,
     Scope::kInfer, true, &ask_models, &as_it_is},
    {"list_adapters", "List adapters", "The adapters of this server's models and whether they are loaded.",
     kNoArguments, Scope::kInfer, true, &ask_models, &adapters_of_models},
    {"generate", "Generate text", "Answers a prompt with one of the models or adapters.", kGenerateArguments,
     Scope::kInfer, true, &generate, &generated},
    {"tokenize", "Tokenize", "The token ids of a text in a model's vocabulary, and how many there are.",
     kTokenizeArguments, Scope::kInfer, true, &tokenize, &as_it_is},
    {"estimate_memory", "Estimate memory",
     "What running a model takes, in bytes, by weights, state and activations, before it is loaded.",
     kMemoryArguments, Scope::kInfer, true, &ask_memory, &as_it_is},
    {"load_model", "Load a model", "Loads a model that the server knows.", kModelArgument, Scope::kAdmin,
     false, &load_model, &as_it_is},
    {"unload_model", "Unload a model", "Gives a model's memory back once its requests are done.",
     kModelArgument, Scope::kAdmin, false, &unload_model, &as_it_is},
    {"start_fine_tuning", "Begin a fine-tuning job",
     "Trains an adapter of a model on a file of conversations or texts.", kTuningArguments, Scope::kAdmin,
     false, &begin_tuning, &as_it_is},
    {"list_fine_tuning", "List fine-tuning jobs", "The jobs with their state and the adapters they made.",
     kNoArguments, Scope::kAdmin, true, &list_tuning, &as_it_is},
    {"get_fine_tuning", "Look at a fine-tuning job", "One job: its state, its figures, the adapter it made.",
     kJobArgument, Scope::kAdmin, true, &get_tuning, &as_it_is},
    {"cancel_fine_tuning", "End a fine-tuning job", "Ends a job that waits or runs.", kJobArgument,
     Scope::kAdmin, false, &cancel_tuning, &as_it_is},
};

}  // namespace

std::span<const Tool> all_tools() {
  return kTools;
}

const Tool* find_tool(std::string_view name) {
  const auto* found = std::ranges::find(kTools, name, &Tool::name);
  return found == std::end(kTools) ? nullptr : found;
}

}  // namespace llmhost::serve::mcp
