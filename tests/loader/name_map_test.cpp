#include "model/name_map.h"

#include <doctest/doctest.h>

using llmhost::model::match_pattern;

TEST_CASE("patterns match one decimal index") {
  CHECK(match_pattern("output.weight", "output.weight") == "");
  CHECK_FALSE(match_pattern("output.weight", "output.bias"));
  CHECK(match_pattern("blk.{i}.attn_q.weight", "blk.12.attn_q.weight") == "12");
  CHECK_FALSE(match_pattern("blk.{i}.attn_q.weight", "blk..attn_q.weight"));
  CHECK_FALSE(match_pattern("blk.{i}.attn_q.weight", "blk.x.attn_q.weight"));
  CHECK_FALSE(match_pattern("blk.{i}.attn_q.weight", "blk.1.attn_k.weight"));
  CHECK(match_pattern("rope_freqs.{i}", "rope_freqs.0") == "0");
}
