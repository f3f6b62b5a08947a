#include "infer.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "infer_state.h"

namespace declarative {

namespace {

// Parts of tensor names that only layers with a recurrent state have, or a model that is no decoder.
constexpr std::array kRecurrent = {
    "A_log",        "conv1d",    "ssm",    "time_mix",  "time_decay", "dt_proj", "dt_bias", "linear_attn",
    "short_conv",   "rg_lru",    ".lru.",  "mamba",     "receptance", "igate",   "fgate",   "slope_rate",
    "in_proj_qkvz", "recurrent", ".conv.", "shortconv", "delta_net",  "f_a_proj"};
constexpr std::array kEncoder = {"cross_attn",      "crossattention",        "encoder_attn",
                                 "cross_attention", "token_type_embeddings", "pooler"};

bool holds(const std::string& name, std::string_view part) {
  return name.find(part) != std::string::npos;
}

// What the file needs nobody to have seen: the model type, as one word.
std::string type_of(const llmh::Model& model) {
  const std::string type =
      model.kind_of("model_type") == LLMH_KIND_OF_STRING ? model.string_or("model_type", "") : "";
  return type.empty() ? "unknown" : type;
}

void write_lists(Inference& in) {
  std::sort(in.ignored_keys.begin(), in.ignored_keys.end());
  in.ignored_keys.erase(std::unique(in.ignored_keys.begin(), in.ignored_keys.end()), in.ignored_keys.end());
  if (!in.ignored_keys.empty()) in.document.set_list("ignore_keys", in.ignored_keys);
  if (!in.ignored_tensors.empty()) in.document.set_list("ignore_tensors", in.ignored_tensors);
}

std::string preamble(const llmh::Model& model, const std::vector<Choice>& choices) {
  const auto guesses =
      std::count_if(choices.begin(), choices.end(), [](const Choice& c) { return c.certainty < 60; });
  return "# Read off a checkpoint of model type " + type_of(model) + ", which nobody described. " +
         std::to_string(guesses) +
         " of its lines are guesses, marked below:\n# compare with the authors' implementation before you "
         "rely on them.\n";
}

}  // namespace

void refuse_other_kinds(const llmh::Model& model) {
  if (model.kind_of("is_encoder_decoder") == LLMH_KIND_OF_BOOL && model.bool_or("is_encoder_decoder", false))
    Inference::refuse("model type '" + type_of(model) +
                      "' is an encoder-decoder (config key 'is_encoder_decoder')");
  for (const std::string& name : model.tensor_names()) {
    for (const char* part : kRecurrent)
      if (holds(name, part))
        Inference::refuse("model type '" + type_of(model) +
                          "' has layers that are no attention, recurrent or convolving (tensor '" + name +
                          "')");
    for (const char* part : kEncoder)
      if (holds(name, part))
        Inference::refuse("model type '" + type_of(model) + "' is no plain decoder (tensor '" + name + "')");
  }
}

Inferred infer(const llmh::Model& model) {
  refuse_other_kinds(model);
  Inference in(model);
  in.document.set("schema", "1");
  in.document.set("name", type_of(model));
  in.document.set_list("model_types", {type_of(model)});
  for (const char* part : {"sizes", "norm", "embedding", "layer", "attention"}) in.document.section(part);
  infer_sizes(in);
  infer_hints(in);
  infer_attention(in);
  infer_feed_forward(in);
  infer_experts(in);
  infer_norms(in);
  infer_windows(in);
  infer_positions(in);
  infer_llama4(in);
  infer_scales(in);
  infer_head(in);
  ignore_plain_keys(in);
  in.pin_keys();
  write_lists(in);
  return {in.choices, preamble(model, in.choices) + in.document.text()};
}

}  // namespace declarative
