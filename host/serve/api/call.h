// One request on its way through the endpoints: who asks, how errors are worded, what is to be ended when the
// client goes, and the model and adapter that it names.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "serve/api/adapter_choice.h"
#include "serve/api/api_error.h"
#include "serve/api/context.h"
#include "serve/api/parameters.h"
#include "serve/http/exchange.h"
#include "serve/models/model_pool.h"

namespace llmhost::serve {

class Call : public std::enable_shared_from_this<Call> {
 public:
  static std::shared_ptr<Call> make(std::shared_ptr<Exchange> exchange, std::shared_ptr<ApiContext> context,
                                    ErrorStyle style);

  const HttpRequest& request() const { return exchange_->request(); }
  Exchange& exchange() { return *exchange_; }
  ApiContext& context() { return *context_; }
  ErrorStyle style() const { return style_; }
  std::chrono::steady_clock::time_point start() const { return start_; }
  Compat compat() const { return context_->options.compat; }

  // Runs it; what it throws is the answer.
  void run(const std::function<void()>& work);
  // The same for what another thread has the answer to: the work goes to a worker, so that no thread that
  // loads models or adapters renders, tokenises and compiles. Nothing is done for a client that went.
  void go_on(std::function<void()> work);
  void fail(const std::exception_ptr& error) { send_error(*exchange_, error, style_); }

  // What to do when the client goes before the answer is complete; at once when it is gone. It replaces what
  // was set before.
  void when_client_leaves(std::function<void()> action);
  // Of ModelPool::acquire, to be forgotten then; what is over already is forgotten without harm.
  void set_ticket(uint64_t ticket);

 private:
  Call(std::shared_ptr<Exchange> exchange, std::shared_ptr<ApiContext> context, ErrorStyle style);
  void client_left();

  std::shared_ptr<Exchange> exchange_;
  std::shared_ptr<ApiContext> context_;
  ErrorStyle style_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::thread::id asked_on_ = std::this_thread::get_id();
  std::mutex mutex_;
  bool is_gone_ = false;
  std::function<void()> action_;
  uint64_t ticket_ = 0;
};

// A model and, unless the base is meant, one of its adapters.
struct ModelUse {
  std::shared_ptr<ServedModel> model;
  std::shared_ptr<const engine::Adapter> adapter;
  std::string adapter_name;

  std::string shown_name() const;  // "model" or "model:adapter"
};

// Calls `next` with what is named, now or when it is loaded, on any thread; or answers why not. An empty
// name is the server's default model.
void with_model(const std::shared_ptr<Call>& call, std::string name, AdapterChoice adapter,
                std::function<void(ModelUse)> next);

}  // namespace llmhost::serve
