// Every field of the table is tried with values that it must refuse, made from its own ranges.
#include "serve/api/parameters.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/file.h"
#include "serve/api/api_error.h"

namespace llmhost::serve {
namespace {

constexpr Body kBodies[] = {kChatBody,      kCompletionBody, kResponseBody,
                            kEmbeddingBody, kTokenizeBody,   kDetokenizeBody,
                            kTemplateBody,  kGenerateBody,   kGenerateParametersBody};

// The least that a body must have.
OrderedJson valid(Body body) {
  const OrderedJson messages = OrderedJson::array({{{"role", "user"}, {"content", "Hi"}}});
  switch (body) {
    case kChatBody:
    case kTemplateBody:
      return {{"messages", messages}};
    case kCompletionBody:
      return {{"prompt", "Hi"}};
    case kResponseBody:
    case kEmbeddingBody:
      return {{"input", "Hi"}};
    case kDetokenizeBody:
      return {{"tokens", {1, 2}}};
    case kGenerateBody:
      return {{"inputs", "Hi"}};
    default:
      return OrderedJson::object();
  }
}

std::string text_with(Body body, std::string_view name, const std::string& value) {
  OrderedJson json = valid(body);
  json.erase(std::string(name));
  std::string text = json.dump();
  text.pop_back();
  if (json.size() > 0) text += ',';
  return text + '"' + std::string(name) + "\":" + value + '}';
}

// The field that is named, or empty when the body is taken.
std::string refused_field(Body body, const std::string& text) {
  try {
    const CheckedBody checked = check_body(body, text, Compat::kStrict);
    TextOptions options;
    apply_parameters(body, checked, options);
    return {};
  } catch (const ApiError& error) {
    CHECK(error.status == 400);
    CHECK(std::string_view(error.what()).size() < 600);
    return error.param;
  }
}

bool takes(const Parameter& p, uint32_t kind) {
  return (p.kinds & kind) != 0 || (kind == kInteger && (p.kinds & kNumber) != 0);
}

std::vector<std::string> bad_values(const Parameter& p) {
  std::vector<std::string> bad;
  if (!takes(p, kString)) bad.insert(bad.end(), {"\"NaN\"", "\"text\"", "\"\""});
  if (!takes(p, kBool)) bad.push_back("true");
  if (!takes(p, kList)) bad.push_back("[]");
  if (!takes(p, kObject)) bad.push_back("{}");
  if (takes(p, kInteger)) {
    bad.insert(bad.end(), {"9223372036854775808", "18446744073709551615", "1e308", "-1e308"});
    if (p.least > -1) bad.push_back("-1");
    if (p.least > -9e18) bad.push_back(OrderedJson(p.least - 1).dump());
    if (p.most < 9e18) bad.push_back(OrderedJson(p.most + 1).dump());
    if (p.above_least) bad.push_back(OrderedJson(p.least).dump());
    if ((p.kinds & kNumber) == 0) bad.push_back("1.5");
  } else {
    bad.insert(bad.end(), {"0", "-1", "1.5"});
  }
  if (!p.values.empty() && takes(p, kString)) bad.push_back("\"no such value\"");
  return bad;
}

}  // namespace

TEST_CASE("F20: values outside a field's range are refused and the field is named") {
  size_t n = 0;
  for (const Body body : kBodies)
    for (const Parameter& p : all_parameters()) {
      if ((p.bodies & body) == 0 || p.effect != Parameter::Effect::kApplied) continue;
      for (const std::string& value : bad_values(p)) {
        CAPTURE(to_text(body));
        CAPTURE(value);
        CHECK(refused_field(body, text_with(body, p.name, value)) == p.name);
        ++n;
      }
    }
  CHECK(n > 500);
}

TEST_CASE("Values at the ends of a range are taken, and null counts as not given") {
  for (const Body body : kBodies)
    for (const Parameter& p : all_parameters()) {
      if ((p.bodies & body) == 0 || p.effect != Parameter::Effect::kApplied) continue;
      CAPTURE(p.name);
      if (takes(p, kInteger)) {
        const bool whole = (p.kinds & kNumber) == 0;
        const auto text = [&](double v) {
          return whole && v < 9e18 && v > -9e18 ? std::to_string(static_cast<int64_t>(v))
                 : whole ? std::string(v < 0 ? "-9223372036854775808" : "9223372036854775807")
                         : OrderedJson(v).dump();
        };
        CHECK(refused_field(body, text_with(body, p.name, text(p.most))).empty());
        if (!p.above_least) CHECK(refused_field(body, text_with(body, p.name, text(p.least))).empty());
      }
      CHECK(refused_field(body, text_with(body, p.name, "null")) ==
            (p.required ? p.name : std::string_view()));
    }
}

TEST_CASE("F21: lists, objects and texts longer than their limit are refused by name") {
  for (const Body body : kBodies)
    for (const Parameter& p : all_parameters()) {
      if ((p.bodies & body) == 0 || p.effect != Parameter::Effect::kApplied || p.max_items > 200'000)
        continue;
      CAPTURE(p.name);
      std::string many;
      if (takes(p, kList)) {
        for (size_t i = 0; i <= p.max_items; ++i) many += i == 0 ? "1" : ",1";
        CHECK(refused_field(body, text_with(body, p.name, '[' + many + ']')) == p.name);
      }
      if (takes(p, kObject) && p.max_items < 5000) {
        many.clear();
        for (size_t i = 0; i <= p.max_items; ++i)
          many += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":1";
        CHECK(refused_field(body, text_with(body, p.name, '{' + many + '}')) == p.name);
      }
      if (takes(p, kString) && p.max_bytes < 1 << 20 && p.values.empty())
        CHECK(refused_field(body, text_with(body, p.name, '"' + std::string(p.max_bytes + 1, 'x') + '"')) ==
              p.name);
    }
}

TEST_CASE("Fields that are not supported are refused with a reason, or ignored and listed") {
  for (const Body body : kBodies)
    for (const Parameter& p : all_parameters()) {
      if ((p.bodies & body) == 0) continue;
      CAPTURE(p.name);
      const std::string text = text_with(body, p.name, R"({"some":"thing"})");
      if (p.effect == Parameter::Effect::kRefused) {
        CHECK(refused_field(body, text) == p.name);
        CHECK(check_body(body, text, Compat::kLenient).ignored ==
              std::vector<std::string>{std::string(p.name)});
      } else if (p.effect == Parameter::Effect::kWithoutEffect) {
        CHECK(refused_field(body, text).empty());
      } else if (p.effect == Parameter::Effect::kFixed) {
        CHECK(refused_field(body, text) == p.name);
        for (const std::string_view value : p.values)
          CHECK(refused_field(body, text_with(body, p.name, std::string(value))).empty());
      }
    }
  CHECK(refused_field(kChatBody, R"({"messages":[],"temprature":1})") == "temprature");
  CHECK(check_body(kChatBody, R"({"messages":[],"temprature":1})", Compat::kLenient).ignored.size() == 1);
}

TEST_CASE("F26: bodies that are no JSON, too deep or too wide are refused without being built") {
  CHECK(refused_field(kChatBody, "{") == "body");
  CHECK(refused_field(kChatBody, "") == "body");
  CHECK(refused_field(kChatBody, "[]") == "body");
  CHECK(refused_field(kChatBody, R"({"messages":[],"temperature":NaN})") == "body");
  CHECK(refused_field(kChatBody, R"({"messages":[],"temperature":1e999})") == "body");
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  CHECK(refused_field(kChatBody, R"({"messages":)" + deep + '}') == "body");
  try {
    check_body(kChatBody, R"({"messages":["secret words", }])", Compat::kStrict);
    FAIL("taken");
  } catch (const ApiError& error) {
    CHECK(std::string(error.what()).find("secret") == std::string::npos);
  }
}

TEST_CASE("The options that a request gets") {
  const CheckedBody checked = check_body(
      kCompletionBody,
      R"({"prompt":"a","temperature":0.5,"top_k":-1,"stop":"x","logit_bias":{"7":-100},"logprobs":3,
      "seed":-5,"n":2,"ignore_eos":true,"repeat_penalty":1.5,"stop_token_ids":[3,4],"cache_prompt":false})",
      Compat::kStrict);
  TextOptions options;
  apply_parameters(kCompletionBody, checked, options);
  CHECK(options.sampling.temperature == 0.5F);
  CHECK(options.sampling.top_k == 0);
  CHECK(options.stop == std::vector<std::string>{"x"});
  REQUIRE(options.sampling.logit_bias.size() == 1);
  CHECK(options.sampling.logit_bias[0].token == 7);
  CHECK(options.sampling.logprobs);
  CHECK(options.sampling.top_logprobs == 3);
  CHECK(options.sampling.seed == static_cast<uint64_t>(-5));
  CHECK(options.n == 2);
  CHECK(options.ignore_eos);
  CHECK(options.sampling.repetition_penalty == 1.5F);
  CHECK(options.stop_token_ids == std::vector<int32_t>{3, 4});
  CHECK_FALSE(options.cache_prompt);
  CHECK(refused_field(kCompletionBody, R"({"prompt":"a","logit_bias":{"x":1}})") == "logit_bias");
}

// LLMHOST_WRITE_DOCS=1 writes it.
TEST_CASE("docs/serving-parameters.md is what the table says") {
  const std::string path = std::string(LLMHOST_TEST_DATA) + "/../../docs/serving-parameters.md";
  const std::string document = parameters_document();
  if (std::getenv("LLMHOST_WRITE_DOCS") != nullptr) std::ofstream(path) << document;
  std::ifstream file(path);
  const std::string written{std::istreambuf_iterator<char>(file), {}};
  CHECK(written == document);
}

}  // namespace llmhost::serve
