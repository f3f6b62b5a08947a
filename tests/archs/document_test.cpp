// Descriptions of architectures that are wrong: every message has the file, the line and the column.
#include "document.h"

#include <doctest/doctest.h>

#include "archs/some_model.h"
#include "infer.h"
#include "library.h"
#include "recipe.h"

namespace llmhost::test {
namespace {

using declarative::Library;

std::string message(const std::function<void()>& what) {
  try {
    what();
  } catch (const llmh::Error& e) {
    return e.what();
  }
  return "no error";
}

const char* const kConfig = R"({"model_type": "thing", "layers": 2, "heads": 4, "eps": 0.5, "act": "silu"})";

// What reading the document for a small checkpoint says.
std::string read(const std::string& text) {
  return message([&] {
    SomeModel some(kConfig);
    declarative::read_recipe("a.yaml", declarative::parse_document("a.yaml", text), some.model());
  });
}

const std::string kWhole = R"(schema: 1
name: thing
model_types: [thing]
sizes: {layers: $layers, hidden: 16, vocab: 10, heads: $heads}
norm: {eps: $eps}
layer:
  blocks:
    - {norm: one, run: attention}
    - {norm: two, run: mlp}
attention: {rope: {theta: 100}}
mlp: {width: 8, activation: $act}
)";

std::string with(const std::string& from, const std::string& to) {
  std::string text = kWhole;
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("a document that is whole") {
  CHECK(read(kWhole) == "no error");
}

TEST_CASE("YAML that is none, and other schemas") {
  CHECK(read("a: [1").starts_with("a.yaml:1:"));
  CHECK(read("- 1").starts_with("a.yaml:1:1: a map of keys is expected"));
  CHECK(read("name: x") == "a.yaml:1:1: 'schema: 1' is missing");
  CHECK(read("schema: 2") == "a.yaml:1:9: schema 2 is not known; this plugin reads schema 1");
  CHECK(read(std::string(2 << 20, ' ')).find("larger than 1 MiB") != std::string::npos);
}

TEST_CASE("errors have file, line and column") {
  CHECK(read(with("eps: $eps", "eps: $eps +")).starts_with("a.yaml:5:13: expression '$eps +', character 7"));
  CHECK(read(with("eps: $eps", "epsilon: $eps"))
            .starts_with("a.yaml:5:8: unknown key 'epsilon' in 'norm'; known are"));
  CHECK(read(with("heads: $heads", "heads: $none"))
            .starts_with("a.yaml:4:56: sizes.heads: the config does not give it"));
  CHECK(read(with("layers: $layers", "layers: 0")).find("sizes.layers: is 0") != std::string::npos);
  CHECK(read(with("layers: $layers", "layers: 1.5")).find("is no count") != std::string::npos);
  CHECK(read(with("width: 8", "width: 0 - 8")).starts_with("a.yaml:11:14: mlp.width"));
  CHECK(read(with("run: mlp", "run: moe") + "moe: {width: 2}\n")
            .starts_with("a.yaml: moe.routing.experts: the config does not give it"));
  CHECK(read(with("norm: {eps", "variables: [1]\nnorm: {eps")).find("'variables' must be a map") !=
        std::string::npos);
  CHECK(read(with("run: mlp", "run: lunch")).find("there is no section 'lunch'") != std::string::npos);
  CHECK(read(with("theta: 100", "theta: 100, style: spirals"))
            .find("'spirals' is not known; known are halves, interleaved") != std::string::npos);
  CHECK(
      read(with("theta: 100", "dim: 3")).starts_with("a.yaml:10:25: attention.rope.dim: 3 rotated elements"));
  CHECK(read(with("norm: one", "norm: \"{one}\"")).find("{one} is no variable") != std::string::npos);
  CHECK(read(with("blocks:\n", "blocks: 1\n  bricks:\n"))
            .starts_with("a.yaml:7:11: layer.blocks: a list is expected"));
  CHECK(read(with("activation: $act", "activation: $layers")).find("activation '2' is not known") !=
        std::string::npos);
}

TEST_CASE("what could be overlooked") {
  CHECK(read(with("mlp: {", "norm: {eps: 1}\nmlp: {")) == "a.yaml:11:1: key 'norm' occurs twice");
  CHECK(message([] { Library().add("b.yaml", "schema: 1\nname: b\nmodel_types: b\n"); }) ==
        "b.yaml:3:14: 'model_types' must be a list of names");
}

TEST_CASE("a library of documents") {
  Library library;
  library.add("one.yaml", "schema: 1\nname: base\nmodel_types: []\nnorm: {eps: 1, kind: rms}\n");
  library.add("two.yaml",
              "schema: 1\nname: two\nextends: base\nmodel_types: [two]\nnorm: {kind: null, bias: true}\n");
  library.add("three.yaml", "schema: 1\nname: three\nextends: nobody\nmodel_types: [three]\n");
  library.add("no.yaml", "schema: 1\nname: no\nunsupported: {two: never, four: too odd}\n");
  CHECK(library.find("five") == nullptr);
  const YAML::Node norm = library.whole(*library.find("two"))["norm"];
  CHECK(norm["eps"].as<int>() == 1);
  CHECK(norm["bias"].as<bool>());
  CHECK_FALSE(norm["kind"].IsDefined());
  CHECK(message([&] { static_cast<void>(library.whole(*library.find("three"))); }).find("extends 'nobody'") !=
        std::string::npos);
  CHECK(library.refusal("four") == "too odd");
  CHECK(library.refusal("five").empty());
  CHECK(message([&] {
          library.add("bad.yaml", "schema: 1\nname: bad\nunsupported: [a]\n");
        }).starts_with("bad.yaml:3:"));
  CHECK(message([&] {
          library.add("bad.yaml", "schema: 1\nname: bad\nunsupported:\n  a: {b: c}\n");
        }).starts_with("bad.yaml:4:3:"));
}

TEST_CASE("inference stops where there is nothing to read off") {
  SomeModel some(kConfig, {{"weight", {4, 4}}});
  CHECK(message([&] {
          declarative::infer(some.model());
        }).find("no tensor name holds the number of a layer") != std::string::npos);
}

}  // namespace llmhost::test
