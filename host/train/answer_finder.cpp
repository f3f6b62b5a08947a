#include "train/answer_finder.h"

#include <algorithm>

#include "core/error.h"
#include "train/row_scan.h"

namespace llmhost::train {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

bool is_space(char c) {
  return kSpaces.find(c) != std::string_view::npos;
}

size_t common_prefix(std::string_view a, std::string_view b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n), b.begin()).first - a.begin());
}

size_t count_of(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

std::string without(std::string text, std::string_view part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at))
    text.erase(at, part.size());
  return text;
}

}  // namespace

std::optional<std::string> AnswerFinder::try_render(const OrderedJson& messages, bool add_prompt) const {
  try {
    return render_(messages, add_prompt, nullptr);
  } catch (const Error&) {
    return std::nullopt;  // templates refuse conversations that end in the middle
  }
}

OrderedJson AnswerFinder::first_messages(size_t n) const {
  OrderedJson first = OrderedJson::array();
  for (size_t i = 0; i < n; ++i) first.push_back(sample_.messages[i]);
  return first;
}

bool AnswerFinder::is_call(size_t index) const {
  return sample_.messages[index].contains("tool_calls");
}

// Letters and digits: no template treats them in a way of its own.
std::string AnswerFinder::mark(size_t index) const {
  return fmt::format("{}{}{}", mark_stem_, index, kMarkEnd);
}

bool AnswerFinder::put_mark(OrderedJson& message, size_t index, Side side) const {
  if (side == Side::kFirstCall || side == Side::kLastCall) {
    const bool is_first = side == Side::kFirstCall;
    OrderedJson& calls = message["tool_calls"];
    OrderedJson& name = (is_first ? calls.front() : calls.back())["function"]["name"];
    const std::string written = name.get<std::string>();
    name = is_first ? mark(index) + written : written + mark(index);
    return true;
  }
  std::string content = message["content"].get<std::string>();
  if (trimmed(content).empty()) return false;
  size_t at = 0;
  if (side == Side::kBehind) {
    at = content.find_last_not_of(kSpaces) + 1;
  } else {
    if (side == Side::kBehindReasoning) {
      const size_t close = reasoning_close_.empty() ? std::string::npos : content.rfind(reasoning_close_);
      if (close == std::string::npos) return false;
      at = close + reasoning_close_.size();
    }
    at = content.find_first_not_of(kSpaces, at);
    if (at == std::string::npos) return false;
  }
  content.insert(at, mark(index));
  message["content"] = std::move(content);
  return true;
}

ChatText AnswerFinder::find() {
  std::vector<TextSpan> marks;
  text_ = render_(sample_.messages, false, &marks);
  for (size_t salt = 0; mark_stem_.empty() || text_.find(mark_stem_) != std::string::npos; ++salt)
    mark_stem_ = fmt::format("Qz{}x", salt);
  std::optional<std::vector<TextSpan>> marked;
  if (!marks.empty()) marked = of_template(std::move(marks));
  ChatText result;
  result.answers = marked ? *std::move(marked) : by_rendering();
  if (!result.answers.empty() && sample_.is_learnt.back()) {
    const size_t end = result.answers.back().end;
    result.ends_open = !is_closed(end) && trimmed(std::string_view(text_).substr(end)).empty();
  }
  result.text = std::move(text_);
  return result;
}

std::optional<std::vector<TextSpan>> AnswerFinder::of_template(std::vector<TextSpan> marks) const {
  std::vector<bool> learnt;  // of the assistant's messages
  std::vector<size_t> indices;
  for (size_t i = 0; i < sample_.messages.size(); ++i) {
    if (sample_.messages[i]["role"] != "assistant") continue;
    learnt.push_back(sample_.is_learnt[i]);
    indices.push_back(i);
  }
  const bool one_each = marks.size() == learnt.size();
  if (!one_each && std::find(learnt.begin(), learnt.end(), false) != learnt.end()) return std::nullopt;
  std::vector<TextSpan> answers;
  for (size_t i = 0; i < marks.size(); ++i) {
    if (one_each && !learnt[i]) continue;
    if (one_each) require_shown(indices[i], span_text(marks[i]));
    if (!is_closed(marks[i].end)) marks[i].end = turn_end(marks[i].end, marks[i].end);
    answers.push_back(marks[i]);
  }
  return answers;
}

