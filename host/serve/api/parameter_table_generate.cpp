// /generate: the prompt and "parameters".
#include "serve/api/parameter_table.h"

namespace llmhost::serve {
namespace {

constexpr double kMaxTokens = 2147483647.0;
constexpr size_t kMaxName = 512;

using Effect = Parameter::Effect;

std::vector<Parameter> body_parameters() {
  return {
      {.name = "inputs",
       .bodies = kGenerateBody,
       .kinds = kString,
       .documentation = "The prompt, as it stands.",
       .required = true},
      {.name = "parameters",
       .bodies = kGenerateBody,
       .kinds = kObject,
       .documentation = "See below.",
       .max_items = 64},
      {.name = "stream",
       .bodies = kGenerateBody,
       .kinds = kBool,
       .documentation = "For the route /, which answers as /generate or as /generate_stream.",
       .default_text = "false"},
      {.name = "model",
       .bodies = kGenerateBody,
       .kinds = kString,
       .documentation = "The base model; without it the server's default model.",
       .max_bytes = kMaxName},
  };
}

std::vector<Parameter> adapter_parameters() {
  return {
      {.name = "adapter_id",
       .bodies = kGenerateParametersBody,
       .kinds = kString,
       .documentation = "The adapter; without it the base model answers.",
       .max_bytes = kMaxName,
       .apply = [](const OrderedJson& v, TextOptions& o) { o.adapter = v.get<std::string>(); }},
      {.name = "adapter_source",
       .bodies = kGenerateParametersBody,
       .kinds = kString,
       .documentation = "Adapters come from the server's own folders: other sources are not fetched from.",
       .effect = Effect::kFixed,
       .values = {"\"local\""},
       .default_text = "local"},
      {.name = "merged_adapters",
       .bodies = kGenerateParametersBody,
       .kinds = kObject,
       .documentation = "Several adapters made one: ids, weights, merge_strategy (linear, ties, dare_linear, "
                        "dare_ties), density, majority_sign_method (total, frequency).",
       .max_items = 16},
      {.name = "api_token",
       .bodies = kGenerateParametersBody,
       .kinds = kString,
       .documentation = "Nothing is fetched with it: the server's own keys decide.",
       .effect = Effect::kWithoutEffect},
  };
}

std::vector<Parameter> choosing_parameters() {
  return {
      {.name = "do_sample",
       .bodies = kGenerateParametersBody,
       .kinds = kBool,
       .documentation = "False takes the most probable token, unless a sampling setting is given.",
       .default_text = "false"},
      {.name = "temperature",
       .bodies = kGenerateParametersBody,
       .kinds = kNumber,
       .documentation = "0 takes the most probable token.",
       .least = 0,
       .most = 100,
       .default_text = "1",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.temperature = v.get<float>(); }},
      {.name = "top_k",
       .bodies = kGenerateParametersBody,
       .kinds = kInteger,
       .documentation = "Only the k most probable tokens.",
       .least = 1,
       .most = kMaxTokens,
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.top_k = v.get<int32_t>(); }},
      {.name = "top_p",
       .bodies = kGenerateParametersBody,
       .kinds = kNumber,
       .documentation = "The fewest tokens whose probabilities reach p.",
       .least = 0,
       .most = 1,
       .above_least = true,
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.top_p = v.get<float>(); }},
      {.name = "repetition_penalty",
       .bodies = kGenerateParametersBody,
       .kinds = kNumber,
       .documentation = "Divides positive and multiplies negative logits of tokens in prompt and answer.",
       .least = 0,
       .most = 10,
       .above_least = true,
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.repetition_penalty = v.get<float>(); }},
      {.name = "seed",
       .bodies = kGenerateParametersBody,
       .kinds = kInteger,
       .documentation = "The same request with the same seed gives the same tokens.",
       .least = 0,
       .most = 9223372036854775807.0,
       .apply = [](const OrderedJson& v, TextOptions& o) { o.sampling.seed = v.get<uint64_t>(); }},
      {.name = "best_of",
       .bodies = kGenerateParametersBody,
       .kinds = kInteger,
       .documentation =
           "Answers to make, of which the one with the highest mean logprob is returned. Not with "
           "stream.",
       .least = 1,
       .most = 64,
       .default_text = "1",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.best_of = v.get<int32_t>(); }},
      {.name = "response_format",
       .bodies = kGenerateParametersBody,
       .kinds = kObject,
       .documentation = "{\"type\": \"json_object\", \"schema\": …}: the answer is JSON that fits.",
       .max_items = 8},
  };
}

std::vector<Parameter> ending_parameters() {
  return {
      {.name = "max_new_tokens",
       .bodies = kGenerateParametersBody,
       .kinds = kInteger,
       .documentation = "Most tokens of the answer.",
       .least = 1,
       .most = kMaxTokens,
       .default_text = "to the end of the context",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.max_tokens = v.get<int64_t>(); }},
      {.name = "ignore_eos_token",
       .bodies = kGenerateParametersBody,
       .kinds = kBool,
       .documentation = "The model's end-of-text tokens do not end the answer.",
       .default_text = "false",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.ignore_eos = v.get<bool>(); }},
      {.name = "stop",
       .bodies = kGenerateParametersBody,
       .kinds = kList,
       .documentation = "Texts that end the answer.",
       .max_bytes = 256,
       .max_items = 16,
       .item_kinds = kString,
       .apply = [](const OrderedJson& v, TextOptions& o) { o.stop = v.get<std::vector<std::string>>(); }},
      {.name = "truncate",
       .bodies = kGenerateParametersBody,
       .kinds = kInteger,
       .documentation = "Only so many of the prompt's last tokens are read.",
       .least = 1,
       .most = kMaxTokens},
      {.name = "return_full_text",
       .bodies = kGenerateParametersBody,
       .kinds = kBool,
       .documentation = "The answer begins with the prompt.",
       .default_text = "false",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.echo = v.get<bool>(); }},
      {.name = "details",
       .bodies = kGenerateParametersBody,
       .kinds = kBool,
       .documentation = "Tokens, logprobs, how the answer ended, the seed.",
       .default_text = "false"},
      {.name = "decoder_input_details",
       .bodies = kGenerateParametersBody,
       .kinds = kBool,
       .documentation = "The prompt's tokens and logprobs too. Needs details; not with stream.",
       .default_text = "false",
       .apply = [](const OrderedJson& v, TextOptions& o) { o.prompt_logprobs = v.get<bool>(); }},
      {.name = "return_k_alternatives",
       .bodies = kGenerateParametersBody,
       .kinds = kInteger,
       .documentation = "So many of the most probable tokens at each place, in the details.",
       .least = 1,
       .most = engine::SamplingParams::kMaxTopLogprobs},
      {.name = "watermark",
       .bodies = kGenerateParametersBody,
       .kinds = kBool,
       .documentation = "answers are not watermarked",
       .effect = Effect::kFixed,
       .values = {"false"}},
      {.name = "typical_p",
       .bodies = kGenerateParametersBody,
       .kinds = kNumber,
       .documentation = "typical decoding is not implemented",
       .effect = Effect::kRefused},
  };
}

}  // namespace

std::vector<Parameter> generate_parameters() {
  std::vector<Parameter> all = body_parameters();
  for (const auto part : {adapter_parameters, choosing_parameters, ending_parameters})
    for (Parameter& p : part()) all.push_back(std::move(p));
  return all;
}

}  // namespace llmhost::serve
