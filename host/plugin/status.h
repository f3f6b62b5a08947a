// Errors across the plugin boundary, both ways. The host makes every llmh_status; one that a plugin drops
// instead of returning is freed later (the newest 1024 stay valid), and a pointer that the host never made is
// refused, not read.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "llmhost/plugin.h"

namespace llmhost::plugin {

// A new status. `source` is the id of the plugin that reports it; empty when the host does. Never null.
// [thread-safe]
llmh_status* new_status(std::string_view source, int32_t code, std::string_view message) noexcept;

// The exception in flight as a status made by the host; for catch (...) in functions that plugins call.
llmh_status* status_of_current_exception() noexcept;

// For host functions called by plugins (builder, sinks): what fn throws becomes a status; null on success.
template <typename Fn>
llmh_status* guard(Fn&& fn) noexcept {
  try {
    std::forward<Fn>(fn)();
    return nullptr;
  } catch (...) {
    return status_of_current_exception();
  }
}

// Frees the status and gives its content as an Error: "plugin <id>: <context>: <message>"; parts that are
// empty are left out, and an error that the host itself reported to the plugin has no "plugin <id>".
Error take_error(llmh_status* status, std::string_view context = {});

// Throws take_error() unless the status is null.
inline void check(llmh_status* status, std::string_view context = {}) {
  if (status != nullptr) throw take_error(status, context);
}

// The context of one call on the hot path, with room for its message. Reusable; not shared between threads.
class Call {
 public:
  explicit Call(const volatile int32_t* cancel = nullptr);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  llmh_call* get();
  // Throws "plugin <id>: <context>: <message>" unless `code` is LLMH_OK; forgets the message.
  void check(int32_t code, std::string_view plugin_id, std::string_view context);

 private:
  std::array<char, 512> message_{};
  llmh_call call_{};
};

// For host functions on the hot path that plugins call: leaves the exception in flight in `call`, returns its
// code.
int32_t code_of_current_exception(llmh_call* call) noexcept;

}  // namespace llmhost::plugin
