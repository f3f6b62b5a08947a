// Finds the answers of one conversation in what a template makes of it; see chat_text.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "train/chat_text.h"

namespace llmhost::train {

class AnswerFinder {
 public:
  // Renders messages, with or without the prompt for an answer behind them. Throws jinja::TemplateError.
  using Render = std::function<std::string(const OrderedJson&, bool add_prompt, std::vector<TextSpan>*)>;

  // `reasoning_close` ends the reasoning in an answer's text; empty: not known.
  AnswerFinder(const Sample& sample, const Render& render, const TurnEnds& ends,
               std::string_view reasoning_close)
      : sample_(sample), render_(render), ends_(ends), reasoning_close_(reasoning_close) {}

  ChatText find();

 private:
  static constexpr std::string_view kMarkEnd = "zQ";

  // Where a mark is put: before the text of a message, before what follows its reasoning, behind it, before
  // the name of its first call, or behind that of its last.
  enum class Side { kBefore, kBehindReasoning, kBehind, kFirstCall, kLastCall };

  std::optional<std::string> try_render(const OrderedJson& messages, bool add_prompt) const;
  OrderedJson first_messages(size_t n) const;
  bool is_call(size_t index) const;
  Side last_side(size_t index) const { return is_call(index) ? Side::kLastCall : Side::kBehind; }
  std::string mark(size_t index) const;
  bool put_mark(OrderedJson& message, size_t index, Side side) const;

  // nullopt: the marks cannot be told apart by message.
  std::optional<std::vector<TextSpan>> of_template(std::vector<TextSpan> marks) const;
  std::vector<TextSpan> by_rendering();
  std::string_view span_text(TextSpan span) const {
    return std::string_view(text_).substr(span.begin, span.end - span.begin);
  }
  void require_shown(size_t index, std::string_view shown) const;
  void require_one_piece(size_t index, TextSpan answer) const;
  void require_apart(const std::vector<TextSpan>& answers) const;
  size_t begin_of(size_t index, size_t after) const;
  std::optional<size_t> behind_opening(size_t index, const std::string& prompt, TextSpan range) const;
  std::string opening_of(size_t index) const;
  void find_opener();
  // What the prompt for the answer has behind the message before, found behind that message in the text.
  struct Reached {
    size_t at;
    bool whole;  // the prompt's end; else where the text goes on otherwise than the prompt
  };
  std::optional<Reached> behind_previous(size_t index, const std::string& prompt, size_t limit) const;
  size_t end_of(size_t index, size_t begin);

  // The place of a mark that can be taken away again: in the text, and in what a template makes of
  // `messages`.
  std::optional<size_t> place(size_t index, Side side) const;
  std::optional<size_t> place_in(OrderedJson messages, bool add_prompt, const std::string& unmarked,
                                 size_t index, Side side) const;
  std::optional<size_t> place_of_content(size_t index) const;
  std::optional<size_t> first_place(size_t index) const;  // of what the answer shows
  void place_all_behind();
  // The end of what the template writes for this message behind `from`, whatever follows.
  size_t own_end(size_t index, size_t from) const;
  size_t next_begin(size_t index, size_t from) const;
  bool has_end(size_t from, size_t to) const;
  bool is_opener(size_t at) const;
  size_t turn_end(size_t from, size_t own) const;
  size_t token_at(const std::vector<std::string>& tokens, size_t at) const;
  bool is_closed(size_t end) const;

  const Sample& sample_;
  const Render& render_;
  const TurnEnds& ends_;
  std::string_view reasoning_close_;
  std::string text_;
  std::string mark_stem_;
  std::string opener_;                         // what prompts begin with that ask for an answer
  bool is_opener_inside_ = false;              // of the answer in hand
  std::vector<std::optional<size_t>> behind_;  // of each message; those that could be placed all at once
};

}  // namespace llmhost::train
