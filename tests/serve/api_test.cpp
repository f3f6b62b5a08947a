#include "serve/api/api.h"

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "serve/api/openapi.h"
#include "serve/api/writers.h"
#include "serve/fake_serving.h"

namespace llmhost::serve {
namespace {

using test::FakeExchange;
using test::FakeModel;
using test::FakePool;

class Api {
 public:
  explicit Api(ApiOptions options = {}) { add_api_routes(router_, pool, metrics, options); }

  std::shared_ptr<FakeExchange> post(const std::string& path, const std::string& body, bool pump = true) {
    return ask("POST", path, body, pump);
  }

  std::shared_ptr<FakeExchange> ask(const std::string& method, const std::string& path,
                                    const std::string& body = {}, bool pump = true) {
    auto exchange = std::make_shared<FakeExchange>();
    exchange->asked.id = "req-" + std::to_string(++n_);
    exchange->asked.method = method;
    exchange->asked.path = path;
    exchange->asked.body = body;
    exchange->asked.caller = caller;
    std::vector<std::string> segments;
    for (size_t at = 1; at < path.size();) {
      const size_t end = std::min(path.find('/', at), path.size());
      segments.push_back(path.substr(at, end - at));
      at = end + 1;
    }
    const auto match = router_.match(method, segments);
    REQUIRE(match.route != nullptr);
    exchange->asked.parameters = match.parameters;
    match.route->handler(exchange);
    if (pump) pool.model->pump();
    return exchange;
  }

  FakePool pool;
  Metrics metrics;
  Caller caller;

