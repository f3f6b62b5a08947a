// serve.yaml: what it may say, and how it is told what is wrong.
#include "serve/models/configuration.h"

#include <doctest/doctest.h>

#include "core/error.h"

namespace llmhost::serve {
namespace {

ServeConfig parse(const std::string& yaml) {
  return parse_configuration(Settings(serve_schema()), yaml, "serve.yaml", "/etc/llmhost");
}

std::string error_of(const std::string& yaml) {
  try {
    check_configuration(parse(yaml));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

void check_error(const std::string& yaml, const std::string& begins, const std::string& has) {
  const std::string error = error_of(yaml);
  CAPTURE(error);
  CHECK(error.starts_with(begins));
  CHECK(error.find(has) != std::string::npos);
}

}  // namespace

TEST_CASE("a configuration with everything") {
  const ServeConfig config = parse(R"(
server: {host: 0.0.0.0, port: 9000, max_body: 1MiB}
access: {keys_file: keys.yaml, allowed_hosts: [my.host]}
pool: {roots: [models, /srv/models], memory: 8GiB, on_not_loaded: error, queue: 5, load_timeout: 30}
engine: {threads: 3, sequences: 4}
models:
  - id: small
    path: small.gguf
    aliases: [gpt-4o, other]
    replicas: 2
    adapters:
      roots: [adapters]
      memory: 64MiB
      max_rank: 16
      policy: pinned
      digests: [one=00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff]
    engine: {sequences: 8, context: 1024}
    sampling: {temperature: 0.5}
  - path: /srv/big/
    preload: false
)");
  CHECK(config.settings.get_int("server.port") == 9000);
  CHECK(config.keys_file == "/etc/llmhost/keys.yaml");
  REQUIRE(config.pool.roots.size() == 2);
  CHECK(config.pool.roots[0] == "/etc/llmhost/models");
  CHECK(config.pool.roots[1] == "/srv/models");
  CHECK(config.pool.memory == uint64_t{8} << 30);
  CHECK_FALSE(config.pool.waits);
  CHECK(config.pool.max_waiting == 5);
  REQUIRE(config.models.size() == 2);
  const ModelConfig& small = config.models[0];
  CHECK(small.path == "/etc/llmhost/small.gguf");
  CHECK(small.aliases == std::vector<std::string>{"gpt-4o", "other"});
  CHECK(small.pinned);
  CHECK(small.replicas == 2);
  CHECK(small.adapters.roots.front() == "/etc/llmhost/adapters");
  CHECK(small.adapters.memory == uint64_t{64} << 20);
  CHECK(small.adapters.only_pinned);
  CHECK(small.adapters.digests.at("one") ==
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
  CHECK(small.settings.get_int("engine.sequences") == 8);
  CHECK(small.settings.get_int("engine.threads") == 3);
  CHECK(small.settings.get_float("sampling.temperature") == 0.5);
  const ModelConfig& big = config.models[1];
  CHECK(big.id == "big");
  CHECK_FALSE(big.preload);
  CHECK_FALSE(big.pinned);
  CHECK(big.settings.get_int("engine.sequences") == 4);
}

TEST_CASE("the command line is stronger than the file, for every model") {
  Settings settings(serve_schema());
  settings.set("engine.sequences", "2", "--sequences");
  const ServeConfig config =
      parse_configuration(settings, "models: [{path: a, engine: {sequences: 8}}]\n", "serve.yaml", "");
  CHECK(config.models[0].settings.get_int("engine.sequences") == 2);
}

TEST_CASE("what is wrong is told with its line and the nearest name") {
  check_error("modles:\n  - path: x\n", "serve.yaml:1:1: ", "did you mean 'models'");
  check_error("server:\n  prot: 1\n", "serve.yaml:2:3: ", "did you mean 'server.port'");
  check_error("models:\n  - path: x\n    aliasses: [y]\n", "serve.yaml:3:5: ", "did you mean 'aliases'");
  check_error("models:\n  - path: x\n    engine: {contxt: 5}\n",
              "serve.yaml:3:14: ", "did you mean 'engine.context'");
  check_error("models:\n  - path: x\n    engine: {context: -5}\n", "serve.yaml:3:", "expected an integer");
  check_error("models:\n  - id: x\n", "serve.yaml:2:5: ", "no path");
  check_error("models: x\n", "serve.yaml:1:9: ", "a list");
  check_error("models: [x]\n", "serve.yaml:1:10: ", "at least a path");
  check_error("server: {port: 70000}\n", "serve.yaml:1:16: ", "from 0 to 65535");
  check_error("pool: {memory: lots}\n", "serve.yaml:1:8: pool.memory", "512MiB");
  check_error("pool: {memory: 99999999999TiB}\n", "serve.yaml:1:8: ", "expected auto or a size");
  check_error("pool: {on_not_loaded: wiat}\n", "serve.yaml:1:", "did you mean 'wait'");
  check_error("models: [{path: x, adapters: {digests: [one]}}]\n", "serve.yaml:1:", "NAME=SHA256");
  check_error("models: [{path: x, id: '../x'}]\n", "serve.yaml:1:10: ", "looks like a path");
  check_error("models: [{path: x, id: 'a:b'}]\n", "serve.yaml:1:10: ", "characters");
  check_error("models: [{path: x}, {path: y, aliases: [x]}]\n", "serve.yaml:1:21: ", "two models have the name 'x'");
  check_error("server: {port: 1}\n", "serve: ", "no model");
  check_error("engine: {speculation: {mode: lookup}}\n", "serve.yaml:1:", "does not guess ahead");
  check_error("models: [{path: x, model: {adapter: y}}]\n", "serve.yaml:1:", "adapters.roots");
  check_error("- a\n", "serve.yaml:1:1: ", "sections");
  check_error("a: [\n", "serve.yaml:", "");
}

TEST_CASE("names of models") {
  CHECK(model_name("/a/b/model.Q4_1.gguf") == "model.Q4_1");
  CHECK(model_name("/a/b/") == "b");
  CHECK(model_name("b/model.safetensors") == "model");
  CHECK(model_name("llama-3.2") == "llama-3.2");
  CHECK(name_fault("owner/model-1.5").empty());
  for (const char* bad : {"", "a/../b", "/a", "a/", "a//b", "a b", "a\nb", "\xef\xbd\x8f"})
    CHECK_FALSE(name_fault(bad).empty());
  CHECK_FALSE(name_fault(std::string(4096, 'x')).empty());
}

TEST_CASE("sizes") {
  CHECK(parse_bytes("auto", "x") == 0);
  CHECK(parse_bytes("1000", "x") == 1000);
  CHECK(parse_bytes("2 KiB", "x") == 2048);
  for (const char* bad : {"", "0", "-1", "1.5GiB", "1GB", "18446744073709551616", "17179869184GiB"})
    CHECK_THROWS_AS(parse_bytes(bad, "x"), UsageError);
}

}  // namespace llmhost::serve
