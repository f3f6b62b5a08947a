#include "model/gguf_config.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "core/error.h"
#include "model/gguf.h"
#include "model/gguf_builder.h"
#include "support/paths.h"

namespace llmhost::model {
namespace {

using test::GgufBuilder;

GgufConfig convert(const GgufBuilder& builder) {
  return gguf_to_config(GgufFile::from_bytes(builder.bytes(), "t.gguf"));
}

std::string error_of(const GgufBuilder& builder) {
  try {
    convert(builder);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST_CASE("a real file's metadata reads like its config.json") {
  const GgufConfig result = gguf_to_config(GgufFile::open(test::data("model/stories260K-q4_0.gguf")));
  const Json expected = {{"model_type", "llama"},    {"hidden_size", 64},
                         {"intermediate_size", 172}, {"num_hidden_layers", 5},
                         {"num_attention_heads", 8}, {"num_key_value_heads", 4},
                         {"rms_norm_eps", 1e-05},    {"max_position_embeddings", 512},
                         {"rope_theta", 10000.0},    {"rotary_dim", 8},
                         {"vocab_size", 512},        {"tie_word_embeddings", true},
                         {"bos_token_id", 1},        {"eos_token_id", 2}};
  CHECK(result.config == expected);
  CHECK(result.sources.at("hidden_size") == "llama.embedding_length");
  CHECK(result.sources.at("vocab_size") == "llama.vocab_size");
  CHECK(result.sources.at("model_type") == "general.architecture");
}

TEST_CASE("rope scaling becomes one object") {
  GgufBuilder builder(0, 7);
  builder.text("general.architecture", "unit").text("unit.rope.scaling.type", "yarn");
  builder.f32("unit.rope.scaling.factor", 4).u32("unit.rope.scaling.original_context_length", 2048);
  builder.f32("unit.rope.scaling.attn_factor", 1.5F).f32("unit.rope.scaling.yarn_beta_fast", 32);
  builder.f32("unit.rope.scaling.future", 1);
  const GgufConfig result = convert(builder);
  const Json expected = {{"rope_type", "yarn"},
                         {"factor", 4.0},
                         {"original_max_position_embeddings", 2048},
                         {"beta_fast", 32.0}};
  Json scaling = result.config["rope_scaling"];
  // The file's factor comes on top of yarn's own 1 + 0.1 ln 4; the config's replaces it.
  const double attention_factor = scaling["attention_factor"];
  CHECK(attention_factor == doctest::Approx(1.5 * (1 + 0.1 * std::log(4.0))).epsilon(1e-12));
  scaling.erase("attention_factor");
  CHECK(scaling == expected);
  CHECK(result.config["gguf.rope.scaling.future"] == 1.0);
  CHECK(result.sources.at("rope_scaling.factor") == "unit.rope.scaling.factor");
}

TEST_CASE("older and partial forms of rope scaling") {
  const auto scaling = [](GgufBuilder& builder) { return convert(builder).config["rope_scaling"]; };
  GgufBuilder linear(0, 2);
  linear.text("general.architecture", "unit").f32("unit.rope.scale_linear", 2);
  CHECK(scaling(linear) == Json{{"rope_type", "linear"}, {"factor", 2.0}});
  GgufBuilder none(0, 2);
  none.text("general.architecture", "unit").text("unit.rope.scaling.type", "none");
  CHECK(scaling(none).is_null());
  GgufBuilder longrope(2, 2);
  longrope.text("general.architecture", "unit").u32("unit.rope.scaling.original_context_length", 4096);
  longrope.tensor("rope_factors_long.weight", {2}, 0, 0)
      .tensor("rope_factors_short.weight", {2}, 0, 32)
      .data(40);
  CHECK(scaling(longrope) == Json{{"rope_type", "longrope"}, {"original_max_position_embeddings", 4096}});
}

TEST_CASE("members of rope scaling that change nothing are dropped, the others kept for the audit") {
  const auto scaling = [](auto add) {
    GgufBuilder builder(0, 4);
    builder.text("general.architecture", "unit").flag("unit.rope.scaling.finetuned", true);
    add(builder);
    return convert(builder).config["rope_scaling"];
  };
  CHECK(scaling([](GgufBuilder& b) {
          b.text("unit.rope.scaling.type", "linear").f32("unit.rope.scaling.attn_factor", 1);
        }) == Json{{"rope_type", "linear"}, {"factor", 1.0}});
  CHECK(scaling([](GgufBuilder& b) {
          b.text("unit.rope.scaling.type", "linear").f32("unit.rope.scaling.attn_factor", 2);
        }) == Json{{"rope_type", "linear"}, {"factor", 1.0}, {"attention_factor", 2.0}});
  CHECK(scaling([](GgufBuilder& b) {
          b.text("unit.rope.scaling.type", "yarn").f32("unit.rope.scaling.yarn_ext_factor", 0.5F);
        }) == Json{{"rope_type", "yarn"}, {"factor", 1.0}, {"extrapolation_factor", 0.5}});
  CHECK(scaling([](GgufBuilder& b) {
          b.text("unit.rope.scaling.type", "none").f32("unit.rope.scaling.factor", 8);
        }).is_null());
}

TEST_CASE("equal values for all layers are one value, zeros of optional features are absent") {
  GgufBuilder builder(0, 4);
  builder.text("general.architecture", "unit").u32("unit.expert_count", 0).f32("unit.logit_scale", 0);
  builder.array("unit.attention.head_count_kv", 5, 2).put<int32_t>("value", 4).put<int32_t>("value", 4);
  const Json expected = {{"model_type", "unit"}, {"num_key_value_heads", 4}, {"tie_word_embeddings", true}};
  CHECK(convert(builder).config == expected);
}

TEST_CASE("keys that nobody translated are passed on for the audit") {
  GgufBuilder builder(1, 11);
  builder.text("general.architecture", "unit")
      .u32("unit.brand_new.switch", 3)
      .flag("unit.attention.causal", false);
  builder.array("unit.attention.head_count_kv", 5, 2).put<int32_t>("value", 4).put<int32_t>("value", 2);
  builder.f32("strange.alpha", 0.5F).text("general.name", "n").text("quantize.imatrix.file", "x");
  builder.u32("unit.attention.key_length", 64)
      .u32("unit.attention.value_length", 64)
      .u32("unit.expert_count", 8);
  builder.entry<uint64_t>("unit.context_length", 10, uint64_t{1} << 63);
  builder.tensor("output.weight", {2}, 0, 0).data(8);
  const Json expected = {{"model_type", "unit"},
                         {"gguf.brand_new.switch", 3},
                         {"is_causal", false},
                         {"num_key_value_heads", {4, 2}},
                         {"head_dim", 64},
                         {"num_local_experts", 8},
                         {"max_position_embeddings", uint64_t{1} << 63},
                         {"tie_word_embeddings", false}};
  CHECK(convert(builder).config == expected);
}

TEST_CASE("a value length of its own is kept") {
  GgufBuilder builder(0, 3);
  builder.text("general.architecture", "unit").u32("unit.attention.key_length", 192);
  builder.u32("unit.attention.value_length", 128);
  CHECK(convert(builder).config["v_head_dim"] == 128);
}

TEST_CASE("what is no model or cannot be represented is refused") {
  CHECK(error_of(GgufBuilder(0, 0)) == "t.gguf: metadata 'general.architecture' is missing");
  CHECK(error_of(GgufBuilder(0, 1).u32("general.architecture", 1)) ==
        "t.gguf: metadata 'general.architecture' has type u32, a string is needed");
  CHECK(error_of(GgufBuilder(0, 2).text("general.architecture", "u").text("general.type", "adapter")) ==
        "t.gguf: general.type is 'adapter'; a file of type 'model' is needed");
  CHECK(error_of(GgufBuilder(0, 2).text("general.architecture", "u").text("u.x", "\xff")) ==
        "t.gguf: metadata 'u.x' is not valid UTF-8");
  CHECK(error_of(GgufBuilder(0, 1).text("general.architecture", "\xff")) ==
        "t.gguf: metadata 'general.architecture' is not valid UTF-8");
  GgufBuilder large(0, 2);
  large.text("general.architecture", "u").array("u.x", 0, 70000).raw().append(70000, '\0');
  CHECK(error_of(large) ==
        "t.gguf: metadata 'u.x' has more elements than a model's configuration may have (65536)");
}

}  // namespace
}  // namespace llmhost::model
