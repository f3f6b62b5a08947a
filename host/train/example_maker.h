// From samples to examples: the tokenizer and template of one model, and the options of a data set.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "text/tokenizer.h"
#include "train/chat_text.h"
#include "train/dataset.h"
#include "train/sample.h"

namespace llmhost::train {

// [thread-safe]
class ExampleMaker {
 public:
  // `model`: as a checkpoint is opened. Its template is read only where the options name no other.
  ExampleMaker(const std::filesystem::path& model, const DatasetOptions& options);
  ExampleMaker(const model::Checkpoint& checkpoint, std::shared_ptr<const text::Tokenizer> tokenizer,
               const DatasetOptions& options);

  // Whole, however long; documents are cut into windows. Throws Error, without a place, for what cannot be
  // trained on.
  std::vector<Example> make(const Sample& sample) const;

  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  // Null without a template.
  const ChatWriter* chats() const { return chats_ ? &*chats_ : nullptr; }

 private:
  void read_template(const model::Checkpoint& checkpoint);
  Example from_chat(const Sample& sample) const;
  Example from_segments(const Sample& sample) const;
  void close(Example& example, bool is_learnt) const;
  std::vector<Example> windows(Example whole) const;

  DatasetOptions options_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::vector<int32_t> stops_;
  std::vector<int32_t> opening_;  // what the tokenizer puts before a text
  std::optional<ChatWriter> chats_;
};

}  // namespace llmhost::train
