#include "cli/chat_prompt.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "engine/model_settings.h"
#include "text/template/chat_prompt.h"

namespace llmhost::cli {
namespace {

OrderedJson to_json(const std::vector<Message>& messages) {
  OrderedJson list = OrderedJson::array();
  for (const Message& message : messages)
    list.push_back({{"role", message.role}, {"content", message.content}});
  return list;
}

Message message_from(const Json& json, const std::string& where) {
  const auto text = [&](const char* key) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_string()) throw_invalid("{}: '{}' must be a string", where, key);
    return found->get<std::string>();
  };
  if (!json.is_object()) throw_invalid("{}: must be an object with role and content", where);
  Message message{text("role"), text("content")};
  if (message.role != "system" && message.role != "user" && message.role != "assistant")
    throw_invalid("{}: the role is '{}', expected system, user or assistant", where, message.role);
  return message;
}

// A prompt that is to go on must not say that it ends.
void drop_final_eos(const text::Tokenizer& tokenizer, std::vector<int32_t>& ids) {
  const auto eos = tokenizer.special_ids().eos;
  if (tokenizer.adds_eos() && eos && !ids.empty() && ids.back() == *eos) ids.pop_back();
}

}  // namespace

std::vector<Message> load_messages(const std::filesystem::path& file) {
  const Json json = read_json_file(file);
  const Json* list = &json;
  if (json.is_object() && json.contains("messages")) list = &json["messages"];
  if (!list->is_array()) throw_invalid("{}: must be a JSON list of messages", file.string());
  std::vector<Message> messages;
  for (size_t i = 0; i < list->size(); ++i)
    messages.push_back(message_from((*list)[i], fmt::format("{}: message {}", file.string(), i)));
  return messages;
}

void save_messages(const std::filesystem::path& file, const std::vector<Message>& messages) {
  const std::string text = to_json(messages).dump(2, ' ', false, OrderedJson::error_handler_t::replace);
  write_file_atomically(file, text + "\n");
}

struct PromptMaker::ChatTemplate {
  text::jinja::Template parsed;
  OrderedJson variables;  // the special tokens
};

PromptMaker::PromptMaker(const model::Checkpoint& checkpoint,
                         std::shared_ptr<const text::Tokenizer> tokenizer, const Settings& settings,
                         Form form)
    : tokenizer_(std::move(tokenizer)), form_(form) {
  if (form == Form::kCompletion) return;
  const auto source = engine::find_chat_template(checkpoint, settings);
  if (!source) {
    spdlog::warn("{}: the model has no chat template; it completes the prompt as plain text",
                 checkpoint.path().string());
    form_ = Form::kCompletion;
    return;
  }
  template_text_ = source->text;
  template_ = std::make_unique<const ChatTemplate>(ChatTemplate{
      text::jinja::Template::parse(source->text, source->name), text::special_token_variables(checkpoint)});
}

PromptMaker::~PromptMaker() = default;

Prompt PromptMaker::make(const std::vector<Message>& messages) const {
  Prompt prompt;
  if (form_ == Form::kCompletion) {
    for (const Message& message : messages) {
      // An answer goes on where its prompt ended; what is said next begins a line.
      if (!prompt.text.empty() && message.role != "assistant") prompt.text += '\n';
      prompt.text += message.content;
    }
    prompt.ids = tokenizer_->encode(prompt.text, {.add_special = true, .parse_special = true});
    drop_final_eos(*tokenizer_, prompt.ids);
    return prompt;
  }
  OrderedJson variables = template_->variables;
  variables["messages"] = to_json(messages);
  variables["add_generation_prompt"] = true;
  prompt.text = text::render_chat(template_->parsed, variables);
  prompt.ids = tokenizer_->encode(prompt.text, {.add_special = false, .parse_special = true});
  return prompt;
}

}  // namespace llmhost::cli
