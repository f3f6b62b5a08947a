// Which positions a layer sees: windows, chunks.
#include <algorithm>

#include "infer_state.h"

namespace declarative {

namespace {

// The words in layer_types; empty where there is no list.
std::vector<std::string> layer_types(const Inference& in) {
  std::vector<std::string> types;
  if (in.model.kind_of("layer_types") != LLMH_KIND_OF_LIST) return types;
  for (int64_t i = 0; i < in.layers; ++i) types.push_back(in.word("layer_types." + std::to_string(i)));
  return types;
}

// The window of each layer. An expression of all the keys that decide, also where it is off in this
// checkpoint.
void write_window(Inference& in, const std::vector<std::string>& types) {
  const bool switched = in.model.kind_of("use_sliding_window") == LLMH_KIND_OF_BOOL;
  const bool on = in.flag("use_sliding_window", true);
  const bool listed = std::find(types.begin(), types.end(), "sliding_attention") != types.end();
  const int64_t width = in.has("sliding_window") && on ? in.integer("sliding_window") : 0;
  if (listed && on && width == 0)
    Inference::refuse("config key 'sliding_window' is missing for sliding layers");
  const std::string pattern = in.key({"sliding_window_pattern", "_sliding_window_pattern"});
  const bool counted =
      !pattern.empty() && in.model.kind_of(pattern) == LLMH_KIND_OF_INT && in.integer(pattern) > 0;
  if (types.empty() && !in.has("sliding_window") && !switched) {
    if (!pattern.empty()) in.ignore({pattern});  // there is no window
    return;
  }
  std::string slides;
  std::string source = "config: sliding_window";
  int certainty = 90;
  if (!types.empty()) {
    slides = "$layer_types[i] == 'sliding_attention'";
    source = "config: layer_types, sliding_window";
    if (!pattern.empty()) in.ignore({pattern});  // the list follows from it
  } else if (counted) {
    slides = "(i + 1) % $" + pattern + " != 0";
    source = "config: sliding_window, " + pattern;
    certainty = 80;
  } else if (in.hints.gemma && in.has("query_pre_attn_scalar")) {
    slides = "i % 2 == 0";
    source = "config: sliding_window; every second layer, as in Gemma 2";
    certainty = 55;
  } else if (in.has("max_window_layers")) {
    slides = "i >= $max_window_layers";
    source = "config: sliding_window, max_window_layers";
    certainty = switched ? 90 : 55;
  }
  const std::string window =
      switched ? "$use_sliding_window ? $sliding_window | 0 : 0" : "$sliding_window | 0";
  in.document.section("attention")
      .set("window", slides.empty() ? window : "(" + slides + ") ? (" + window + ") : 0",
           width == 0 ? "" : in.choose("attention.window", std::to_string(width), source, certainty));
  if (width != 0) in.sliding = slides;
}

}  // namespace

void infer_windows(Inference& in) {
  Draft& attention = in.document.section("attention");
  if (in.hints.gpt_neo) {
    if (in.model.kind_of("attention_layers") != LLMH_KIND_OF_LIST)
      Inference::refuse("config key 'attention_layers' is missing");
    attention.set("window", "$attention_layers[i] == 'local' ? $window_size : 0");
    in.choose("attention.window", std::to_string(in.integer("window_size")),
              "config: attention_layers, window_size", 80);
    in.ignore({"attention_types"});  // the list in short
    return;
  }
  const std::vector<std::string> types = layer_types(in);
  for (const std::string& type : types)
    if (type != "full_attention" && type != "sliding_attention" && type != "chunked_attention")
      Inference::refuse("config key 'layer_types' holds '" + type +
                        "'; known are full_attention, sliding_attention, chunked_attention");
  if (std::find(types.begin(), types.end(), "chunked_attention") != types.end()) {
    if (!in.has("attention_chunk_size"))
      Inference::refuse("config key 'attention_chunk_size' is missing for chunked layers");
    attention.set("chunk", "$layer_types[i] == 'chunked_attention' ? $attention_chunk_size : 0");
    in.choose("attention.chunk", std::to_string(in.integer("attention_chunk_size")),
              "config: layer_types, attention_chunk_size", 90);
  }
  write_window(in, types);
}

}  // namespace declarative
