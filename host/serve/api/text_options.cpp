// What a request says of the text that it wants, over the model's defaults.
#include <fmt/format.h>

#include "serve/api/api_error.h"
#include "serve/api/generation.h"

namespace llmhost::serve {

TextOptions options_for(Body body, const CheckedBody& checked, const ServedModel& model) {
  TextOptions options;
  options.sampling = model.default_sampling();
  apply_parameters(body, checked, options);
  if (body == kResponseBody && options.sampling.top_logprobs > 0) options.sampling.logprobs = true;
  if (options.sampling.top_logprobs > 0 && !options.sampling.logprobs)
    throw bad_field("top_logprobs", "needs logprobs: true");
  for (const engine::LogitBias& bias : options.sampling.logit_bias)
    if (bias.token >= model.card().vocab_size)
      throw bad_field("logit_bias", fmt::format("token {} is not in the vocabulary of {}", bias.token,
                                                model.card().vocab_size));
  for (const std::string& stop : options.stop)
    if (stop.empty()) throw bad_field("stop", "a text that is empty would end every answer at once");
  if (const OrderedJson* stream = checked.find("stream_options")) {
    if (!options.stream) throw bad_field("stream_options", "needs stream: true");
    for (const auto& [name, value] : stream->items()) {
      if (value.is_null()) continue;
      const std::string field = "stream_options." + name;
      if (name != "include_usage" && name != "include_obfuscation" && name != "continuous_usage_stats")
        throw unknown_field("stream_options", name, "include_usage");
      if (!value.is_boolean()) throw bad_field(field, "must be true or false");
      if (name != "include_usage" && value.get<bool>()) throw bad_field(field, "is not supported");
      if (name == "include_usage") options.include_usage = value.get<bool>();
    }
  }
  return options;
}

}  // namespace llmhost::serve
