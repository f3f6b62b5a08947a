// Tokenizer, chat template and defaults of a model: what its text needs, without the weights. [thread-safe]
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "core/json.h"
#include "engine/sampling_params.h"
#include "model/checkpoint.h"
#include "text/template/template.h"
#include "text/tokenizer.h"
#include "text/tools/tool_format.h"

namespace llmhost::serve {

class ModelText {
 public:
  // A template that cannot be parsed is an error of each chat, not of the model: completions go without.
  ModelText(const model::Checkpoint& checkpoint, const Settings& settings,
            std::shared_ptr<const text::Tokenizer> tokenizer);

  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  bool has_template() const { return has_template_; }
  const std::string& template_text() const { return template_text_; }
  std::string render_chat(const OrderedJson& variables) const;
  std::vector<int32_t> encode(std::string_view text, bool is_rendered) const;
  const std::vector<int32_t>& stop_tokens() const { return stop_tokens_; }
  const engine::SamplingParams& default_sampling() const { return sampling_; }
  // How the model writes calls and reasoning; null: nothing is known.
  const text::ToolFormat* tool_format() const { return tool_format_ ? &*tool_format_ : nullptr; }

 private:
  void read_templates(const model::Checkpoint& checkpoint, const Settings& settings);

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  bool has_template_ = false;
  std::string template_text_;
  std::optional<text::jinja::Template> template_;
  std::optional<text::jinja::Template> tool_template_;  // used where there are tools
  std::optional<text::jinja::TemplateError> template_fault_;
  std::optional<text::ToolFormat> tool_format_;
  OrderedJson special_tokens_;
  std::vector<int32_t> stop_tokens_;
  engine::SamplingParams sampling_;
};

}  // namespace llmhost::serve
