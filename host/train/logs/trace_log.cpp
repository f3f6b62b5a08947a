#include "train/logs/trace_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLineStart = "{\"step\": ";

// JSON has no infinity: such a loss ends the run, and its line says null.
std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{}", value)
                              : "null";  // the shortest text that reads back the same
}

// Calls body(line, step, json) for each line that is a JSON object with a step.
template <typename Body>
void for_each_line(const fs::path& path, const Body& body) {
  std::ifstream in(path, std::ios::binary);
  for (std::string line; std::getline(in, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("step") && json["step"].is_number_integer())
      body(line, json["step"].get<int64_t>(), json);
  }
}

// A line that the end of a process cut off may be the last.
bool is_trace(std::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const Json json = Json::parse(text.substr(0, end), nullptr, false);
    const bool is_whole =
        json.is_object() && json.contains("step") && (json.contains("loss") || json.contains("eval_loss"));
    const size_t n = std::min(text.size(), kLineStart.size());
    const bool is_cut = end == std::string_view::npos && text.substr(0, n) == kLineStart.substr(0, n);
    if (!is_whole && !is_cut) return false;
    text.remove_prefix(std::min(end, text.size() - 1) + 1);
  }
  return true;
}

}  // namespace

void refuse_other_file(const fs::path& path, std::string_view key,
                       const std::function<bool(std::string_view)>& known) {
  std::error_code absent;
  const fs::file_status status = fs::status(path, absent);
  if (!fs::exists(status)) return;
  if (!fs::is_regular_file(status) || !known(read_file(path)))
    throw_error(ErrorCode::kAlreadyExists,
                "{}: is there already and is not what {} writes; name another file", path.string(), key);
}

TraceLog::TraceLog(fs::path path) : path_(std::move(path)) {}

TraceLog::~TraceLog() {
  if (file_ != nullptr) std::fclose(file_);
}

void TraceLog::on_start(int64_t done_steps, int64_t /*n_steps*/) {
  refuse_other_file(path_, "log.trace", is_trace);
  std::string kept;
  for_each_line(path_, [&](const std::string& line, int64_t step, const Json&) {
    if (step <= done_steps) kept += line + "\n";
  });
  if (path_.has_parent_path()) fs::create_directories(path_.parent_path());
  write_file_atomically(path_, kept);
  file_ = std::fopen(path_.c_str(), "ab");
  if (file_ == nullptr)
    throw_error(ErrorCode::kUnavailable, "{}: cannot be written: {}", path_.string(), std::strerror(errno));
}

void TraceLog::on_step(const StepEvent& step) {
  write(fmt::format(
      "{{\"step\": {}, \"epoch\": {}, \"loss\": {}, \"grad_norm\": {}, \"lr\": {}, \"tokens\": {}, "
      "\"targets\": {}, \"seconds\": {}, \"tokens_per_s\": {}, \"memory_bytes\": {}}}\n",
      step.step, number(step.epoch), number(step.loss), number(step.grad_norm), number(step.lr),
      step.n_tokens, step.n_targets, number(step.seconds), number(step.tokens_per_s), step.memory_bytes));
}

void TraceLog::on_eval(const EvalEvent& eval) {
  write(fmt::format("{{\"step\": {}, \"eval_loss\": {}, \"best\": {}}}\n", eval.step, number(eval.loss),
                    eval.is_best));
}

void TraceLog::write(const std::string& line) {
  if (file_ == nullptr) return;
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0)
    throw_error(ErrorCode::kUnavailable, "{}: cannot be written: {}", path_.string(), std::strerror(errno));
}

std::vector<TracePoint> read_trace(const fs::path& path, int64_t last_step) {
  std::vector<TracePoint> points;
  for_each_line(path, [&](const std::string&, int64_t step, const Json& json) {
    const bool is_eval = json.contains("eval_loss");
    const char* const key = is_eval ? "eval_loss" : "loss";
    if (step <= last_step && json.contains(key) && json[key].is_number())
      points.push_back({step, json[key].get<double>(), is_eval});
  });
  return points;
}

}  // namespace llmhost::train
