#include "text/tools/tool_parser.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer_utf8.h"
#include "text/tools/call_reader.h"
#include "text/tools/loose_value.h"
#include "text/tools/reply_writer.h"

namespace llmhost::text {
namespace {

constexpr size_t kMaxHeader = 256;
constexpr size_t kMaxBlock = size_t{4} << 20;

bool is_one_of(const std::vector<std::string>& values, std::string_view value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

// What stands behind a mark in a channel's header, up to white space or the next mark.
std::string_view field_of(std::string_view header, const std::string& mark) {
  const size_t at = mark.empty() ? std::string_view::npos : header.find(mark);
  if (at == std::string_view::npos) return {};
  header.remove_prefix(at + mark.size());
  return header.substr(0, header.find_first_of(" \t\r\n<"));
}

}  // namespace

class ToolParser::Impl {
 public:
  Impl(ToolFormat format, ToolParserOptions options);

  std::vector<ToolDelta> push(std::string_view text);
  std::vector<ToolDelta> finish(ReplyEnd end);
  size_t calls() const { return writer_.calls(); }

 private:
  enum class State { kContent, kReasoning, kBlock, kHeader, kCallBody };
  // What a mark in the content means.
  enum class Meaning { kReasoning, kBlock, kDrop, kStart, kEnd };

  void add_mark(const std::string& mark, Meaning meaning);
  void begin(std::string_view prompt_tail);
  void run(bool whole);
  bool step(bool whole);  // false: nothing more can be said of the buffer
  bool step_content(bool whole);
  bool step_reasoning(bool whole);
  bool step_block(bool whole);
  bool step_header(bool whole);
  bool step_call_body(bool whole);
  template <typename Read>
  bool step_calls(bool whole, const Read& read);
  void give_up_block();
  bool begin_bare();
  bool met(const MarkPlace& place);
  bool open_section(std::string_view header);
  bool worth_reading(bool whole);
  void consume(size_t size);
  MarkReader reader(bool whole) const { return {buffer_, 0, whole}; }

  ToolFormat format_;
  ToolSchemas tools_;
  ReplyWriter writer_;
  bool calls_ = true;
  bool channels_ = false;
  std::vector<std::string> marks_, reasoning_ends_;
  std::vector<Meaning> meanings_;

