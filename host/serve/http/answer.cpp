#include "serve/http/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <iterator>

#include "serve/http/target.h"

namespace llmhost::serve {
namespace {

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return status < 300   ? "Success"
             : status < 400 ? "Redirect"
             : status < 500 ? "Client Error"
                            : "Server Error";
  }
}

bool is_header_name(std::string_view name) {
  constexpr std::string_view kMore = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kMore.find(c) != kMore.npos;
  });
}

void append_header(std::string& out, std::string_view name, std::string_view value) {
  if (is_header_name(name) && is_header_value(value))
    out.append(name).append(": ").append(value).append("\r\n");
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[40];
  // The names are English: the program never changes its LC_TIME.
  const size_t size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return std::string(text, size);
}

}  // namespace

void Waker::wake(std::weak_ptr<AnswerSink> sink) {
  const std::lock_guard lock(mutex_);
  if (!post_) return;
  ready_.push_back(std::move(sink));
  if (ready_.size() == 1) post_();
}

void Waker::drain() {
  {
    const std::lock_guard lock(mutex_);
    draining_.swap(ready_);
  }
  for (const auto& weak : draining_)
    if (const auto sink = weak.lock()) sink->on_ready();
  draining_.clear();
}

void Waker::detach() {
  const std::lock_guard lock(mutex_);
  post_ = nullptr;
  ready_.clear();
}

Answer::Answer(Admission admission, AnswerForm form, std::shared_ptr<Waker> waker,
               std::weak_ptr<AnswerSink> sink)
    : admission_(std::move(admission)), form_(form), waker_(std::move(waker)), sink_(std::move(sink)) {}

std::shared_ptr<Exchange> Answer::handle() {
  return std::shared_ptr<Exchange>(this, [self = shared_from_this()](Exchange*) { self->abandon(); });
}

void Answer::append_head(int status, std::string_view content_type, const Headers& headers,
                         const std::string* body) {
  status_ = status;
  const bool has_body = status != 204 && status != 304;
  if (body == nullptr && !form_.may_chunk) form_.keep_alive = false;
  fmt::format_to(std::back_inserter(out_), "HTTP/1.1 {} {}\r\nDate: {}\r\n", status, reason_of(status),
                 http_date());
  if (has_body) append_header(out_, "Content-Type", content_type);
  if (has_body && body != nullptr) append_header(out_, "Content-Length", std::to_string(body->size()));
  if (has_body && body == nullptr && form_.may_chunk) append_header(out_, "Transfer-Encoding", "chunked");
  append_header(out_, "Connection", form_.keep_alive ? "keep-alive" : "close");
  for (const auto& [name, value] : admission_.answer_headers) append_header(out_, name, value);
  for (const auto& [name, value] : headers) append_header(out_, name, value);
  out_ += "\r\n";
  if (has_body && body != nullptr && !form_.is_head) out_ += *body;
}

void Answer::append_chunk(std::string_view bytes) {
  if (form_.is_head) return;
  if (form_.may_chunk)
    fmt::format_to(std::back_inserter(out_), "{:x}\r\n{}\r\n", bytes.size(), bytes);
  else
    out_ += bytes;
}

// With the lock held.
void Answer::wake() {
  if (std::exchange(is_queued_, true)) return;
  waker_->wake(sink_);
}

// With the lock held. Reaches the connection also while it waits for the client and takes nothing.
void Answer::break_off() {
  is_broken_ = true;
  is_queued_ = false;
  wake();
}

void Answer::send(Response response) {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kWaiting) return;
  append_head(response.status, response.content_type, response.headers, &response.body);
  phase_ = Phase::kDone;
  wake();
}

void Answer::start_stream(int status, std::string_view content_type, const Headers& headers) {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kWaiting) return;
  append_head(status, content_type, headers, nullptr);
  phase_ = Phase::kStreaming;
  is_broken_ = is_gone_;
  wake();
}

bool Answer::write(std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kStreaming || is_gone_) return false;
  if (bytes.empty()) return true;
  if (out_.size() + in_flight_ + bytes.size() > form_.max_queued) {
    is_slow_client_ = is_gone_ = true;
    break_off();
    return false;
  }
  append_chunk(bytes);
  wake();
  return true;
}

void Answer::finish() {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kStreaming || is_gone_) return;
  if (form_.may_chunk && !form_.is_head) out_ += "0\r\n\r\n";
  phase_ = Phase::kDone;
  wake();
}

void Answer::abandon() {
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::kDone) return;
  if (phase_ == Phase::kWaiting && !is_gone_) {
    const Response response = to_response({500, {}, "the request was given up by the server"}, request().id);
    append_head(response.status, response.content_type, {}, &response.body);
    phase_ = Phase::kDone;
    wake();
  } else {
    break_off();
  }
}

void Answer::on_close(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kDone) return;
    if (!has_called_back_) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

bool Answer::is_open() const {
  const std::lock_guard lock(mutex_);
  return phase_ != Phase::kDone && !is_gone_;
}

Answer::Progress Answer::take(std::string& bytes) {
  const std::lock_guard lock(mutex_);
  is_queued_ = false;
  bytes.clear();
  if (is_broken_) return Progress::kBroken;
  bytes.swap(out_);
  in_flight_ = bytes.size();
  return phase_ == Phase::kDone ? Progress::kComplete : Progress::kOpen;
}

void Answer::run_callbacks(std::unique_lock<std::mutex> lock) {
  has_called_back_ = true;
  std::vector<std::function<void()>> callbacks;
  callbacks.swap(callbacks_);
  const bool is_done = phase_ == Phase::kDone;
  lock.unlock();
  if (is_done) return;
  for (const auto& callback : callbacks) callback();
}

void Answer::client_left() {
  std::unique_lock lock(mutex_);
  is_gone_ = true;
  if (phase_ == Phase::kStreaming) break_off();
  run_callbacks(std::move(lock));
}

void Answer::client_gone() {
  std::unique_lock lock(mutex_);
  is_gone_ = is_broken_ = true;
  run_callbacks(std::move(lock));
}

}  // namespace llmhost::serve