std::vector<TextSpan> AnswerFinder::by_rendering() {
  for (size_t i = 0; i < sample_.messages.size(); ++i)
    if (sample_.is_learnt[i]) require_shown(i, text_);
  place_all_behind();
  find_opener();
  std::vector<TextSpan> answers;
  size_t after = 0;
  for (size_t i = 0; i < sample_.messages.size(); ++i) {
    if (!sample_.is_learnt[i]) continue;
    const size_t begin = begin_of(i, after);
    const size_t end = end_of(i, begin);
    require_one_piece(i, {begin, end});
    answers.push_back({begin, end});
    after = end;
  }
  require_apart(answers);
  return answers;
}

// Where the answer begins: behind the prompt that a server would give for it. Where the conversation shows
// earlier turns otherwise than that prompt does, its last part is looked for before what the answer shows.
size_t AnswerFinder::begin_of(size_t index, size_t after) const {
  const auto prompt = try_render(first_messages(index), true);
  if (prompt && prompt->size() >= after && text_.starts_with(*prompt)) return prompt->size();
  const auto content = first_place(index);
  const auto limit = content ? content : behind_[index];
  if (prompt && limit)
    if (const auto begin = behind_opening(index, *prompt, {after, *limit})) return *begin;
  if (content && *content >= after) return *content;
  if (const auto empty = place_of_content(index); !limit && empty && *empty >= after) return *empty;
  throw_invalid("messages[{}]: where this answer begins cannot be told from what the template makes of it",
                index);
}

std::optional<size_t> AnswerFinder::behind_opening(size_t index, const std::string& prompt,
                                                   TextSpan range) const {
  if (const auto previous = index > 0 ? place(index - 1, last_side(index - 1)) : std::nullopt)
    range.begin = std::max(range.begin, *previous);
  const auto reached = behind_previous(index, prompt, range.end);
  if (reached && reached->whole && reached->at >= range.begin) return reached->at;
  const std::string opening = opening_of(index);
  for (const std::string_view part : {std::string_view(opening), trimmed(opening)}) {
    const size_t at = part.empty() || range.end < part.size() ? std::string::npos
                                                              : text_.rfind(part, range.end - part.size());
    if (at == std::string::npos || at < range.begin) continue;
    // Of the spaces behind it, those that the prompt has too.
    const size_t end = at + part.size();
    const std::string_view spaces = std::string_view(opening).substr(opening.find(part) + part.size());
    return end + common_prefix(spaces, std::string_view(text_).substr(end, range.end - end));
  }
  return reached && reached->at >= range.begin ? std::optional(reached->at) : std::nullopt;
}

// What asks for an answer: what the prompt has more than the messages before the answer.
std::string AnswerFinder::opening_of(size_t index) const {
  const OrderedJson before = first_messages(index);
  const auto said = try_render(before, false), prompt = try_render(before, true);
  return said && prompt ? prompt->substr(common_prefix(*said, *prompt)) : std::string();
}

std::optional<AnswerFinder::Reached> AnswerFinder::behind_previous(size_t index, const std::string& prompt,
                                                                   size_t limit) const {
  if (index == 0) return std::nullopt;
  const Side side = last_side(index - 1);
  const auto in_text = place(index - 1, side);
  const auto in_prompt = place_in(first_messages(index), true, prompt, index - 1, side);
  if (!in_text || !in_prompt || *in_text > limit) return std::nullopt;
  const std::string_view tail = std::string_view(prompt).substr(*in_prompt);
  const size_t shared = common_prefix(tail, std::string_view(text_).substr(*in_text, limit - *in_text));
  if (shared == tail.size()) return Reached{*in_text + shared, true};
  // Back to where a line, a word or a tag ends: marks that only begin alike are cut in two otherwise.
  const size_t at = text_.find_last_of(" \t\r\n>]", *in_text + std::max<size_t>(shared, 1) - 1);
  if (shared == 0 || at == std::string::npos || at < *in_text) return std::nullopt;
  return Reached{at + 1, false};
}

