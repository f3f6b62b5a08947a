#include "model/generation_config.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/json.h"
#include "model/checkpoint.h"
#include "model/gguf.h"
#include "model/gguf_builder.h"

namespace llmhost::model {
namespace {

using Ids = std::vector<int64_t>;

GenerationConfig parse(const char* text) {
  return parse_generation_config(parse_model_config(text, "g"), "g");
}

TEST_CASE("known keys are read, unknown ones and nulls ignored") {
  const GenerationConfig config = parse(R"({
    "eos_token_id": [128001, 128009, 128001], "bos_token_id": 128000, "pad_token_id": null, "do_sample": true,
    "temperature": 0.6, "top_k": 40, "top_p": 1, "repetition_penalty": 1.1, "max_length": 4096,
    "transformers_version": "4.40.0", "assistant": {"x": []}})");
  CHECK(config.eos_token_ids == Ids{128001, 128009});
  CHECK(config.bos_token_id == 128000);
  CHECK_FALSE(config.pad_token_id.has_value());
  CHECK(config.do_sample == true);
  CHECK(config.temperature == 0.6);
  CHECK(config.top_k == 40);
  CHECK(config.top_p == 1.0);
  CHECK(config.repetition_penalty == 1.1);
  CHECK(config.max_length == 4096);
  CHECK_FALSE(config.max_new_tokens.has_value());
}

TEST_CASE("a single id, and negative ids that mean none") {
  CHECK(parse(R"({"eos_token_id": 2})").eos_token_ids == Ids{2});
  const GenerationConfig none = parse(R"({"eos_token_id": -1, "pad_token_id": -1})");
  CHECK(none.eos_token_ids.empty());
  CHECK_FALSE(none.pad_token_id.has_value());
}

TEST_CASE("wrong types are named") {
  CHECK_THROWS_WITH_AS(parse(R"({"eos_token_id": "2"})"), "g: eos_token_id is not an integer", Error);
  CHECK_THROWS_WITH_AS(parse(R"({"eos_token_id": [1, 2.5]})"), "g: eos_token_id is not an integer", Error);
  CHECK_THROWS_WITH_AS(parse(R"({"max_length": 18446744073709551615})"), "g: max_length is not an integer",
                       Error);
  CHECK_THROWS_WITH_AS(parse(R"({"temperature": true})"), "g: temperature is not a number", Error);
  CHECK_THROWS_WITH_AS(parse(R"({"do_sample": 1})"), "g: do_sample is neither true nor false", Error);
  CHECK_THROWS_WITH_AS(parse("[]"), "g: is not a JSON object", Error);
}

TEST_CASE("absent members are filled from another source") {
  GenerationConfig config = parse(R"({"top_k": 5})");
  config.fill_from(parse(R"({"top_k": 7, "eos_token_id": 3, "bos_token_id": 1})"));
  CHECK(config.top_k == 5);
  CHECK(config.eos_token_ids == Ids{3});
  CHECK(config.bos_token_id == 1);
}

TEST_CASE("GGUF metadata says the same") {
  test::GgufBuilder builder(0, 5);
  builder.u32("tokenizer.ggml.eos_token_id", 2).u32("tokenizer.ggml.eot_token_id", 7);
  builder.u32("tokenizer.ggml.bos_token_id", 1).f32("general.sampling.temp", 0.5F);
  builder.entry<int32_t>("general.sampling.top_k", 5, 20);
  const GenerationConfig config = gguf_generation_config(GgufFile::from_bytes(builder.bytes(), "t"));
  CHECK(config.eos_token_ids == Ids{2, 7});
  CHECK(config.bos_token_id == 1);
  CHECK(config.temperature == 0.5);
  CHECK(config.top_k == 20);
}

}  // namespace
}  // namespace llmhost::model