 private:
  Router router_;
  int n_ = 0;
};

constexpr const char* kChat = R"({"model":"tiny","messages":[{"role":"user","content":"Hi"}])";

std::string chat(const std::string& more = {}) {
  return kChat + (more.empty() ? std::string() : ',' + more) + '}';
}

std::string joined(const std::vector<OrderedJson>& events, const char* field, size_t index = 0) {
  std::string text;
  for (const OrderedJson& event : events)
    for (const OrderedJson& choice : event.value("choices", OrderedJson::array()))
      if (choice["index"] == index && choice["delta"].contains(field))
        text += choice["delta"][field].get<std::string>();
  return text;
}

}  // namespace

TEST_CASE("A chat's answer, whole") {
  Api api;
  const auto exchange = api.post("/v1/chat/completions", chat(R"("seed":5,"max_tokens":20)"));
  REQUIRE(exchange->is_sent);
  CHECK(exchange->answer.status == 200);
  const OrderedJson answer = exchange->json();
  CHECK(answer["object"] == "chat.completion");
  CHECK(answer["choices"][0]["message"]["content"] == "Once upon");
  CHECK(answer["choices"][0]["finish_reason"] == "stop");
  CHECK(answer["usage"]["prompt_tokens"].get<int>() > 3);
  CHECK(answer["usage"]["total_tokens"] ==
        answer["usage"]["prompt_tokens"].get<int>() + answer["usage"]["completion_tokens"].get<int>());
  CHECK(answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 1);
  CHECK(answer["llmhost"]["seeds"] == OrderedJson::array({5}));
  CHECK(answer["llmhost"]["model_digest"] == std::string(64, 'a'));
  CHECK(exchange->charged == answer["usage"]["total_tokens"].get<int64_t>());
}

TEST_CASE("A chat's answer in pieces is the whole answer") {
  Api api;
  const auto exchange =
      api.post("/v1/chat/completions",
               chat(R"("stream":true,"stream_options":{"include_usage":true},"n":2,"seed":1)"));
  REQUIRE(exchange->is_streaming);
  CHECK(exchange->answer.content_type == "text/event-stream");
  CHECK(exchange->is_finished);
  CHECK(exchange->stream.ends_with("data: [DONE]\n\n"));
  const auto events = exchange->events();
  CHECK(events.front()["choices"][0]["delta"]["role"] == "assistant");
  CHECK(joined(events, "content", 0) == "Once upon");
  CHECK(joined(events, "content", 1) == "Once upon");
  CHECK(events.back()["choices"].empty());
  CHECK(events.back()["usage"]["completion_tokens"].get<int>() > 0);
  std::vector<uint64_t> seeds;
  for (const OrderedJson& event : events)
    if (event.contains("llmhost")) seeds.push_back(event["llmhost"]["seeds"][0].get<uint64_t>());
  REQUIRE(seeds.size() == 2);
  CHECK(seeds[0] == 1);
  CHECK(seeds[0] != seeds[1]);
}

TEST_CASE("Logprobs of a chat and of a completion") {
  Api api;
  const OrderedJson answer =
      api.post("/v1/chat/completions", chat(R"("logprobs":true,"top_logprobs":2)"))->json();
  const OrderedJson& content = answer["choices"][0]["logprobs"]["content"];
  REQUIRE(content.size() == answer["usage"]["completion_tokens"].get<size_t>());
  std::string bytes;
  for (const OrderedJson& token : content) {
    CHECK(token["top_logprobs"].size() == 2);
    CHECK(token["logprob"] == -0.5);
    for (const OrderedJson& byte : token["bytes"]) bytes += static_cast<char>(byte.get<int>());
  }
  CHECK(bytes.ends_with("Once upon"));
  const OrderedJson text =
      api.post("/v1/completions", R"({"prompt":"Hi","logprobs":1,"max_tokens":30})")->json();
  const OrderedJson& lists = text["choices"][0]["logprobs"];
  CHECK(lists["tokens"].size() == lists["text_offset"].size());
  CHECK(lists["tokens"].size() == lists["token_logprobs"].size());
  CHECK(lists["text_offset"][0] == 0);
  CHECK(lists["top_logprobs"][0].is_object());
}

TEST_CASE("Completions: several prompts, several answers, echo, tokens") {
  Api api;
  const OrderedJson answer =
      api.post("/v1/completions", R"({"prompt":["a","b"],"n":2,"echo":true,"max_tokens":5})")->json();
  REQUIRE(answer["choices"].size() == 4);
  CHECK(answer["choices"][0]["text"] == "aOnce upon");
  CHECK(answer["choices"][3]["text"] == "bOnce upon");
  CHECK(answer["choices"][3]["index"] == 3);
  CHECK(api.post("/v1/completions", R"({"prompt":[1,5,9]})")->answer.status == 200);
  CHECK(api.post("/v1/completions", R"({"prompt":[[1,5],[9]]})")->json()["choices"].size() == 2);
  CHECK(api.post("/v1/completions", R"({"prompt":[1,100000]})")->answer.status == 400);
  CHECK(api.post("/v1/completions", R"({"prompt":[]})")->answer.status == 400);
  CHECK(api.post("/v1/completions", R"({"prompt":{}})")->json()["error"]["param"] == "prompt");
  CHECK(api.post("/v1/completions", R"({"prompt":"a","best_of":3})")->json()["choices"].size() == 1);
}

TEST_CASE("A prompt that does not fit is an error with both numbers") {
  Api api;
  std::string words;
  for (int i = 0; i < 200; ++i) words += "dog ";
  const OrderedJson error = api.post("/v1/completions", R"({"prompt":")" + words + "\"}")->json()["error"];
  CHECK(error["code"] == "context_length_exceeded");
  CHECK(error["message"].get<std::string>().find("128") != std::string::npos);
  const OrderedJson long_answer =
      api.post("/v1/completions", R"({"prompt":"a","max_tokens":1000})")->json()["error"];
  CHECK(long_answer["code"] == "context_length_exceeded");
  CHECK(long_answer["message"].get<std::string>().find("1000") != std::string::npos);
  CHECK(long_answer["param"] == "prompt");
  const OrderedJson generated = api.post("/generate", R"({"inputs":")" + words + "\"}")->json();
  CHECK(generated["error"].get<std::string>().find("128") != std::string::npos);
}

