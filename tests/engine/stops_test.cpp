#include "engine/stops.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "core/error.h"

using llmhost::engine::StopMatcher;

namespace {

// What is shown of `text` when it comes in pieces of `size` bytes.
std::string shown(std::vector<std::string> stops, const std::string& text, size_t size) {
  StopMatcher matcher(std::move(stops));
  std::string out;
  for (size_t i = 0; i < text.size(); i += size)
    if (matcher.push(std::string_view(text).substr(i, size), out))
      return out + "|" + std::string(matcher.matched());
  matcher.finish(out);
  return out;
}

}  // namespace

TEST_CASE("a stop string is found across pieces and only what stands before it is shown") {
  for (size_t size : {1U, 2U, 3U, 5U, 100U}) {
    CHECK(shown({"\n\nUser:"}, "Hello\n\nUs and\n\nUser: hi", size) == "Hello\n\nUs and|\n\nUser:");
    CHECK(shown({"END"}, "no stop here EN", size) == "no stop here EN");
    CHECK(shown({"aab"}, "aaaab", size) == "aa|aab");
    CHECK(shown({"abcabd"}, "abcabcabd!", size) == "abc|abcabd");
    CHECK(shown({}, "anything", size) == "anything");
    CHECK(shown({"x"}, "x", size) == "|x");
  }
}

TEST_CASE("the match that ends first wins, the longest of those that end together") {
  for (size_t size : {1U, 4U, 100U}) {
    CHECK(shown({"ab", "xaby"}, "xaby", size) == "x|ab");
    CHECK(shown({"ab", "xab"}, "xab", size) == "|xab");
    CHECK(shown({"bcd", "abcde"}, "abcde", size) == "a|bcd");
  }
}

TEST_CASE("text is held back no longer than it may begin a stop string") {
  StopMatcher matcher({"</s>"});
  std::string out;
  CHECK_FALSE(matcher.push("a <", out));
  CHECK(out == "a ");
  CHECK_FALSE(matcher.push("/", out));
  CHECK(out == "a ");
  CHECK_FALSE(matcher.push("b", out));
  CHECK(out == "a </b");
  CHECK_FALSE(matcher.push("</s", out));
  CHECK(out == "a </b");
  CHECK(matcher.push("> more", out));
  CHECK(out == "a </b");
  CHECK(matcher.stopped());
  CHECK(matcher.matched() == "</s>");
  CHECK(matcher.push("ignored", out));
  CHECK(out == "a </b");
}

TEST_CASE("how the text is cut makes no difference") {
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    const auto word = [&](uint32_t n) {
      std::string text;
      for (uint32_t i = 0; i < n; ++i) text += static_cast<char>('a' + random() % 2);
      return text;
    };
    std::vector<std::string> stops;
    for (uint32_t i = 0; i < 1 + random() % 3; ++i) stops.push_back(word(3 + random() % 4));
    const std::string text = word(60);
    const std::string whole = shown(stops, text, text.size());
    for (size_t size : {1U, 2U, 7U}) REQUIRE(shown(stops, text, size) == whole);
  }
}

TEST_CASE("unusable stop strings are refused") {
  CHECK_THROWS_AS(StopMatcher({""}), llmhost::Error);
  CHECK_THROWS_AS(StopMatcher({std::string(5000, 'a')}), llmhost::Error);
  CHECK_THROWS_AS(StopMatcher(std::vector<std::string>(65, "a")), llmhost::Error);
}
