#include "text/tools/reply_writer.h"

#include <fmt/format.h>

#include <utility>

#include "core/sha256.h"

namespace llmhost::text {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

std::string call_id(const std::string& seed, size_t index) {
  constexpr size_t kLength = 24;
  return "call_" + to_hex(sha256(fmt::format("{}:{}", seed, index))).substr(0, kLength);
}

}  // namespace

void ReplyWriter::append(ToolDelta::Kind kind, std::string_view text) {
  if (text.empty()) return;
  if (deltas_.empty() || deltas_.back().kind != kind) deltas_.push_back({kind, {}, 0, {}, {}});
  deltas_.back().text += text;
}

void ReplyWriter::content(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) {
    content_space_ += text;
    return;
  }
  if (!has_content_ && marked_) {
    content_space_.clear();
    text.remove_prefix(first);
  }
  append(ToolDelta::Kind::kContent, content_space_);
  const size_t end = text.find_last_not_of(kSpaces) + 1;
  append(ToolDelta::Kind::kContent, text.substr(0, end));
  content_space_ = text.substr(end);
  has_content_ = true;
}

void ReplyWriter::reasoning(std::string_view text) {
  marked_ = true;
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) {
    reasoning_space_ += text;
    return;
  }
  if (!has_reasoning_) {
    reasoning_space_.clear();
    text.remove_prefix(first);
  }
  append(ToolDelta::Kind::kReasoning, reasoning_space_);
  const size_t end = text.find_last_not_of(kSpaces) + 1;
  append(ToolDelta::Kind::kReasoning, text.substr(0, end));
  reasoning_space_ = text.substr(end);
  has_reasoning_ = true;
}

void ReplyWriter::end_reasoning() {
  marked_ = true;
  reasoning_space_ = has_reasoning_ ? "\n" : "";
}

void ReplyWriter::call(size_t index, const FoundCall& call) {
  if (index + 1 < calls_) return;
  if (index == calls_) {
    marked_ = true;
    ++calls_;
    told_ = 0;
    deltas_.push_back({ToolDelta::Kind::kCallBegin, {}, index, call_id(id_seed_, index), call.name});
  }
  if (call.arguments.size() <= told_) return;
  deltas_.push_back({ToolDelta::Kind::kArguments, call.arguments.substr(told_), index, {}, {}});
  told_ = call.arguments.size();
}

void ReplyWriter::finish() {
  if (calls_ == 0 && (has_content_ || !marked_)) append(ToolDelta::Kind::kContent, content_space_);
  content_space_.clear();
}

std::vector<ToolDelta> ReplyWriter::take() {
  return std::exchange(deltas_, {});
}

}  // namespace llmhost::text