TEST_CASE("A text that cannot fit is refused before it is encoded") {
  Api api;
  const std::string text(300'000, 'x');  // the context holds 128 tokens of up to 16 bytes
  const auto refused = [&](const std::string& path, const std::string& body, const char* param) {
    const auto exchange = api.post(path, body);
    CHECK(exchange->answer.status == 400);
    const OrderedJson error = exchange->json()["error"];
    CHECK(error["code"] == "context_length_exceeded");
    CHECK(error["param"] == param);
    CHECK(error["message"].get<std::string>().find("bytes") != std::string::npos);
  };
  const std::string quoted = '"' + text + '"';
  refused("/v1/chat/completions", R"({"messages":[{"role":"user","content":)" + quoted + "}]}", "messages");
  refused("/v1/responses", R"({"input":)" + quoted + "}", "input");
  refused("/v1/completions", R"({"prompt":["a",)" + quoted + "]}", "prompt");
  const OrderedJson cut =
      api.post("/generate", R"({"inputs":)" + quoted +
                                R"(,"parameters":{"truncate":5,"max_new_tokens":3,"details":true}})")
          ->json();
  CHECK(cut["details"]["prompt_tokens"] == 5);
  CHECK(api.post("/tokenize", R"({"prompt":)" + quoted + "}")->answer.status == 200);
  refused("/tokenize", R"({"prompt":")" + std::string(2'000'000, 'x') + "\"}", "prompt");
}

TEST_CASE("Completions without a limit have room for the longest prompt's answer") {
  Api api;
  OrderedJson prompts = OrderedJson::array({OrderedJson::array({5}), OrderedJson::array()});
  for (int i = 0; i < 125; ++i) prompts[1].push_back(5);
  CHECK(api.post("/v1/completions", OrderedJson{{"prompt", prompts}}.dump())->answer.status == 200);
}

TEST_CASE("Models that are not there, not ready, or not this key's") {
  Api api;
  auto exchange = api.post("/v1/completions", R"({"model":"other","prompt":"a"})");
  CHECK(exchange->answer.status == 404);
  CHECK(exchange->json()["error"]["code"] == "model_not_found");
  api.pool.failure = std::make_exception_ptr(ModelNotReady("it is loading", ModelState::kLoading, 0.25, 7));
  exchange = api.post("/v1/completions", R"({"model":"tiny","prompt":"a"})");
  CHECK(exchange->answer.status == 503);
  CHECK(exchange->json()["error"]["type"] == "model_not_ready");
  CHECK(exchange->json()["error"]["progress"] == 0.25);
  CHECK(exchange->answer.headers == Headers{{"Retry-After", "7"}});
  api.pool.failure = nullptr;
  api.caller.models = {"else"};
  CHECK(api.post("/v1/completions", R"({"model":"tiny","prompt":"a"})")->answer.status == 404);
  CHECK(api.ask("GET", "/v1/models")->json()["data"].empty());
}

TEST_CASE("A client that leaves ends its requests, also while the model loads") {
  Api api;
  auto exchange = api.post("/v1/chat/completions", chat(R"("n":3)"), false);
  CHECK(api.pool.model->waiting.size() == 3);
  exchange->leave();
  CHECK(api.pool.model->cancelled.size() == 3);
  api.pool.is_loading = true;
  api.pool.forgotten.clear();
  exchange = api.post("/v1/chat/completions", chat(), false);
  exchange->leave();
  CHECK(api.pool.forgotten == std::vector<uint64_t>{9});
}