  State state_ = State::kContent;
  Utf8Assembler utf8_;
  std::string suffix_;
  std::string buffer_;         // not told yet
  size_t open_ = 0;            // kBlock: bytes of the mark; content if no call stands there
  size_t first_call_ = 0;      // kBlock, kCallBody: calls told before
  size_t tried_ = 0;           // bytes of the buffer when it was last read in vain
  std::string header_mark_;    // kHeader: the mark in front
  size_t prompted_ = 0;        // kHeader: bytes of the buffer that the prompt had already
  std::string recipient_;      // kCallBody
  std::string recipient_raw_;  // kCallBody: mark and header as they were written
};

ToolParser::Impl::Impl(ToolFormat format, ToolParserOptions options)
    : format_(std::move(format)), tools_(options.tools), writer_(options.id_seed), calls_(options.calls) {
  calls_ = calls_ && format_.has_calls();
  channels_ = !format_.channels.starts.empty();
  if (!options.reasoning) format_.reasoning_open.clear();
  add_mark(format_.reasoning_open, Meaning::kReasoning);
  if (calls_) {
    add_mark(format_.wrap_open, Meaning::kBlock);
    for (const std::string& mark : format_.call_opens) add_mark(mark, Meaning::kBlock);
  }
  for (const std::string& mark : format_.drops) add_mark(mark, Meaning::kDrop);
  for (const std::string& mark : format_.channels.starts) add_mark(mark, Meaning::kStart);
  for (const std::string& mark : format_.channels.ends) add_mark(mark, Meaning::kEnd);
  if (channels_) {
    reasoning_ends_ = format_.channels.starts;
    reasoning_ends_.insert(reasoning_ends_.end(), format_.channels.ends.begin(), format_.channels.ends.end());
  } else {
    reasoning_ends_ = {format_.reasoning_close};
  }
  begin(options.prompt_tail);
  utf8_.push(options.prefill, buffer_);
  suffix_ = std::move(options.suffix);
}

void ToolParser::Impl::add_mark(const std::string& mark, Meaning meaning) {
  if (mark.empty()) return;
  marks_.push_back(mark);
  meanings_.push_back(meaning);
}

// Templates write the reply's first marks themselves.
void ToolParser::Impl::begin(std::string_view prompt_tail) {
  if (channels_) {
    state_ = State::kHeader;
    size_t best = std::string_view::npos;
    for (const std::string& mark : format_.channels.starts) {
      const size_t at = prompt_tail.rfind(mark);
      if (at != std::string_view::npos && (best == std::string_view::npos || at + mark.size() > best))
        best = at + mark.size();
    }
    if (best == std::string_view::npos) return;
    buffer_ = prompt_tail.substr(best);
    run(false);
    writer_.take();
    prompted_ = buffer_.size();
    return;
  }
  if (format_.reasoning_open.empty()) return;
  const size_t at = prompt_tail.rfind(format_.reasoning_open);
  if (at == std::string_view::npos) return;
  if (trimmed(prompt_tail.substr(at + format_.reasoning_open.size())).empty()) state_ = State::kReasoning;
}

std::vector<ToolDelta> ToolParser::Impl::push(std::string_view text) {
  utf8_.push(text, buffer_);
  run(false);
  return writer_.take();
}

std::vector<ToolDelta> ToolParser::Impl::finish(ReplyEnd end) {
  utf8_.finish(buffer_);
  if (end == ReplyEnd::kWhole) buffer_ += suffix_;
  run(true);
  writer_.finish();
  return writer_.take();
}

void ToolParser::Impl::run(bool whole) {
  while (step(whole)) {
  }
}

bool ToolParser::Impl::step(bool whole) {
  switch (state_) {
    case State::kContent:
      return step_content(whole);
    case State::kReasoning:
      return step_reasoning(whole);
    case State::kBlock:
      return step_block(whole);
    case State::kHeader:
      return step_header(whole);
    case State::kCallBody:
      return step_call_body(whole);
  }
  return false;
}

void ToolParser::Impl::consume(size_t size) {
  buffer_.erase(0, size);
  tried_ = 0;
}

// A reply may begin with calls without a mark.
bool ToolParser::Impl::begin_bare() {
  if (!format_.bare || !calls_ || writer_.has_content() || writer_.calls() > 0) return false;
  const size_t first = buffer_.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return false;
  const std::string_view beginnings = format_.layout == ToolLayout::kJson ? "{[`" : "[`";
  if (beginnings.find(buffer_[first]) == std::string_view::npos) return false;
  writer_.content(std::string_view(buffer_).substr(0, first));
  consume(first);
  state_ = State::kBlock;
  open_ = 1;
  first_call_ = writer_.calls();
  return true;
}

bool ToolParser::Impl::step_content(bool whole) {
  if (buffer_.empty()) return false;
  if (begin_bare()) return true;
  const MarkPlace place = find_mark(buffer_, 0, marks_, whole);
  writer_.content(std::string_view(buffer_).substr(0, place.at));
  consume(place.at);
  return place.got == Got::kYes && met({place.got, 0, place.length, place.which});
}

// At a mark in the content.
bool ToolParser::Impl::met(const MarkPlace& place) {
  const std::string& mark = marks_[place.which];
  switch (meanings_[place.which]) {
    case Meaning::kReasoning:
      if (writer_.has_content() && !format_.reasoning_anywhere) {
        writer_.content(mark);
      } else {
        state_ = State::kReasoning;
      }
      break;
    case Meaning::kBlock:
      state_ = State::kBlock;
      open_ = place.length;
      first_call_ = writer_.calls();
      return true;
    case Meaning::kStart:
      state_ = State::kHeader;
      header_mark_ = mark;
      break;
    case Meaning::kDrop:
    case Meaning::kEnd:
      writer_.dropped();
      break;
  }
  consume(place.length);
  return true;
}

bool ToolParser::Impl::step_reasoning(bool whole) {
  if (buffer_.empty()) return false;
  const MarkPlace place = find_mark(buffer_, 0, reasoning_ends_, whole);
  writer_.reasoning(std::string_view(buffer_).substr(0, place.at));
  consume(place.at);
  if (place.got != Got::kYes) return false;
  writer_.end_reasoning();
  state_ = State::kContent;
  if (!channels_) consume(place.length);  // a channel's mark is read as in the content
  return true;
}

// Reading a long call again for each byte of it would cost the square of its length.
bool ToolParser::Impl::worth_reading(bool whole) {
  constexpr size_t kShort = 4096;
  constexpr size_t kPart = 256;
  return whole || buffer_.size() < kShort || buffer_.size() - tried_ > buffer_.size() / kPart;
}

bool ToolParser::Impl::step_block(bool whole) {
  return step_calls(whole, [&](MarkReader& from, std::vector<FoundCall>& calls) {
    return read_calls(format_, tools_, from, calls);
  });
}

bool ToolParser::Impl::step_call_body(bool whole) {
  return step_calls(whole, [&](MarkReader& from, std::vector<FoundCall>& calls) {
    calls.push_back({recipient_, {}, true});
    return read_loose_object(from, {}, calls.back().arguments);
  });
}

// Reads calls and tells what is new of them. False: more text must come.
template <typename Read>
bool ToolParser::Impl::step_calls(bool whole, const Read& read) {
  if (!worth_reading(whole)) return false;
  std::vector<FoundCall> calls;
  MarkReader from = reader(false);
  Got got = read(from, calls);
  const bool is_cut = got == Got::kMore && whole;
  if (is_cut) {  // the end may close what is open; otherwise what is known stays
    std::vector<FoundCall> closed;
    MarkReader last = reader(true);
    got = read(last, closed);
    from = last;
    if (got == Got::kYes) calls = std::move(closed);
  }
  if (from.at > kMaxBlock || (got == Got::kMore && buffer_.size() > 2 * kMaxBlock)) got = Got::kNo;
  size_t told = 0;
  for (const FoundCall& call : calls)
    if (call.is_told()) writer_.call(first_call_ + told++, call);
  if (got == Got::kMore) {
    tried_ = buffer_.size();
    return false;
  }
  if (got == Got::kYes) {
    writer_.dropped();
    consume(from.at);
  } else if (told > 0) {
    consume(is_cut ? buffer_.size() : std::max(from.at, size_t{1}));
  } else {
    give_up_block();
  }
  state_ = State::kContent;
  return got == Got::kYes || !buffer_.empty();
}

// No call stands here: what opened the block is content.
void ToolParser::Impl::give_up_block() {
  if (state_ == State::kCallBody) {
    writer_.content(recipient_raw_);
    return;
  }
  writer_.content(std::string_view(buffer_).substr(0, open_));
  consume(open_);
}

bool ToolParser::Impl::step_header(bool whole) {
  const size_t end = buffer_.find(format_.channels.head_end);
  if (end == std::string::npos && buffer_.size() < kMaxHeader + format_.channels.head_end.size() && !whole)
    return false;
  state_ = State::kContent;
  const std::string header = buffer_.substr(0, end);
  if (end == std::string::npos || end > kMaxHeader || !open_section(header)) {
    writer_.content(header_mark_);
    header_mark_.clear();
    consume(std::exchange(prompted_, 0));
    return !buffer_.empty();
  }
  recipient_raw_ = header_mark_ + header.substr(std::min(prompted_, end)) + format_.channels.head_end;
  prompted_ = 0;
  consume(end + format_.channels.head_end.size());
  return true;
}

// False where this is no header.
bool ToolParser::Impl::open_section(std::string_view header) {
  const ChannelForm& form = format_.channels;
  const std::string_view channel = field_of(header, form.channel);
  std::string recipient(form.recipient.empty() ? trimmed(header) : field_of(header, form.recipient));
  if (form.recipient.empty() && !is_name(recipient)) return false;
  writer_.dropped();
  if (is_one_of(form.reasoning, recipient) || (recipient.empty() && is_one_of(form.reasoning, channel))) {
    state_ = State::kReasoning;
    return true;
  }
  const bool to_tool = !recipient.empty() && !is_one_of(form.content, recipient);
  if (!to_tool || !calls_ || format_.layout != ToolLayout::kChannel) return true;
  if (!settle_name(format_, recipient)) return false;
  recipient_ = recipient;
  first_call_ = writer_.calls();
  state_ = State::kCallBody;
  return true;
}

ToolParser::ToolParser(ToolFormat format, ToolParserOptions options)
    : impl_(std::make_unique<Impl>(std::move(format), std::move(options))) {}
ToolParser::~ToolParser() = default;
ToolParser::ToolParser(ToolParser&&) noexcept = default;
ToolParser& ToolParser::operator=(ToolParser&&) noexcept = default;

std::vector<ToolDelta> ToolParser::push(std::string_view text) {
  return impl_->push(text);
}

std::vector<ToolDelta> ToolParser::finish(ReplyEnd end) {
  return impl_->finish(end);
}

size_t ToolParser::calls() const {
  return impl_->calls();
}

void ParsedReply::add(const ToolDelta& delta) {
  switch (delta.kind) {
    case ToolDelta::Kind::kContent:
      content += delta.text;
      break;
    case ToolDelta::Kind::kReasoning:
      reasoning += delta.text;
      break;
    case ToolDelta::Kind::kCallBegin:
      calls.push_back({delta.id, delta.name, {}});
      break;
    case ToolDelta::Kind::kArguments:
      calls.at(delta.index).arguments += delta.text;
      break;
  }
}

ParsedReply parse_reply(const ToolFormat& format, const ToolParserOptions& options, std::string_view text,
                        ReplyEnd end) {
  ParsedReply reply;
  ToolParser parser(format, options);
  for (const ToolDelta& delta : parser.push(text)) reply.add(delta);
  for (const ToolDelta& delta : parser.finish(end)) reply.add(delta);
  return reply;
}

}  // namespace llmhost::text
