// Everything that is decided about a request from its head, before its body is read: is the address sound,
// may this host and page ask, whose key is it, which route, is it too soon. No sockets here.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "serve/http/access.h"
#include "serve/http/errors.h"
#include "serve/http/exchange.h"
#include "serve/http/framing.h"
#include "serve/http/router.h"

namespace llmhost::serve {

// A request that counts against its key until it is released or gone.
class Slot {
 public:
  Slot() = default;
  Slot(std::shared_ptr<Access> access, size_t key) : access_(std::move(access)), key_(key), is_held_(true) {}
  ~Slot() { release(); }
  Slot(Slot&& other) noexcept
      : access_(std::move(other.access_)), key_(other.key_), is_held_(std::exchange(other.is_held_, false)) {}
  Slot& operator=(Slot&& other) noexcept {
    std::swap(access_, other.access_);
    std::swap(key_, other.key_);
    std::swap(is_held_, other.is_held_);
    return *this;
  }
  void release() {
    if (std::exchange(is_held_, false)) access_->release(key_);
  }
  // Also after release: what was used is known last.
  void charge_tokens(int64_t tokens) const {
    if (access_ != nullptr) access_->charge_tokens(key_, tokens);
  }

 private:
  std::shared_ptr<Access> access_;
  size_t key_ = 0;
  bool is_held_ = false;
};

struct Admission {
  HttpRequest request;           // all but the body
  const Route* route = nullptr;  // null: the answer is `refusal`
  Response refusal;
  Slot slot;
  Headers answer_headers;       // of any answer to this request
  std::string label = "other";  // for logs and metrics: the route's pattern
};

class Gate {
 public:
  Gate(std::shared_ptr<const Router> router, std::shared_ptr<Access> access, OriginPolicy policy);

  Admission admit(RequestHead head, std::string id) const;  // [thread-safe]

  void set_draining() { is_draining_ = true; }  // [thread-safe]
  bool is_draining() const { return is_draining_; }
  const std::shared_ptr<Access>& access() const { return access_; }

 private:
  using Refusal = std::optional<HttpError>;
  Refusal check_origin(const RequestHead& head, Admission& admission) const;
  Refusal check_caller(const RequestHead& head, Router::Match match, Admission& admission) const;
  bool is_preflight(const RequestHead& head, Admission& admission) const;

  std::shared_ptr<const Router> router_;
  std::shared_ptr<Access> access_;
  OriginPolicy policy_;
  std::atomic<bool> is_draining_{false};
};

// "req-" and 16 hex digits, not to be guessed from another.
std::string new_request_id();

}  // namespace llmhost::serve
