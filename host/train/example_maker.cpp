#include "train/example_maker.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "engine/model_settings.h"
#include "text/chat_template_source.h"
#include "train/token_spans.h"

namespace llmhost::train {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

TurnEnds turn_ends(const text::Tokenizer& tokenizer, const std::vector<int32_t>& stops) {
  TurnEnds ends;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const bool is_stop = std::binary_search(stops.begin(), stops.end(), id);
    if (!is_stop && !tokenizer.is_control(id)) continue;
    std::string text = tokenizer.decode(std::span(&id, 1));
    if (text.empty() || text.find_first_not_of(" \t\r\n") == std::string::npos) continue;
    (is_stop ? ends.stops : ends.controls).push_back(std::move(text));
  }
  return ends;
}

// The tokens that encoding adds before a text; a final EOS is not for what goes on.
std::vector<int32_t> opening_of(const text::Tokenizer& tokenizer) {
  const std::vector<int32_t> plain = tokenizer.encode("a", {.add_special = false});
  const std::vector<int32_t> with = tokenizer.encode("a", {.add_special = true});
  const auto at = std::search(with.begin(), with.end(), plain.begin(), plain.end());
  return {with.begin(), at == with.end() ? with.begin() : at};
}

// The template for conversations with tools, where a model has one of its own for them.
std::string tool_template(const model::Checkpoint& checkpoint) {
  try {
    const auto source = text::find_chat_template(checkpoint, "tool_use");
    return source ? source->text : std::string();
  } catch (const Error&) {
    return {};  // there is none of this name
  }
}

Sample with_last_answer(Sample sample) {
  const auto last = std::find(sample.is_learnt.rbegin(), sample.is_learnt.rend(), true);
  if (last != sample.is_learnt.rend()) std::fill(std::next(last), sample.is_learnt.rend(), false);
  return sample;
}

void learn_all(Example& example) {
  example.labels = example.ids;
}

}  // namespace

ExampleMaker::ExampleMaker(const std::filesystem::path& model, const DatasetOptions& options)
    : ExampleMaker(model::Checkpoint::open(model), text::load_tokenizer(engine::tokenizer_path(model)),
                   options) {}

ExampleMaker::ExampleMaker(const model::Checkpoint& checkpoint,
                           std::shared_ptr<const text::Tokenizer> tokenizer, const DatasetOptions& options)
    : options_(options),
      tokenizer_(std::move(tokenizer)),
      stops_(engine::stop_tokens(*tokenizer_, checkpoint)),
      opening_(opening_of(*tokenizer_)) {
  read_template(checkpoint);
}

void ExampleMaker::read_template(const model::Checkpoint& checkpoint) {
  ChatWriter::Templates templates;
  templates.special_tokens = text::special_token_variables(checkpoint);
  if (!options_.chat_template.empty()) {
    templates.text = read_file(options_.chat_template, kMaxTemplateBytes);
    templates.name = options_.chat_template;
  } else if (const auto source = text::find_chat_template(checkpoint)) {
    templates.text = source->text;
    templates.name = source->name;
    templates.tool_text = tool_template(checkpoint);
  } else {
    return;
  }
  chats_.emplace(templates, turn_ends(*tokenizer_, stops_), options_.date);
}

std::vector<Example> ExampleMaker::make(const Sample& sample) const {
  if (sample.is_chat()) return {from_chat(sample)};
  if (!sample.is_text()) return {Example{sample.ids, sample.labels}};
  Example example = from_segments(sample);
  if (sample.is_document) return windows(std::move(example));
  return {std::move(example)};
}

Example ExampleMaker::from_chat(const Sample& sample) const {
  if (!chats_)
    throw_invalid(
        "the model has no chat template to show conversations with; name one as data.chat_template");
  ChatText chat = chats_->write(options_.loss_on == LossOn::kLast ? with_last_answer(sample) : sample);
  const bool is_open = chat.ends_open && options_.add_eos;
  if (is_open) chat.text.resize(chat.answers.back().end);
  Example example = encode_spans(*tokenizer_, chat.text, chat.answers);
  if (is_open) close(example, true);
  if (options_.loss_on == LossOn::kAll) learn_all(example);
  return example;
}

Example ExampleMaker::from_segments(const Sample& sample) const {
  std::string text;
  std::vector<TextSpan> learnt;
  for (const Segment& segment : sample.segments) {
    if (segment.is_learnt) learnt.push_back({text.size(), text.size() + segment.text.size()});
    text += segment.text;
  }
  Example example = encode_spans(*tokenizer_, text, learnt);
  // A text that begins with the same tokens itself does not get them twice.
  const bool has_opening = example.ids.size() >= opening_.size() &&
                           std::equal(opening_.begin(), opening_.end(), example.ids.begin());
  if (!has_opening) {
    example.ids.insert(example.ids.begin(), opening_.begin(), opening_.end());
    example.labels.insert(example.labels.begin(), opening_.size(), kNoLabel);
  }
  if (options_.add_eos) close(example, sample.segments.back().is_learnt);
  if (options_.loss_on == LossOn::kAll || sample.is_document) learn_all(example);
  return example;
}

void ExampleMaker::close(Example& example, bool is_learnt) const {
  const auto eos = tokenizer_->special_ids().eos;
  if (!eos || (!example.ids.empty() && std::binary_search(stops_.begin(), stops_.end(), example.ids.back())))
    return;
  example.ids.push_back(*eos);
  example.labels.push_back(is_learnt ? *eos : kNoLabel);
}

// Tokens that a window shares with the one before are only read there, so that each is learnt once.
std::vector<Example> ExampleMaker::windows(Example whole) const {
  const auto size = static_cast<size_t>(options_.max_length);
  if (whole.ids.size() <= size) return {std::move(whole)};
  const size_t advance = size - static_cast<size_t>(options_.stride);
  std::vector<Example> parts;
  for (size_t begin = 0;; begin += advance) {
    const size_t end = std::min(begin + size, whole.ids.size());
    const auto cut = [&](const std::vector<int32_t>& list) {
      return std::vector<int32_t>(list.begin() + static_cast<std::ptrdiff_t>(begin),
                                  list.begin() + static_cast<std::ptrdiff_t>(end));
    };
    Example part{cut(whole.ids), cut(whole.labels)};
    if (begin > 0) std::fill_n(part.labels.begin(), options_.stride, kNoLabel);
    parts.push_back(std::move(part));
    if (end == whole.ids.size()) return parts;
  }
}

}  // namespace llmhost::train
