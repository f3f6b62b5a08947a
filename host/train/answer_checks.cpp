// What every answer that was found must be, whatever the template does.
#include <algorithm>

#include "core/error.h"
#include "train/answer_finder.h"
#include "train/row_scan.h"

namespace llmhost::train {

// A template that does not know of calls, say, would teach to answer nothing.
void AnswerFinder::require_shown(size_t index, std::string_view shown) const {
  const OrderedJson& message = sample_.messages[index];
  if (is_call(index)) {
    for (const OrderedJson& call : message["tool_calls"])
      if (shown.find(call["function"]["name"].get_ref<const std::string&>()) == std::string_view::npos)
        throw_invalid("messages[{}]: the template does not show the calls", index);
    return;
  }
  std::string_view content = message["content"].get_ref<const std::string&>();
  const size_t close = reasoning_close_.empty() ? std::string_view::npos : content.rfind(reasoning_close_);
  if (close != std::string_view::npos) content.remove_prefix(close + reasoning_close_.size());
  if (shown.find(trimmed(content)) == std::string_view::npos)
    throw_invalid("messages[{}]: the template does not show the answer as it is", index);
}

// Text beside calls may be dropped, but not stand elsewhere.
void AnswerFinder::require_one_piece(size_t index, TextSpan answer) const {
  require_shown(index, span_text(answer));
  if (!is_call(index)) return;
  const auto behind = place(index, Side::kBehind);
  if (behind && (*behind < answer.begin || *behind > answer.end))
    throw_invalid("messages[{}]: the template shows the text of this answer apart from its calls", index);
}

// Nothing but answers is learnt, whatever the template does.
void AnswerFinder::require_apart(const std::vector<TextSpan>& answers) const {
  OrderedJson messages = sample_.messages;
  for (size_t i = 0; i < messages.size(); ++i)
    if (messages[i]["role"] != "assistant") put_mark(messages[i], i, Side::kBehind);
  const auto rendered = try_render(messages, false);
  if (!rendered) return;
  std::string plain;
  std::vector<size_t> ends;  // of what others said
  for (size_t at = 0; at < rendered->size();) {
    const size_t next = std::min(rendered->find(mark_stem_, at), rendered->size());
    plain.append(*rendered, at, next - at);
    at = std::min(rendered->find(kMarkEnd, next), rendered->size());
    if (at < rendered->size()) {
      ends.push_back(plain.size());
      at += kMarkEnd.size();
    }
  }
  if (plain != text_) return;
  for (const TextSpan& answer : answers)
    for (const size_t end : ends)
      if (end > answer.begin && end <= answer.end)
        throw_invalid("the template shows another message inside an answer");
}

}  // namespace llmhost::train