// What the answer shows first: its text, or what follows the reasoning in it, or a call.
std::optional<size_t> AnswerFinder::first_place(size_t index) const {
  auto first = place(index, Side::kBefore);
  if (!first) first = place(index, Side::kBehindReasoning);
  if (!is_call(index)) return first;
  const auto call = place(index, Side::kFirstCall);
  return first && call ? std::min(first, call) : first ? first : call;
}

size_t AnswerFinder::end_of(size_t index, size_t begin) {
  const auto behind = behind_[index] ? behind_[index] : place(index, last_side(index));
  if (behind && *behind >= begin) {
    // Templates that build messages of parts begin each by the same token.
    is_opener_inside_ =
        !opener_.empty() && text_.substr(begin, *behind - begin).find(opener_) != std::string::npos;
    const size_t own = own_end(index, *behind);
    return turn_end(*behind, own);
  }
  // Nothing to put a mark to, or the template changes the text: what it shows of the conversation so far.
  const bool is_last = index + 1 == sample_.messages.size();
  const auto shown = is_last ? text_ : try_render(first_messages(index + 1), false);
  const size_t own = shown ? common_prefix(*shown, text_) : 0;
  if (own < begin || (own == begin && token_at(ends_.stops, begin) == 0))
    throw_invalid("messages[{}]: where this answer ends cannot be told from what the template makes of it",
                  index);
  return turn_end(begin, own);
}

std::optional<size_t> AnswerFinder::place(size_t index, Side side) const {
  return place_in(sample_.messages, false, text_, index, side);
}

std::optional<size_t> AnswerFinder::place_in(OrderedJson messages, bool add_prompt,
                                             const std::string& unmarked, size_t index, Side side) const {
  if (!put_mark(messages[index], index, side)) return std::nullopt;
  const auto rendered = try_render(messages, add_prompt);
  if (!rendered) return std::nullopt;
  const size_t at = rendered->find(mark(index));
  // The name of a call may also stand in its id, or in the message of its result.
  const bool is_name = side == Side::kFirstCall || side == Side::kLastCall;
  const bool is_clear = at != std::string::npos && (is_name || count_of(*rendered, mark(index)) == 1);
  if (!is_clear || without(*rendered, mark(index)) != unmarked) return std::nullopt;
  return at;
}

// Where the text of a message without one would begin.
std::optional<size_t> AnswerFinder::place_of_content(size_t index) const {
  OrderedJson messages = sample_.messages;
  messages[index]["content"] = mark(index);
  const auto rendered = try_render(messages, false);
  const size_t at = rendered ? rendered->find(mark(index)) : std::string::npos;
  if (at == std::string::npos || !text_.starts_with(rendered->substr(0, at))) return std::nullopt;
  return at;
}

// One rendering for all answers, as it is with nearly every template.
void AnswerFinder::place_all_behind() {
  behind_.assign(sample_.messages.size(), std::nullopt);
  OrderedJson messages = sample_.messages;
  std::vector<size_t> marked;
  for (size_t i = 0; i < messages.size(); ++i)
    if (sample_.is_learnt[i] && !is_call(i) && put_mark(messages[i], i, Side::kBehind)) marked.push_back(i);
  auto rendered = try_render(messages, false);
  if (!rendered) return;
  std::vector<size_t> places;
  for (const size_t i : marked) {
    const size_t at = rendered->find(mark(i));
    if (at == std::string::npos || (!places.empty() && at < places.back())) return;
    rendered->erase(at, mark(i).size());
    places.push_back(at);
  }
  if (*rendered != text_) return;
  for (size_t k = 0; k < marked.size(); ++k) behind_[marked[k]] = places[k];
}