TEST_CASE("A client that leaves pays for what was computed") {
  Api api;
  api.pool.model->reason = engine::FinishReason::kCancelled;
  const auto exchange = api.post("/v1/chat/completions", chat(R"("n":2)"), false);
  exchange->leave();
  api.pool.model->pump();
  const OrderedJson prompt = api.post("/apply-template", chat())->json();
  const OrderedJson answer =
      api.post("/tokenize", R"({"prompt":"Once upon","add_special_tokens":false})")->json();
  CHECK(exchange->charged == static_cast<int64_t>(prompt["tokens"].size() + 2 * answer["tokens"].size()));
  CHECK(api.metrics.text().find("output_tokens_total") != std::string::npos);
}

TEST_CASE("What the thread that loads has to tell is gone on with by a worker") {
  std::vector<std::function<void()>> jobs;
  bool is_full = false;
  ApiOptions options;
  options.run_on_worker = [&](std::function<void()> job) {
    if (!is_full) jobs.push_back(std::move(job));
    return !is_full;
  };
  Api api(options);
  CHECK(api.post("/v1/chat/completions", chat())->answer.status == 200);
  CHECK(jobs.empty());  // there was nothing to wait for
  const auto loaded = [&] {
    for (auto& ready : std::exchange(api.pool.pending, {}))
      std::thread([&] { ready(api.pool.model, {}, nullptr); }).join();
  };
  api.pool.is_loading = true;
  const auto stays = api.post("/v1/chat/completions", chat(), false);
  const auto leaves = api.post("/v1/chat/completions", chat(), false);
  loaded();
  CHECK(jobs.size() == 2);
  CHECK(api.pool.model->waiting.empty());
  leaves->leave();
  for (const auto& job : jobs) job();
  CHECK(api.pool.model->waiting.size() == 1);
  api.pool.model->pump();
  CHECK(stays->is_sent);
  is_full = true;
  const auto refused = api.post("/v1/chat/completions", chat(), false);
  loaded();
  CHECK(refused->answer.status == 503);
}

TEST_CASE("F29: a failure of the engine is told without its reason") {
  Api api;
  api.pool.model->reason = engine::FinishReason::kError;
  auto exchange = api.post("/v1/chat/completions", chat());
  CHECK(exchange->answer.status == 500);
  CHECK(exchange->answer.body.find("broken inside") == std::string::npos);
  CHECK(exchange->json()["error"]["request_id"] == "req-1");
  exchange = api.post("/v1/chat/completions", chat(R"("stream":true)"));
  CHECK(exchange->is_finished);
  CHECK(exchange->events().back().contains("error"));
}

TEST_CASE("F14: arguments of templates are an allow-list") {
  Api api;
  const auto prompt = [&](const std::string& more) { return api.post("/apply-template", chat(more)); };
  CHECK(prompt("")->json()["prompt"] == "<user>Hi\n<assistant>");
  CHECK(prompt(R"("chat_template_kwargs":{"mood":"calm"})")->json()["prompt"] == "<user>Hi\ncalm<assistant>");
  for (const char* name : {"messages", "tools", "add_generation_prompt", "now", "bos_token", "chat_template"})
    CHECK(prompt(R"("chat_template_kwargs":{")" + std::string(name) + "\":1}")->answer.status == 400);
  CHECK(prompt(R"("add_generation_prompt":false)")->json()["prompt"] == "<user>Hi\n");
}

TEST_CASE("Messages that cannot be read are refused with their place") {
  Api api;
  const auto param = [&](const std::string& messages) {
    return api.post("/v1/chat/completions", R"({"messages":)" + messages + '}')->json()["error"]["param"];
  };
  CHECK(param("[]") == "messages");
  CHECK(param(R"([{"role":"robot","content":"x"}])") == "messages[0].role");
  CHECK(param(R"([{"role":"user"}])") == "messages[0].content");
  CHECK(param(R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])") ==
        "messages[0].content[0].type");
  CHECK(param(R"([{"role":"user","content":"a","colour":1}])") == "messages[0].colour");
  CHECK(param(R"([7])") == "messages[0]");
  CHECK(api.post("/v1/chat/completions",
                 R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]})")
            ->answer.status == 200);
}

