#include "model/model_view.h"

#include <doctest/doctest.h>

namespace llmhost::model {
namespace {

llmh_str str(std::string_view text) {
  return {text.data(), text.size()};
}

struct Fixture {
  Json config = Json::parse(R"({"a": 3, "b": 2.5, "c": "text", "d": true, "e": null, "list": [1, 2, 3],
                                "nested": {"x": 1, "y": 2}, "dotted.key": 7, "big": 18446744073709551615})");
  ModelView view{config, "config.json", LLMH_FORMAT_HUB, [](std::string_view name) {
                   return name == "w" ? std::optional(std::vector<int64_t>{2, 3}) : std::nullopt;
                 }};
  const llmh_model* table = view.table();
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "typed getters") {
  int64_t i = 0;
  double f = 0;
  int32_t b = 0;
  llmh_str s{};
  CHECK(table->get_int(table, str("a"), &i) == LLMH_VALUE_OK);
  CHECK(i == 3);
  CHECK(table->get_float(table, str("a"), &f) == LLMH_VALUE_OK);
  CHECK(f == 3.0);
  CHECK(table->get_float(table, str("b"), &f) == LLMH_VALUE_OK);
  CHECK(f == 2.5);
  CHECK(table->get_bool(table, str("d"), &b) == LLMH_VALUE_OK);
  CHECK(b == 1);
  CHECK(table->get_string(table, str("c"), &s) == LLMH_VALUE_OK);
  CHECK(std::string_view(s.ptr, s.len) == "text");
  CHECK(table->get_int(table, str("nested.y"), &i) == LLMH_VALUE_OK);
  CHECK(i == 2);
  CHECK(table->get_int(table, str("list.1"), &i) == LLMH_VALUE_OK);
  CHECK(i == 2);
  CHECK(table->get_int(table, str("dotted.key"), &i) == LLMH_VALUE_OK);
  CHECK(i == 7);
}

TEST_CASE_FIXTURE(Fixture, "absent, null and wrong types") {
  int64_t i = 42;
  CHECK(table->get_int(table, str("nothing"), &i) == LLMH_VALUE_ABSENT);
  CHECK(table->get_int(table, str("e"), &i) == LLMH_VALUE_ABSENT);
  CHECK(table->get_int(table, str("list.9"), &i) == LLMH_VALUE_ABSENT);
  CHECK(view.type_errors().empty());
  CHECK(table->get_int(table, str("c"), &i) == LLMH_VALUE_WRONG_TYPE);
  CHECK(table->get_int(table, str("b"), &i) == LLMH_VALUE_WRONG_TYPE);
  CHECK(table->get_int(table, str("big"), &i) == LLMH_VALUE_WRONG_TYPE);
  CHECK(i == 42);
  REQUIRE(view.type_errors().size() == 3);
  CHECK(view.type_errors()[0] == "config.json: 'c' is \"text\", it must be an integer");
}

TEST_CASE_FIXTURE(Fixture, "what is not read is known") {
  int64_t i = 0;
  CHECK(table->has_key(table, str("a")) == 1);
  CHECK(table->has_key(table, str("e")) == 0);
  CHECK(view.unread_keys() ==
        std::vector<std::string>{"a", "b", "big", "c", "d", "dotted.key", "list", "nested.x", "nested.y"});
  table->get_int(table, str("a"), &i);
  table->get_int(table, str("nested.x"), &i);
  table->get_int(table, str("list.0"), &i);
  table->ignore_key(table, str("b"));
  CHECK(view.unread_keys() == std::vector<std::string>{"big", "c", "d", "dotted.key", "nested.y"});
  table->ignore_key(table, str("nested"));
  CHECK(view.unread_keys() == std::vector<std::string>{"big", "c", "d", "dotted.key"});
  view.forget_reads();
  CHECK(view.unread_keys().size() == 9);
}

TEST_CASE_FIXTURE(Fixture, "lists of numbers and tensors") {
  int64_t n = 0;
  double values[2] = {};
  CHECK(table->get_floats(table, str("list"), values, 2, &n) == LLMH_VALUE_OK);
  CHECK(n == 3);
  CHECK(values[1] == 2.0);
  int64_t shape[LLMH_MAX_RANK] = {};
  int32_t rank = 0;
  CHECK(table->has_tensor(table, str("w"), shape, &rank) == 1);
  CHECK(rank == 2);
  CHECK(shape[1] == 3);
  CHECK(table->has_tensor(table, str("v"), nullptr, nullptr) == 0);
}

}  // namespace llmhost::model
