#include "core/config.h"

#include <doctest/doctest.h>

#include "core/errors.h"

namespace llmhost {
namespace {

using test::error_of;

ConfigSchema sample_schema() {
  ConfigSchema schema;
  schema.add_int("engine.threads", 0, 0, 1024, "Worker threads; 0 takes every core.")
      .add_int("engine.max_batch", 8, 1, 4096, "Sequences a step.")
      .add_bool("engine.prefix_cache", true, "Share equal beginnings.")
      .add_float("sampling.temperature", 0.8, 0, 10, "0 is greedy.")
      .add_enum("engine.cache_type", {"f16", "f32", "q8_0"}, "f16", "How state is stored.")
      .add_string("model.path", "", "File or folder.")
      .add_list("plugins.paths", {}, "Folders to search.");
  return schema;
}

std::string load_error(std::string_view yaml) {
  Settings settings(sample_schema());
  return error_of([&] { settings.load_text(yaml, "run.yaml"); });
}

}  // namespace

TEST_CASE("values of every type are read from a file, with their place") {
  Settings settings(sample_schema());
  settings.load_text(
      "engine:\n  threads: 4\n  prefix_cache: no\n  cache_type: q8_0\nsampling: {temperature: 1}\n"
      "model:\n  path: 123\nplugins:\n  paths: [a, \"b,c\"]\n",
      "run.yaml");
  CHECK(settings.get_int("engine.threads") == 4);
  CHECK_FALSE(settings.get_bool("engine.prefix_cache"));
  CHECK(settings.get_string("engine.cache_type") == "q8_0");
  CHECK(settings.get_float("sampling.temperature") == 1.0);
  CHECK(settings.get_string("model.path") == "123");
  CHECK(settings.get_list("plugins.paths") == std::vector<std::string>{"a", "b,c"});
  CHECK(settings.get_int("engine.max_batch") == 8);
  CHECK(settings.is_default("engine.max_batch"));
  CHECK(settings.at("engine.threads").where == "run.yaml:2:3");
  CHECK(to_string(settings.at("plugins.paths").value) == "[a, b,c]");
}

TEST_CASE("an unknown key names its place and the nearest key") {
  CHECK(load_error("engine:\n  thraeds: 4\n") ==
        "run.yaml:2:3: unknown key 'engine.thraeds'; did you mean 'engine.threads'?");
  CHECK(load_error("engin:\n  threads: 4\n") == "run.yaml:1:1: unknown key 'engin'; did you mean 'engine'?");
  CHECK(load_error("temperature: 1\n") ==
        "run.yaml:1:1: unknown key 'temperature'; did you mean 'sampling.temperature'?");
  CHECK(load_error("engine: {zzzzzz: 1}\n").find("; known: threads, max_batch") != std::string::npos);
  CHECK(load_error("engine.threads: 1\n") == "run.yaml:1:1: write 'engine.threads' as nested sections");
  CHECK(load_error("\"a\\nb\": 1\n").find('\n') == std::string::npos);
}

TEST_CASE("a value of the wrong type or out of range is refused") {
  CHECK(load_error("engine: {threads: x}") ==
        "run.yaml:1:19: engine.threads is 'x', expected an integer from 0 to 1024");
  for (const char* bad :
       {"1025", "-1", "1.5", "1e3", "99999999999999999999", "\"4\"", "0x10", "[4]", "", "~", "+-4"}) {
    CAPTURE(bad);
    CHECK(load_error(fmt::format("engine: {{threads: {}}}", bad)).find("engine.threads is") !=
          std::string::npos);
  }
  for (const char* bad : {"10.5", "nan", ".inf", "inf", "1x", "true"}) {
    CAPTURE(bad);
    CHECK_FALSE(load_error(fmt::format("sampling: {{temperature: {}}}", bad)).empty());
  }
  CHECK(load_error("engine: {prefix_cache: maybe}").find("expected true or false") != std::string::npos);
  CHECK(load_error("engine: {cache_type: q8}").find("did you mean 'q8_0'?") == std::string::npos);
  CHECK(load_error("engine: {cache_type: q8-0}").find("did you mean 'q8_0'?") != std::string::npos);
  CHECK(load_error("engine: 4") == "run.yaml:1:9: engine is a single value, expected a section with keys");
  CHECK(load_error("plugins: {paths: a}").find("plugins.paths is a single value") != std::string::npos);
  CHECK(load_error("- a\n").find("there is a list") != std::string::npos);
  CHECK(load_error("engine: {threads: 1, threads: 2}").find("given twice") != std::string::npos);
  CHECK(load_error("engine:\n").empty());
  CHECK(load_error("").empty());
}

TEST_CASE("the command line beats the environment beats the file, in whatever order they are read") {
  const char* const environment[] = {"HOME=/x", "LLMHOST_ENGINE_THREADS=2", "LLMHOST_ENGINE_MAX_BATCH=3",
                                     "LLMHOST_LOG=debug", nullptr};
  Settings settings(sample_schema());
  settings.set("engine.threads", "1", "--threads");
  settings.load_environment(environment);
  settings.load_text("engine: {threads: 9, max_batch: 9, prefix_cache: false}", "run.yaml");
  CHECK(settings.get_int("engine.threads") == 1);
  CHECK(settings.at("engine.threads").where == "--threads");
  CHECK(settings.get_int("engine.max_batch") == 3);
  CHECK(settings.at("engine.max_batch").where == "$LLMHOST_ENGINE_MAX_BATCH");
  CHECK(settings.at("engine.max_batch").source == SettingSource::kEnvironment);
  CHECK(settings.at("engine.prefix_cache").source == SettingSource::kFile);
  settings.set_assignment("plugins.paths=a,b");
  CHECK(settings.get_list("plugins.paths") == std::vector<std::string>{"a", "b"});
}

TEST_CASE("mistakes in the environment and on the command line are told") {
  Settings settings(sample_schema());
  const char* const typo[] = {"LLMHOST_ENGINE_THREDS=2", nullptr};
  CHECK(error_of([&] { settings.load_environment(typo); }) ==
        "$LLMHOST_ENGINE_THREDS: no such setting; did you mean 'LLMHOST_ENGINE_THREADS'?");
  const char* const bad[] = {"LLMHOST_ENGINE_THREADS=two", nullptr};
  CHECK(error_of([&] { settings.load_environment(bad); }) ==
        "$LLMHOST_ENGINE_THREADS: engine.threads is 'two', expected an integer from 0 to 1024");
  CHECK(error_of([&] { settings.set_assignment("engine.threads"); }).find("key=value") != std::string::npos);
  CHECK(error_of([&] { settings.set("engine.thread", "1"); }) ==
        "--set: unknown key 'engine.thread'; did you mean 'engine.threads'?");
  CHECK_THROWS_AS(settings.set("engine.threads", "x"), UsageError);
  CHECK_THROWS_AS(settings.load_file("/nonexistent/run.yaml"), UsageError);
}

TEST_CASE("the server's key is no setting, though there is a section of its name") {
  ConfigSchema schema = sample_schema();
  schema.add_string("api.compat", "strict", "");
  Settings settings(schema);
  const char* const environment[] = {"LLMHOST_API_KEY=secret", "LLMHOST_API_COMPAT=lenient", nullptr};
  CHECK_NOTHROW(settings.load_environment(environment));
  CHECK(settings.get_string("api.compat") == "lenient");
  const char* const other[] = {"LLMHOST_API_KEYS=x", nullptr};
  CHECK_THROWS_AS(settings.load_environment(other), UsageError);
}

TEST_CASE("a schema refuses keys that clash, and takes another schema as a section") {
  ConfigSchema method;
  method.add_int("rank", 8, 1, 512, "Rank.");
  ConfigSchema schema = sample_schema();
  schema.add_section("finetune", method);
  CHECK(schema.find("finetune.rank") != nullptr);
  CHECK_THROWS_AS(schema.add_int("engine.threads", 0, 0, 1, ""), Error);
  CHECK_THROWS_AS(schema.add_int("engine", 0, 0, 1, ""), Error);
  CHECK_THROWS_AS(schema.add_int("engine.threads.more", 0, 0, 1, ""), Error);
  CHECK_THROWS_AS(schema.add_int("engine.max.batch", 0, 0, 1, ""), Error);  // the same environment variable
  CHECK_THROWS_AS(schema.add_int("Engine.X", 0, 0, 1, ""), Error);
  CHECK(describe(schema).find("| `finetune.rank` | an integer from 1 to 512 | `8` | Rank. |") !=
        std::string::npos);
  const Settings settings(schema);
  CHECK_THROWS_AS(settings.get_bool("engine.threads"), Error);
  CHECK_THROWS_AS(settings.get_int("engine.none"), Error);
}

}  // namespace llmhost