TEST_CASE("A lenient server lists what it ignored") {
  Api api({.compat = Compat::kLenient, .default_model = {}, .version = {}, .run_on_worker = {}});
  const OrderedJson answer = api.post("/v1/chat/completions", chat(R"("audio":{},"colour":1)"))->json();
  CHECK(answer["llmhost"]["ignored"] == OrderedJson::array({"audio", "colour"}));
  const OrderedJson ignored = OrderedJson::array({"colour", "parameters.mood"});
  const std::string body = R"({"inputs":"Hi","colour":1,"parameters":{"mood":1}})";
  CHECK(api.post("/generate", body)->json()["llmhost"]["ignored"] == ignored);
  CHECK(api.post("/generate_stream", body)->events().back()["llmhost"]["ignored"] == ignored);
  const std::string messages = R"({"messages":[{"role":"user","content":"a","mood":1}]})";
  CHECK(api.post("/v1/chat/completions", messages)->json()["llmhost"]["ignored"] ==
        OrderedJson::array({"messages[0].mood"}));
}

TEST_CASE("Fields within messages, parts, tools and items that nobody knows are named") {
  Api api;
  api.pool.model->format = text::named_tool_format("tool-call-tag");
  const auto fault = [&](const char* path, const std::string& body) {
    const OrderedJson answer = api.post(path, body)->json();
    return answer.value("error", OrderedJson()).is_object() ? answer["error"]["param"].get<std::string>()
                                                            : std::string("none");
  };
  const char* const chats = "/v1/chat/completions";
  const char* const responses = "/v1/responses";
  CHECK(fault(chats, R"({"messages":[{"role":"user","content":[{"type":"text","text":"a","mood":1}]}]})") ==
        "messages[0].content[0].mood");
  CHECK(fault(chats, chat(R"("tools":[{"type":"function","function":{"name":"f"},"mood":1}])")) ==
        "tools[0].mood");
  CHECK(fault(chats, chat(R"("tools":[{"type":"function","function":{"name":"f","mood":1}}])")) ==
        "tools[0].function.mood");
  CHECK(fault(chats, chat(R"("logit_bias":{"99999999":1})")) == "logit_bias");
  CHECK(fault(responses, R"({"input":[]})") == "input");
  CHECK(fault(responses, R"({"input":[{"role":"user","content":"a","mood":1}]})") == "input[0].mood");
  CHECK(fault(responses, R"({"input":[{"role":"user","content":[{"type":"input_image"}]}]})") ==
        "input[0].content[0].type");
  CHECK(fault(responses,
              R"({"input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}","mood":1}]})") ==
        "input[0].mood");
  CHECK(fault(responses, R"({"input":[{"role":"user","content":"a","id":"m","status":"completed"}]})") ==
        "none");
}

TEST_CASE("A body that is no JSON is told with the place, and nothing of it") {
  Api api;
  const OrderedJson error = api.post("/v1/completions", R"({"model":"tiny",})")->json()["error"];
  CHECK(error["message"] == "body: is not valid JSON at byte 17");
  CHECK(error["param"] == "body");
}