size_t AnswerFinder::own_end(size_t index, size_t from) const {
  if (index + 1 == sample_.messages.size()) return text_.size();
  if (token_at(ends_.stops, from) > 0) return from;
  OrderedJson messages = first_messages(index + 1);
  if (!put_mark(messages[index], index, last_side(index))) return from;
  const auto shown = try_render(messages, false);
  const size_t at = shown ? shown->find(mark(index)) : std::string::npos;
  if (at == std::string::npos) return is_call(index) ? next_begin(index, from) : from;
  const std::string behind = without(shown->substr(at), mark(index));
  const size_t shared = common_prefix(behind, std::string_view(text_).substr(from));
  size_t own = from + shared;
  // The arguments of calls are still to come, and templates may write them otherwise in the last message.
  if (is_call(index) && !trimmed(std::string_view(behind).substr(shared)).empty() && !has_end(from, own))
    return next_begin(index, from);
  // The two may go on with tokens that begin with the same letters.
  constexpr size_t kLongestToken = 64;
  for (size_t p = std::max(from, own - std::min(own, kLongestToken)); p < own; ++p) {
    const size_t length = std::max(token_at(ends_.stops, p), token_at(ends_.controls, p));
    if (length > own - p) own = p;
  }
  return own;
}

// What no answer goes on behind: the token, or else the text, by which a prompt asks for one.
void AnswerFinder::find_opener() {
  for (size_t i = 0; i < sample_.messages.size() && opener_.empty(); ++i) {
    if (!sample_.is_learnt[i]) continue;
    opener_ = trimmed(opening_of(i));
    const auto stands_first = [&](const std::string& token) { return opener_.starts_with(token); };
    const auto control = std::find_if(ends_.controls.begin(), ends_.controls.end(), stands_first);
    if (control != ends_.controls.end()) opener_ = *control;
  }
}

// Whether a turn ends there: a token ends generations, or asks for another answer.
bool AnswerFinder::has_end(size_t from, size_t to) const {
  for (size_t at = from; at < to; ++at)
    if (token_at(ends_.stops, at) > 0 || is_opener(at)) return true;
  return false;
}

bool AnswerFinder::is_opener(size_t at) const {
  return !opener_.empty() && !is_opener_inside_ && std::string_view(text_).substr(at).starts_with(opener_);
}

// Where what the next message shows begins: a token before it ends the answer, or its end cannot be told.
size_t AnswerFinder::next_begin(size_t index, size_t from) const {
  const auto next = first_place(index + 1);
  if (!next || *next < from || !has_end(from, *next))
    throw_invalid("messages[{}]: where this answer ends cannot be told from what the template makes of it",
                  index);
  return *next;
}

// What the template writes for a turn behind `from`: up to the first token that ends a generation, else the
// last one that is no text, else the last text.
size_t AnswerFinder::turn_end(size_t from, size_t own) const {
  size_t control_end = from;
  for (size_t at = from; at < own; ++at) {
    if (const size_t stop = token_at(ends_.stops, at); stop > 0) return at + stop;
    if (is_opener(at)) {
      own = at;
      break;
    }
    if (const size_t control = token_at(ends_.controls, at); control > 0) control_end = at + control;
  }
  const size_t text_end =
      from + std::string_view(text_).substr(from, own - from).find_last_not_of(kSpaces) + 1;
  const size_t stop_at = std::min(text_.find_first_not_of(kSpaces, own), text_.size());
  if (const size_t stop = token_at(ends_.stops, stop_at); stop > 0) return stop_at + stop;
  return std::max(control_end, std::max(text_end, from));
}

size_t AnswerFinder::token_at(const std::vector<std::string>& tokens, size_t at) const {
  const std::string_view rest = std::string_view(text_).substr(std::min(at, text_.size()));
  size_t longest = 0;
  for (const std::string& token : tokens)
    if (token.size() > longest && rest.starts_with(token)) longest = token.size();
  return longest;
}

bool AnswerFinder::is_closed(size_t end) const {
  std::string_view before = std::string_view(text_).substr(0, end);
  while (!before.empty() && is_space(before.back())) before.remove_suffix(1);
  const auto ends_with = [&](const std::string& token) { return before.ends_with(token); };
  return std::any_of(ends_.stops.begin(), ends_.stops.end(), ends_with) ||
         std::any_of(ends_.controls.begin(), ends_.controls.end(), ends_with);
}

}  // namespace llmhost::train
