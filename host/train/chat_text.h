// A conversation as the model's template shows it, with the parts that the model is to learn: for each
// answer, from where the prompt for it ends to the end of its turn.
//
// Where the template marks them ({% generation %}), its marks count. Otherwise the answers are found by
// rendering: the prompt that a server would give for the answer is what comes before it; where an answer ends
// is told by a mark put behind its text, which must come out once and change nothing else. So it does not
// matter whether the template trims texts, drops reasoning from earlier turns or begins with a text of its
// own; where it does more than that, the conversation is refused.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "text/template/template.h"
#include "text/tools/tool_format.h"
#include "train/sample.h"

namespace llmhost::train {

using text::jinja::TextSpan;

struct ChatText {
  std::string text;
  std::vector<TextSpan> answers;  // ascending, none inside another
  bool ends_open = false;         // the last answer is the last of the text, and no token ends it
};

// The texts of tokens that are no text: what ends a turn is one of them.
struct TurnEnds {
  std::vector<std::string> stops;     // end a generation
  std::vector<std::string> controls;  // the others
};

// [thread-safe]
class ChatWriter {
 public:
  struct Templates {
    std::string text;
    std::string name;       // for errors
    std::string tool_text;  // for conversations with tools; empty: the same
    OrderedJson special_tokens;
  };
  ChatWriter(const Templates& templates, TurnEnds ends, std::string date);
  ~ChatWriter();

  // Throws Error with the reason, without a place: the template raises, or an answer cannot be told from the
  // rest.
  ChatText write(const Sample& sample) const;
  // The prompt that a server makes of these messages.
  std::string prompt(const OrderedJson& messages, const OrderedJson& tools) const;

 private:
  std::string render(const OrderedJson& messages, const OrderedJson& tools, bool add_prompt,
                     std::vector<TextSpan>* marks) const;

  text::ToolFormat format_;
  text::jinja::Template template_;
  std::optional<text::jinja::Template> tool_template_;
  OrderedJson special_tokens_;
  TurnEnds ends_;
  std::string date_;
};

}  // namespace llmhost::train
