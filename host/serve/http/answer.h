// The exchange behind a handler: what any thread writes is gathered here and taken by the I/O thread, in
// wire form. However many answers get bytes between two turns of the I/O thread, it is woken once.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "serve/http/exchange.h"
#include "serve/http/gate.h"

namespace llmhost::serve {

// Gets told on the I/O thread that an answer has something to take.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  virtual void on_ready() = 0;
};

class Waker {
 public:
  // `post` makes the I/O thread call drain soon.
  explicit Waker(std::function<void()> post) : post_(std::move(post)) {}

  void wake(std::weak_ptr<AnswerSink> sink);  // [thread-safe]
  void drain();                               // [I/O thread]
  void detach();                              // the I/O thread ends: wake does nothing from now on

 private:
  std::mutex mutex_;
  std::function<void()> post_;
  std::vector<std::weak_ptr<AnswerSink>> ready_;
  std::vector<std::weak_ptr<AnswerSink>> draining_;  // keeps its memory
};

struct AnswerForm {
  bool is_head = false;   // a HEAD request: no body
  bool may_chunk = true;  // HTTP/1.1
  bool keep_alive = true;
  size_t max_queued = 1 << 20;  // bytes of a stream that wait for the client
};

class Answer final : public Exchange, public std::enable_shared_from_this<Answer> {
 public:
  Answer(Admission admission, AnswerForm form, std::shared_ptr<Waker> waker, std::weak_ptr<AnswerSink> sink);

  const HttpRequest& request() const override { return admission_.request; }
  void send(Response response) override;
  void start_stream(int status, std::string_view content_type, const Headers& headers) override;
  bool write(std::string_view bytes) override;
  void finish() override;
  void on_close(std::function<void()> callback) override;
  bool is_open() const override;
  void charge_tokens(int64_t tokens) override { admission_.slot.charge_tokens(tokens); }

  // What a handler holds: when it drops the last of it without a complete answer, the client gets an error.
  std::shared_ptr<Exchange> handle();
  const Handler& handler() const { return admission_.route->handler; }
  bool is_at_once() const { return admission_.route->at_once; }

  // The rest is for the I/O thread.
  enum class Progress { kOpen, kComplete, kBroken };
  // Swaps out the bytes to send; those of the call before are sent. Broken: close without an end.
  Progress take(std::string& bytes);
  void mark_sent() { in_flight_ = 0; }
  // The client sends no more: on_close is called. A whole answer is still taken, a stream breaks.
  void client_left();
  // Nothing can be sent any more.
  void client_gone();
  void release_slot() { admission_.slot.release(); }
  bool is_broken() const { return is_broken_; }
  bool keep_alive() const { return form_.keep_alive; }
  bool is_slow_client() const { return is_slow_client_; }
  int status() const { return status_; }  // 0: not begun
  const std::string& label() const { return admission_.label; }

 private:
  enum class Phase { kWaiting, kStreaming, kDone };

  void abandon();
  void append_head(int status, std::string_view content_type, const Headers& headers,
                   const std::string* body);
  void append_chunk(std::string_view bytes);
  void wake();
  void break_off();
  void run_callbacks(std::unique_lock<std::mutex> lock);

  Admission admission_;
  AnswerForm form_;
  std::shared_ptr<Waker> waker_;
  std::weak_ptr<AnswerSink> sink_;

  mutable std::mutex mutex_;
  Phase phase_ = Phase::kWaiting;
  bool is_gone_ = false;  // the client, or it is too slow

  bool has_called_back_ = false;
  bool is_queued_ = false;  // at the waker
  std::string out_;
  std::vector<std::function<void()>> callbacks_;
  std::atomic<bool> is_broken_{false};
  std::atomic<bool> is_slow_client_{false};
  std::atomic<size_t> in_flight_{0};  // taken, not yet with the kernel
  std::atomic<int> status_{0};
};

}  // namespace llmhost::serve
