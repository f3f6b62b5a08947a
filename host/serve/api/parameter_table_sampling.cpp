// How tokens are chosen and when the answer ends.
#include <algorithm>
#include <charconv>

#include "serve/api/api_error.h"
#include "serve/api/parameter_table.h"

namespace llmhost::serve {
namespace {

using engine::SamplingParams;

constexpr uint32_t kTextBodies = kChatBody | kCompletionBody;
constexpr uint32_t kAllBodies = kTextBodies | kResponseBody;
constexpr double kMaxTokens = 2147483647.0;

void set_max_tokens(const OrderedJson& v, TextOptions& o) {
  o.max_tokens = v.get<int64_t>();
}

void set_stop(const OrderedJson& v, TextOptions& o) {
  if (v.is_string())
    o.stop = {v.get<std::string>()};
  else
    o.stop = v.get<std::vector<std::string>>();
}

void set_logit_bias(const OrderedJson& v, TextOptions& o) {
  for (const auto& [key, bias] : v.items()) {
    int32_t token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0)
      throw bad_field("logit_bias", "a key is no token id");
    o.sampling.logit_bias.push_back({token, bias.get<float>()});
  }
}

std::vector<Parameter> length_parameters() {
  return {
      {.name = "max_tokens",
       .bodies = kTextBodies,
       .kinds = kInteger,
       .documentation = "Most tokens of the answer. In a chat an older name of max_completion_tokens. 0 in a "
                        "completion runs the prompt alone.",
       .least = 0,
       .most = kMaxTokens,
       .default_text = "chat: to the end of the context; completion: 16",
       .apply = set_max_tokens},
      {.name = "max_completion_tokens",
       .bodies = kChatBody,
       .kinds = kInteger,
       .documentation = "Most tokens of the answer.",
       .least = 1,
       .most = kMaxTokens,
       .default_text = "to the end of the context",
       .apply = set_max_tokens},
      {.name = "max_output_tokens",
       .bodies = kResponseBody,
       .kinds = kInteger,
       .documentation = "Most tokens of the answer.",
       .least = 1,
       .most = kMaxTokens,
       .default_text = "to the end of the context",
       .apply = set_max_tokens},
      {.name = "min_tokens",
       .bodies = kTextBodies,
       .kinds = kInteger,
       .documentation = "Tokens that come before the model may end its answer.",
       .least = 0,
       .most = kMaxTokens,
       .default_text = "0",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.min_tokens = v.get<int64_t>(); }},
      {.name = "ignore_eos",
       .bodies = kTextBodies,
       .kinds = kBool,
       .documentation = "The model's end-of-text tokens do not end the answer.",
       .default_text = "false",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.ignore_eos = v.get<bool>(); }},
      {.name = "stop",
       .bodies = kTextBodies,
       .kinds = kString | kList,
       .documentation = "Texts that end the answer; they are not part of it. None may be empty.",
       .max_bytes = 256,
       .max_items = 16,
       .item_kinds = kString,
       .apply = set_stop},
      {.name = "stop_token_ids",
       .bodies = kTextBodies,
       .kinds = kList,
       .documentation = "Further tokens that end the answer.",
       .least = 0,
       .most = kMaxTokens,
       .max_items = 64,
       .item_kinds = kInteger,
       .apply = [](const OrderedJson& v,
                   TextOptions& o) { o.stop_token_ids = v.get<std::vector<int32_t>>(); }},
  };
}

std::vector<Parameter> chain_parameters() {
  return {
      {.name = "temperature",
       .bodies = kAllBodies,
       .kinds = kNumber,
       .documentation = "0 takes the most probable token; larger is more random.",
       .least = 0,
       .most = 100,
       .default_text = "the model's, else 1",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.temperature = v.get<float>(); }},
      {.name = "top_k",
       .bodies = kAllBodies,
       .kinds = kInteger,
       .documentation = "Only the k most probable tokens; 0 and -1: all.",
       .least = -1,
       .most = kMaxTokens,
       .default_text = "the model's, else 0",
       .apply = [](const OrderedJson& v,
                   TextOptions& o) { o.sampling.top_k = std::max(0, v.get<int32_t>()); }},
      {.name = "top_p",
       .bodies = kAllBodies,
       .kinds = kNumber,
       .documentation = "The fewest tokens whose probabilities reach p.",
       .least = 0,
       .most = 1,
       .above_least = true,
       .default_text = "the model's, else 1",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.top_p = v.get<float>(); }},
      {.name = "min_p",
       .bodies = kAllBodies,
       .kinds = kNumber,
       .documentation = "Only tokens at least p times as probable as the most probable one.",
       .least = 0,
       .most = 1,
       .default_text = "the model's, else 0",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.min_p = v.get<float>(); }},
      {.name = "seed",
       .bodies = kAllBodies,
       .kinds = kInteger,
       .documentation = "The same request with the same seed gives the same tokens, whatever else runs. "
                        "Choice i of several uses a seed made of this one and i.",
       .least = -9223372036854775808.0,
       .most = 9223372036854775807.0,
       .default_text = "a new one each time, told in the answer",
       .apply = [](const OrderedJson& v,
                   TextOptions& o) { o.sampling.seed = static_cast<uint64_t>(v.get<int64_t>()); }},
  };
}

std::vector<Parameter> penalty_parameters() {
  return {
      {.name = "frequency_penalty",
       .bodies = kTextBodies,
       .kinds = kNumber,
       .documentation = "Taken off a token's logit for each time it is in the answer.",
       .least = -2,
       .most = 2,
       .default_text = "0",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.frequency_penalty = v.get<float>(); }},
      {.name = "presence_penalty",
       .bodies = kTextBodies,
       .kinds = kNumber,
       .documentation = "Taken once off the logits of tokens that are in the answer.",
       .least = -2,
       .most = 2,
       .default_text = "0",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.presence_penalty = v.get<float>(); }},
      {.name = "repetition_penalty",
       .bodies = kTextBodies,
       .kinds = kNumber,
       .documentation = "Divides positive and multiplies negative logits of tokens in prompt and answer.",
       .least = 0,
       .most = 10,
       .above_least = true,
       .default_text = "the model's, else 1",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.repetition_penalty = v.get<float>(); }},
      {.name = "repeat_penalty",
       .bodies = kTextBodies,
       .kinds = kNumber,
       .documentation = "Another name of repetition_penalty.",
       .least = 0,
       .most = 10,
       .above_least = true,
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.repetition_penalty = v.get<float>(); }},
      {.name = "logit_bias",
       .bodies = kTextBodies,
       .kinds = kObject,
       .documentation = "Added to the logits of tokens: {\"token id\": -100 to 100}.",
       .least = -100,
       .most = 100,
       .max_items = SamplingParams::kMaxLogitBias,
       .item_kinds = kNumber,
       .apply = set_logit_bias},
  };
}

}  // namespace

std::vector<Parameter> sampling_parameters() {
  std::vector<Parameter> all = length_parameters();
  for (const auto part : {chain_parameters, penalty_parameters})
    for (Parameter& p : part()) all.push_back(std::move(p));
  return all;
}

}  // namespace llmhost::serve
