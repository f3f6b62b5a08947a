// A written document is the YAML that was meant, whatever the texts in it are.
#include <doctest/doctest.h>
#include <yaml-cpp/yaml.h>

#include "infer_draft.h"

namespace llmhost::test {

TEST_CASE("what is written is read back") {
  declarative::Draft draft;
  const std::vector<std::string> texts = {"plain",  "$a | b",     "a: b",  "x # y",      "- z",
                                          "",       "\"quoted\"", "{i}.w", "1e-5",       "a 'b' c",
                                          "back\\", "*star",      "[list", "two  words "};
  for (size_t i = 0; i < texts.size(); ++i)
    draft.section("texts").set("t" + std::to_string(i), texts[i], "why: \n not");
  draft.set_list("list", {"a", "{i}", "b c"});
  draft.item("maps").set("first", "1");
  draft.item("maps").item("inner").set("second", "2");
  draft.section("empty");
  const YAML::Node read = YAML::Load(draft.text());
  for (size_t i = 0; i < texts.size(); ++i)
    CHECK(read["texts"]["t" + std::to_string(i)].Scalar() == texts[i]);
  CHECK(read["list"][1].Scalar() == "{i}");
  CHECK(read["maps"].size() == 2);
  CHECK(read["maps"][1]["inner"][0]["second"].Scalar() == "2");
  CHECK(read["empty"].IsMap());
}

TEST_CASE("a value that is set again is replaced") {
  declarative::Draft draft;
  draft.set("a", "1", "sure");
  draft.set("a", "2");
  CHECK(draft.text() == "a: 2\n");
}

}  // namespace llmhost::test
