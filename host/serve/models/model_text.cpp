#include "serve/models/model_text.h"

#include "core/error.h"
#include "engine/model_settings.h"
#include "engine/sampling_settings.h"
#include "text/chat_template_source.h"
#include "text/template/chat_prompt.h"

namespace llmhost::serve {
namespace {

// The template for requests with tools, where a model has one of its own for them.
std::optional<text::ChatTemplateSource> find_tool_template(const model::Checkpoint& checkpoint) {
  try {
    return text::find_chat_template(checkpoint, "tool_use");
  } catch (const Error&) {
    return std::nullopt;  // there is none of this name
  }
}

}  // namespace

ModelText::ModelText(const model::Checkpoint& checkpoint, const Settings& settings,
                     std::shared_ptr<const text::Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)),
      special_tokens_(text::special_token_variables(checkpoint)),
      stop_tokens_(engine::stop_tokens(*tokenizer_, checkpoint)),
      sampling_(engine::resolve_sampling(settings, checkpoint.generation_config()).params) {
  read_templates(checkpoint, settings);
}

void ModelText::read_templates(const model::Checkpoint& checkpoint, const Settings& settings) {
  const auto source = engine::find_chat_template(checkpoint, settings);
  if (!source) return;
  has_template_ = true;
  template_text_ = source->text;
  const bool is_own = settings.get_string("model.chat_template").empty();
  const auto for_tools = is_own ? find_tool_template(checkpoint) : std::nullopt;
  text::ToolFormat format = text::find_tool_format(for_tools ? for_tools->text : source->text);
  const bool is_known =
      format.has_calls() || !format.reasoning_open.empty() || !format.channels.starts.empty();
  if (is_known) tool_format_ = std::move(format);
  try {
    template_ = text::jinja::Template::parse(source->text, "chat_template");
    if (for_tools && for_tools->text != source->text)
      tool_template_ = text::jinja::Template::parse(for_tools->text, "chat_template (tool_use)");
  } catch (const text::jinja::TemplateError& error) {
    template_fault_ = error;
  }
}

std::string ModelText::render_chat(const OrderedJson& variables) const {
  if (!has_template_)
    throw_error(ErrorCode::kFailedPrecondition, "the model has no chat template; use completions");
  if (template_fault_) throw *template_fault_;
  OrderedJson all = special_tokens_;
  for (const auto& [name, value] : variables.items()) all[name] = value;
  const auto tools = variables.find("tools");
  const bool has_tools = tools != variables.end() && tools->is_array() && !tools->empty();
  return text::render_chat(has_tools && tool_template_ ? *tool_template_ : *template_, all);
}

std::vector<int32_t> ModelText::encode(std::string_view text, bool is_rendered) const {
  std::vector<int32_t> ids = tokenizer_->encode(text, {.add_special = !is_rendered, .parse_special = true});
  // A prompt that is to go on must not say that it ends.
  const auto eos = tokenizer_->special_ids().eos;
  if (!is_rendered && tokenizer_->adds_eos() && eos && !ids.empty() && ids.back() == *eos) ids.pop_back();
  return ids;
}

}  // namespace llmhost::serve
