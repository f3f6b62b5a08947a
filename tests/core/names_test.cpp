#include "core/names.h"

#include <doctest/doctest.h>

#include <vector>

namespace llmhost {

TEST_CASE("edit distance counts insertions, deletions, replacements and swaps") {
  CHECK(edit_distance("", "", 5) == 0);
  CHECK(edit_distance("abc", "", 5) == 3);
  CHECK(edit_distance("threads", "thread", 5) == 1);
  CHECK(edit_distance("threads", "thraeds", 5) == 1);
  CHECK(edit_distance("kitten", "sitting", 5) == 3);
  CHECK(edit_distance("ca", "abc", 5) ==
        3);  // optimal string alignment; the unrestricted distance would be 2
  CHECK(edit_distance("abcdef", "uvwxyz", 2) == 3);
  CHECK(edit_distance("a", "abcdefgh", 2) == 3);
}

TEST_CASE("the nearest name is found for a typo and not for another word") {
  const std::vector<std::string> names = {"threads", "max_batch", "temperature", "top_k", "top_p"};
  CHECK(nearest_name("thraeds", names) == "threads");
  CHECK(nearest_name("THREADS", names) == "threads");
  CHECK(nearest_name("max-bach", names) == "max_batch");
  CHECK(nearest_name("top_q", names) == "top_k");
  CHECK(nearest_name("seed", names).empty());
  CHECK(nearest_name("", names).empty());
  CHECK(nearest_name(std::string(100000, 'a'), names).empty());
  CHECK(did_you_mean("thread", names) == "; did you mean 'threads'?");
  CHECK(did_you_mean("seed", names) == "; known: threads, max_batch, temperature, top_k, top_p");
  CHECK(did_you_mean("seed", {}).empty());
}

TEST_CASE("a quoted name stays on one line and short") {
  CHECK(quote_name("a b") == "'a b'");
  CHECK(quote_name("a\nb\x7f") == "'a\\x0ab\\x7f'");
  CHECK(quote_name("abcdef", 3) == "'abc'... (6 bytes)");
}

}  // namespace llmhost
