#include "core/yaml.h"

#include <doctest/doctest.h>

#include "core/errors.h"

namespace llmhost {

using test::error_of;

TEST_CASE("a document becomes a tree with places") {
  const YamlNode root = parse_yaml("a: 1\nb:\n  - x\n  - \"2\"\n  - ~\nc: {d: [e]}\n", "t");
  REQUIRE(root.kind == YamlNode::Kind::kMap);
  REQUIRE(root.keys.size() == 3);
  CHECK(root.find("a")->text == "1");
  const YamlNode& b = *root.find("b");
  REQUIRE(b.items.size() == 3);
  CHECK(b.items[1].text == "2");
  CHECK(b.items[1].is_quoted);
  CHECK(b.items[1].line == 4);
  CHECK(b.items[1].column == 5);
  CHECK(b.items[2].kind == YamlNode::Kind::kNull);
  CHECK(root.find("c")->find("d")->items[0].text == "e");
  CHECK(root.find("none") == nullptr);
  CHECK(parse_yaml("", "t").kind == YamlNode::Kind::kNull);
  CHECK(parse_yaml("# only a comment\n", "t").kind == YamlNode::Kind::kNull);
}

TEST_CASE("what is malformed or ambiguous is refused with its place") {
  const auto error = [](std::string_view text) { return error_of([&] { parse_yaml(text, "t"); }); };
  CHECK(error("a: 1\nb: 2\na: 3\n") == "t:3:1: 'a' is given twice in this map; keep one");
  CHECK(error("a: {b: 1, b: 2}") == "t:1:11: 'b' is given twice in this map; keep one");
  CHECK(error("? [a]\n: b\n") == "t:1:3: a key must be a single value, not a list or a map");
  CHECK(error("~: b\n").starts_with("t:1:1: a key must be a single value"));
  CHECK(error("a: 1\n---\nb: 2\n").starts_with("t: more than one document"));
  CHECK(error("a: [1, 2\n").starts_with("t:2:1: not valid YAML"));
  CHECK(error("a: *b\n").starts_with("t:1:4: not valid YAML"));
  CHECK(error("a: 1\nb: \x04 c\n").starts_with("t:2: byte 0x04"));
  CHECK(error(std::string_view("a\0:\0", 4)).starts_with("t:1: byte 0x00"));
  for (const char* bad :
       {"a\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80", "\xe0\x9f\xbf"})
    CHECK(error(bad).find("does not belong in a YAML file") != std::string::npos);
  CHECK(error("a: \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n").empty());
  CHECK(error("\xff\xfe"
              "a")
            .starts_with("t:1: byte 0xff"));
}

TEST_CASE("size, depth and aliases are bounded") {
  const auto error = [](std::string_view text) { return error_of([&] { parse_yaml(text, "t"); }); };
  CHECK(error(std::string(65, '[') + std::string(65, ']')).find("nested deeper than 64 levels") !=
        std::string::npos);
  CHECK(error(std::string(60, '[') + "1" + std::string(60, ']')).empty());
  CHECK(error("a: " + std::string(size_t{5} << 20, 'x')).find("the limit is") != std::string::npos);

  // Ten levels of ten aliases each: 10^10 values from 400 bytes.
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int level = 1; level < 10; ++level) {
    bomb += fmt::format("a{0}: &a{0} [", level);
    for (int i = 0; i < 10; ++i) bomb += fmt::format("{}*a{}", i == 0 ? "" : ", ", level - 1);
    bomb += "]\n";
  }
  CHECK(error(bomb).find("more than 100000 values") != std::string::npos);
  CHECK(error("a: &a [*a]\n").find("t:1:8: ") == 0);

  std::string deep = "a0: &a0 [x]\n";
  for (int level = 1; level < 70; ++level) deep += fmt::format("a{0}: &a{0} [*a{1}]\n", level, level - 1);
  CHECK(error(deep).find("nested deeper than 64 levels") != std::string::npos);

  const YamlNode root = parse_yaml("a: &x {k: v}\nb: *x\n", "t");
  CHECK(root.find("b")->find("k")->text == "v");
}

}  // namespace llmhost
