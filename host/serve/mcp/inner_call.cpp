#include "serve/mcp/inner_call.h"

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "serve/http/errors.h"
#include "serve/http/gate.h"
#include "serve/http/target.h"

namespace llmhost::serve::mcp {
namespace {

// Collects the answer of a handler.
class InnerExchange final : public Exchange {
 public:
  InnerExchange(HttpRequest request, std::function<void(int64_t)> charge_tokens,
                std::function<void(Response)> answered)
      : request_(std::move(request)),
        charge_tokens_(std::move(charge_tokens)),
        answered_(std::move(answered)) {}

  const HttpRequest& request() const override { return request_; }

  void send(Response response) override {
    if (auto answered = take()) answered(std::move(response));
  }
  void start_stream(int status, std::string_view content_type, const Headers&) override {
    const std::lock_guard lock(mutex_);
    streamed_.status = status;
    streamed_.content_type = content_type;
  }
  bool write(std::string_view bytes) override {
    const std::lock_guard lock(mutex_);
    streamed_.body += bytes;
    return answered_ != nullptr;
  }
  void finish() override {
    if (auto answered = take()) answered(std::move(streamed_));
  }
  void on_close(std::function<void()> callback) override {
    {
      const std::lock_guard lock(mutex_);
      if (!is_given_up_) {
        on_close_ = std::move(callback);
        return;
      }
    }
    callback();
  }
  bool is_open() const override {
    const std::lock_guard lock(mutex_);
    return answered_ != nullptr;
  }
  void charge_tokens(int64_t tokens) override {
    if (charge_tokens_) charge_tokens_(tokens);
  }

  void give_up() {
    std::function<void()> callback;
    {
      const std::lock_guard lock(mutex_);
      if (answered_ == nullptr) return;
      is_given_up_ = true;
      callback = std::move(on_close_);
      answered_ = nullptr;
    }
    if (callback) callback();
  }

 private:
  std::function<void(Response)> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(answered_, nullptr);
  }

  const HttpRequest request_;
  const std::function<void(int64_t)> charge_tokens_;
  mutable std::mutex mutex_;
  std::function<void(Response)> answered_;
  std::function<void()> on_close_;
  Response streamed_;
  bool is_given_up_ = false;
};

Response refusal(int status, std::string message) {
  HttpError error;
  error.status = status;
  error.message = std::move(message);
  return to_response(error, new_request_id());
}

}  // namespace

std::function<void()> call_route(const Router& router, const EndpointCall& call, const Requester& from,
                                 std::function<void(Response)> answered) {
  TargetResult parsed = parse_target(call.path);
  Router::Match match;
  if (parsed.error.empty()) match = router.match(call.method, parsed.target.segments);
  if (match.route == nullptr) {
    answered(refusal(404, "there is no such endpoint"));
    return [] {};
  }
  if (!from.caller.may(match.route->scope)) {
    answered(refusal(403, "this key may not use it"));
    return [] {};
  }
  HttpRequest request;
  request.id = new_request_id();
  request.method = call.method;
  request.path = parsed.target.path();
  request.query = std::move(parsed.target.query);
  request.parameters = std::move(match.parameters);
  request.headers = {{"content-type", "application/json"}};
  request.body = call.body;
  request.caller = from.caller;
  auto exchange =
      std::make_shared<InnerExchange>(std::move(request), from.charge_tokens, std::move(answered));
  match.route->handler(exchange);
  return [exchange] { exchange->give_up(); };
}

}  // namespace llmhost::serve::mcp