TEST_CASE("Tool calls, whole and in pieces") {
  Api api;
  api.pool.model->format = text::named_tool_format("tool-call-tag");
  api.pool.model->replies = {
      "Well. <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}</tool_call>"};
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}])";
  const OrderedJson answer = api.post("/v1/chat/completions", chat(tools))->json();
  const OrderedJson& message = answer["choices"][0]["message"];
  CHECK(answer["choices"][0]["finish_reason"] == "tool_calls");
  REQUIRE(message["tool_calls"].size() == 1);
  CHECK(message["tool_calls"][0]["function"]["name"] == "weather");
  const std::string arguments = message["tool_calls"][0]["function"]["arguments"].get<std::string>();
  CHECK(OrderedJson::parse(arguments) == OrderedJson{{"city", "Oslo"}});
  std::string streamed, content;
  const auto stream = api.post("/v1/chat/completions", chat(tools + R"(,"stream":true)"));
  for (const OrderedJson& event : stream->events()) {
    const OrderedJson& delta = event["choices"][0]["delta"];
    content += delta.value("content", "");
    for (const OrderedJson& call : delta.value("tool_calls", OrderedJson::array()))
      streamed += call["function"].value("arguments", "");
  }
  CHECK(streamed == arguments);
  CHECK(content == message["content"].get<std::string>());
  CHECK(stream->events().back()["choices"][0]["finish_reason"] == "tool_calls");
  CHECK(api.post("/v1/chat/completions", chat(R"("tool_choice":"required")"))->json()["error"]["param"] ==
        "tool_choice");
}

TEST_CASE("A strict tool whose schema cannot be enforced is refused") {
  Api api;
  api.pool.model->format = text::named_tool_format("tool-call-tag");
  const auto status = [&](const char* strict) {
    const std::string tools =
        R"("tool_choice":"required","tools":[{"type":"function","function":{"name":"f","strict":)" +
        std::string(strict) +
        R"(,"parameters":{"type":"object","properties":{"a":{"type":"array","uniqueItems":true,"items":{}}}}}}])";
    return api.post("/v1/chat/completions", chat(tools), false)->answer.status;
  };
  CHECK(status("true") == 400);
  CHECK(status("1") == 400);
  api.pool.model->waiting.clear();
  status("false");
  CHECK(api.pool.model->waiting.size() == 1);
}

TEST_CASE("Forms that cannot be kept to are refused before anything runs") {
  Api api;
  for (const char* form :
       {R"("guided_regex":"(a")", R"("response_format":{"type":"poem"})",
        R"("response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"strnig"}}})",
        R"("guided_json":{"type":"array","uniqueItems":true,"items":{}})", R"("grammar":"root ::= nothing")",
        R"("response_format":{"type":"json_object","shcema":{}})",
        R"("response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{},"mode":1}})",
        R"("structured_outputs":{"jsno":{}})", R"("guided_choice":["a"],"guided_regex":"a")"}) {
    CAPTURE(form);
    const auto exchange = api.post("/v1/chat/completions", chat(form), false);
    CHECK(exchange->answer.status == 400);
    CHECK(api.pool.model->waiting.empty());
  }
  CHECK(api.post("/v1/chat/completions", chat(R"("response_format":{"type":"text","shcema":{}})"))
            ->json()["error"]["param"] == "response_format.shcema");
  const auto exchange = api.post("/v1/chat/completions", chat(R"("guided_choice":["yes","no"])"), false);
  REQUIRE(api.pool.model->waiting.size() == 1);
  CHECK(api.pool.model->waiting.begin()->second.constraint != nullptr);
}

TEST_CASE("Responses: items, events in order, and going on from one") {
  Api api;
  const auto first = api.post("/v1/responses", R"({"input":"Hi","instructions":"Be brief"})");
  const OrderedJson answer = first->json();
  CHECK(answer["object"] == "response");
  CHECK(answer["status"] == "completed");
  CHECK(answer["output"][0]["content"][0]["text"] == "Once upon");
  const std::string id = answer["id"].get<std::string>();
  CHECK(api.ask("GET", "/v1/responses/" + id)->json() == answer);
  const auto second = api.post("/v1/responses", R"({"input":"More","previous_response_id":")" + id +
                                                    R"(","stream":true,"store":false})");
  std::vector<std::string> types;
  for (const OrderedJson& event : second->events()) {
    CHECK(event["sequence_number"] == types.size());
    types.push_back(event["type"].get<std::string>());
  }
  CHECK(types.front() == "response.created");
  CHECK(types[2] == "response.output_item.added");
  CHECK(types[3] == "response.content_part.added");
  CHECK(types[4] == "response.output_text.delta");
  CHECK(types.back() == "response.completed");
  CHECK(second->events().back()["response"]["output"][0]["content"][0]["text"] == "Once upon");
  CHECK(api.ask("DELETE", "/v1/responses/" + id)->json()["deleted"] == true);
  CHECK(api.ask("GET", "/v1/responses/" + id)->answer.status == 404);
  CHECK(api.post("/v1/responses", R"({"input":"x","previous_response_id":"resp_none"})")->answer.status ==
        404);
}

