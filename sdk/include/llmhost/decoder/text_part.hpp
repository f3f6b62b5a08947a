// The text model of a checkpoint that understands images too: where its config and its tensors are. Header-only. [control]
#pragma once

#include <string>
#include <vector>

#include "llmhost/arch.hpp"

namespace llmh {

// Of a checkpoint of text alone: the whole of it.
struct TextPart {
  bool with_images = false;             // the config is the object text_config
  std::string path = "model";           // of the embedding table, the layers and the last norm
  std::string head = "lm_head.weight";  // as it is stored
  std::vector<std::string> left_out;    // tensors of the vision tower and what connects it

  Model config(const Model& checkpoint) const { return with_images ? checkpoint.section("text_config") : checkpoint; }

  // names(): the head under its usual name, and what is not needed.
  void add_names(Names& names, bool tied) const {
    if (!tied && head != "lm_head.weight") names.map("lm_head.weight", head);
    for (const std::string& name : left_out) names.ignore(name);
  }
};

// Finds it, and says so when there are tensors for images. The text model is below one of two names, by the version that
// wrote the checkpoint.
inline TextPart find_text_part(const Model& checkpoint) {
  TextPart part;
  part.with_images = checkpoint.kind_of("text_config") == LLMH_KIND_OF_OBJECT;
  if (!part.with_images) return part;
  for (const char* path : {"language_model.model", "model.language_model"})
    if (checkpoint.has_tensor(std::string(path) + ".embed_tokens.weight")) part.path = path;
  if (checkpoint.has_tensor("language_model.lm_head.weight")) part.head = "language_model.lm_head.weight";
  for (const std::string& name : checkpoint.tensor_names())
    if (name.find("vision_tower.") != std::string::npos || name.find("multi_modal_projector.") != std::string::npos)
      part.left_out.push_back(name);
  // What is there for images has no effect on text alone.
  checkpoint.ignore({"vision_config", "image_token_index", "image_token_id", "image_seq_length", "projector_hidden_act",
                     "multimodal_projector_bias", "spatial_merge_size", "vision_feature_layer",
                     "vision_feature_select_strategy"});
  log(LLMH_LOG_WARN, "images are not understood: the " + std::to_string(part.left_out.size()) +
                         " tensors of the vision tower are left out");
  return part;
}

}  // namespace llmh
