// A method's settings: every kind of value, defaults, other names, and refusals with their place.
#include "train/method_config.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "graph/types.h"
#include "plugin/status.h"

using namespace llmhost;
using namespace llmhost::train;
using graph::to_str;
using graph::to_view;

namespace {

MethodKey key(int32_t type, const char* name, const char* fallback) {
  MethodKey made;
  made.type = type;
  made.name = name;
  made.default_value = fallback;
  made.is_required = made.default_value.empty();
  return made;
}

std::vector<MethodKey> keys() {
  MethodKey rank = key(LLMH_KEY_INT, "r", "8");
  rank.minimum = 1;
  rank.maximum = 64;
  rank.aliases = {"lora_rank", "rank"};
  MethodKey bias = key(LLMH_KEY_STRING, "bias", "none");
  bias.choices = {"none", "all"};
  return {rank,
          bias,
          key(LLMH_KEY_FLOAT, "alpha", "16"),
          key(LLMH_KEY_BOOL, "scaled", "false"),
          key(LLMH_KEY_STRING, "task", "''"),
          key(LLMH_KEY_STRING_LIST, "names", "[a, b]"),
          key(LLMH_KEY_STRING_OR_LIST, "targets", "all-linear"),
          key(LLMH_KEY_MAP, "pattern", "{}")};
}

MethodConfig config(const char* yaml) {
  return MethodConfig(keys(), parse_yaml(yaml, "job.yaml"), "job.yaml");
}

int64_t integer(const MethodConfig& config, const char* name) {
  int64_t value = 0;
  plugin::check(config.get_int(&config, to_str(name), &value));
  return value;
}

std::string text(const MethodConfig& config, const char* name) {
  llmh_str value{};
  plugin::check(config.get_string(&config, to_str(name), &value));
  return std::string(to_view(value));
}

std::vector<std::string> list(const MethodConfig& config, const char* name) {
  uint32_t n = 0;
  plugin::check(config.get_size(&config, to_str(name), &n));
  std::vector<std::string> items;
  for (uint32_t i = 0; i < n; ++i) {
    llmh_str item{};
    plugin::check(config.get_list(&config, to_str(name), i, &item));
    items.emplace_back(to_view(item));
  }
  return items;
}

bool is_given(const MethodConfig& config, const char* name) {
  int32_t given = 0;
  plugin::check(config.is_given(&config, to_str(name), &given));
  return given == 1;
}

}  // namespace

TEST_CASE("defaults, where nothing is written") {
  const MethodConfig empty = config("");
  CHECK(integer(empty, "r") == 8);
  CHECK(integer(empty, "scaled") == 0);
  CHECK(text(empty, "bias") == "none");
  CHECK(text(empty, "task").empty());
  CHECK(list(empty, "names") == std::vector<std::string>{"a", "b"});
  CHECK(list(empty, "targets") == std::vector<std::string>{"all-linear"});
  CHECK(list(empty, "pattern").empty());
  CHECK_FALSE(is_given(empty, "r"));
}

TEST_CASE("values as they are written") {
  const MethodConfig given = config(
      "lora_rank: 4\nalpha: 1e-1\nscaled: true\nbias:\nnames: []\ntargets: [q_proj, v_proj]\n"
      "pattern: {b: 2, a: 'x y'}\n");
  CHECK(integer(given, "r") == 4);
  CHECK(is_given(given, "r"));
  CHECK(integer(given, "scaled") == 1);
  double alpha = 0;
  plugin::check(given.get_float(&given, to_str("alpha"), &alpha));
  CHECK(alpha == 0.1);
  CHECK_FALSE(is_given(given, "bias"));  // nothing behind the colon
  CHECK(list(given, "names").empty());
  CHECK(list(given, "targets") == std::vector<std::string>{"q_proj", "v_proj"});
  CHECK(list(given, "pattern") == std::vector<std::string>{"b", "a"});  // in the order of the file
  llmh_str value{};
  plugin::check(given.get_value(&given, to_str("pattern"), 1, &value));
  CHECK(to_view(value) == "x y");
  int32_t kind = 0;
  plugin::check(given.get_kind(&given, to_str("targets"), &kind));
  CHECK(kind == LLMH_KEY_STRING_LIST);
  CHECK_THROWS_WITH_AS(integer(given, "bias"), doctest::Contains("declared with type"), Error);
  CHECK_THROWS_WITH_AS(integer(given, "none"), doctest::Contains("not declared"), Error);
  CHECK_THROWS_WITH_AS(plugin::check(given.get_value(&given, to_str("pattern"), 2, &value)),
                       doctest::Contains("2 items"), Error);
}

TEST_CASE("what does not fit is refused at its place") {
  const auto refused = [](const char* yaml, const char* message) {
    INFO(yaml);
    CHECK_THROWS_WITH_AS(config(yaml), doctest::Contains(message), UsageError);
  };
  refused("rank: 4\nlora_rnk: 5\n", "job.yaml:2:1: unknown key 'lora_rnk'; did you mean 'lora_rank'?");
  refused("rank: 4\nr: 5\n", "job.yaml:2:1: 'rank' and 'r' are the same key");
  refused("r: 65", "job.yaml:1:4: r: '65' is given, it must be a whole number from 1 to 64");
  refused("r: 1.5", "a whole number");
  refused("r: '4'", "a whole number");
  refused("alpha: nan", "a number");
  refused("scaled: 2", "true or false");
  refused("bias: al", "one of none, all; did you mean 'all'?");
  refused("names: a", "'a' is given, it must be a list of texts");
  refused("names: [[a]]", "a list of texts");
  refused("targets: {a: b}", "a map is given, it must be a text or a list of texts");
  refused("pattern: [a]", "a map of names to values");
  refused("[a]", "a map of the method's keys is wanted here");
  std::vector<MethodKey> required = {key(LLMH_KEY_INT, "n", "")};
  required[0].documentation = "how many";
  CHECK_THROWS_WITH_AS(MethodConfig(required, parse_yaml("", "job.yaml"), "job.yaml"),
                       doctest::Contains("the key 'n' is missing: how many"), UsageError);
}