TEST_CASE("/generate and its kin") {
  Api api;
  const OrderedJson answer =
      api.post("/generate",
               R"({"inputs":"Hi","parameters":{"details":true,"max_new_tokens":10,"adapter_id":null}})")
          ->json();
  CHECK(answer["generated_text"] == "Once upon");
  CHECK(answer["details"]["finish_reason"] == "eos_token");
  CHECK(answer["details"]["tokens"].size() == answer["details"]["generated_tokens"].get<size_t>());
  CHECK(answer["details"]["seed"].is_null());
  CHECK(api.post("/", R"({"inputs":"Hi"})")->json()[0]["generated_text"] == "Once upon");
  const auto stream =
      api.post("/generate_stream", R"({"inputs":"Hi","parameters":{"return_full_text":true}})");
  std::string text;
  for (const OrderedJson& event : stream->events()) text += event["token"]["text"].get<std::string>();
  CHECK(text == "Once upon");
  CHECK(stream->events().back()["generated_text"] == "HiOnce upon");
  const auto refused = api.post("/generate", R"({"inputs":"Hi","parameters":{"watermark":true}})");
  CHECK(refused->answer.status == 400);
  CHECK(refused->json()["error_type"] == "validation");
  CHECK(api.post("/generate", R"({"inputs":"Hi","parameters":{"adapter_id":"x"}})")->answer.status == 400);
}

TEST_CASE("Tokens and back") {
  Api api;
  const OrderedJson tokens = api.post("/tokenize", R"({"prompt":"Once upon","with_pieces":true})")->json();
  CHECK(tokens["count"] == tokens["tokens"].size());
  CHECK(tokens["token_strs"].size() == tokens["tokens"].size());
  const OrderedJson text =
      api.post("/detokenize", OrderedJson{{"tokens", tokens["tokens"]}, {"skip_special_tokens", true}}.dump())
          ->json();
  CHECK(text["prompt"] == "Once upon");
  CHECK(api.post("/tokenize", "{}")->answer.status == 400);
  CHECK(api.post("/detokenize", R"({"tokens":[2147483647,5]})")->json()["error"]["param"] == "tokens");
}

TEST_CASE("The OpenAPI document has every route and field") {
  const OrderedJson document = openapi("1");
  for (const ApiRoute& route : api_routes()) {
    std::string pattern(route.pattern);
    std::erase(pattern, '*');
    CHECK(document["paths"].contains(pattern));
  }
  CHECK(document["components"]["schemas"]["chat"]["properties"]["temperature"]["anyOf"][0]["maximum"] == 100);
}

// One token of a stream costs little beside the model's step.
TEST_CASE("A piece of a stream is made in microseconds") {
  AnswerFacts facts;
  facts.id = "chatcmpl-1";
  facts.model = "tiny";
  facts.use.model = std::make_shared<FakeModel>("tiny");
  facts.prompts.resize(1);
  const auto writer = make_chat_writer();
  std::string out;
  writer->begin(facts, out);
  Choice choice;
  constexpr int kPieces = 20'000;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kPieces; ++i) {
    out.clear();
    writer->piece(choice, {.content = " some\ntext", .deltas = {}, .token = nullptr}, out);
  }
  const double us =
      std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / kPieces;
  MESSAGE(us << " microseconds a piece");
  CHECK(us < 30);  // usually below 1; a busy machine is no failure
}

}  // namespace llmhost::serve
