// From messages to the tokens that the model reads: its chat template, or plain text where it has none.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "model/checkpoint.h"
#include "text/tokenizer.h"

namespace llmhost::cli {

struct Message {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// What the engine consumes.
struct Prompt {
  std::string text;
  std::vector<int32_t> ids;
};

// A list of {"role", "content"}, bare or as the "messages" of an object.
std::vector<Message> load_messages(const std::filesystem::path& file);
void save_messages(const std::filesystem::path& file, const std::vector<Message>& messages);

class PromptMaker {
 public:
  enum class Form {
    kChat,       // through the template
    kCompletion  // as it stands, with BOS where the tokenizer adds one
  };

  // Without a template in the model or the settings the form becomes kCompletion, which is logged.
  PromptMaker(const model::Checkpoint& checkpoint, std::shared_ptr<const text::Tokenizer> tokenizer,
              const Settings& settings, Form form);
  ~PromptMaker();

  Form form() const { return form_; }
  const std::string& template_text() const { return template_text_; }  // empty without a template
  const text::Tokenizer& tokenizer() const { return *tokenizer_; }

  // The prompt that the next answer follows. A completion goes on from all that was said, line by line.
  Prompt make(const std::vector<Message>& messages) const;

 private:
  struct ChatTemplate;

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  Form form_;
  std::string template_text_;
  std::unique_ptr<const ChatTemplate> template_;
};

}  // namespace llmhost::cli
