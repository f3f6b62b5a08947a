// C++ over plugin.h: exceptions inside the plugin, status objects outside. Header-only, C++20, standard
// library only.
//
// A plugin throws llmh::Error anywhere in its own code; each function of its tables is wrapped in guard()
// (or, on the hot path, guard_code()), which lets nothing out. Host functions are called through check(),
// which throws what they return; guard() hands such an error back unchanged. Exceptions, memory and std types
// stay on this side.
//
//     llmh_status* open(const llmh_model* model, llmh_arch_model** out) noexcept {
//       return llmh::guard([&] { *out = new Model(*model); });
//     }
//     LLMH_DEFINE_PLUGIN(LLMH_KIND_ARCH, LLMH_ARCH_INTERFACE, &table)
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "llmhost/plugin.h"

namespace llmh {

// --- Strings
// ----------------------------------------------------------------------------------------------------

// Does not copy: the result lives as long as what `text` refers to. [thread-safe]
inline llmh_str str(std::string_view text) noexcept {
  return {text.data(), text.size()};
}

// The same way back; {NULL, 0} becomes the empty view.
inline std::string_view view(llmh_str text) noexcept {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, static_cast<size_t>(text.len));
}

// --- Structs that grow
// ------------------------------------------------------------------------------------------

// A copy to keep of a struct with struct_size: the fields that its writer knows, the rest 0. An assignment would read
// past the end of an older writer's struct. [thread-safe]
template <typename T>
T copy_struct(const T& from) noexcept {
  T copy{};
  const size_t size = std::min<size_t>(from.struct_size, sizeof copy);
  std::memcpy(&copy, &from, size);
  copy.struct_size = static_cast<uint32_t>(size);  // LLMH_HAS tells what was there
  return copy;
}

// --- The host
// ---------------------------------------------------------------------------------------------------

namespace detail {
// Hidden, so that no two plugins of one process ever share it.
__attribute__((visibility("hidden"))) inline const llmh_host* host_pointer = nullptr;
}  // namespace detail

// The host's table; null before init, then valid until the process ends. Never freed by the plugin. [thread-safe]
inline const llmh_host* host() noexcept {
  return detail::host_pointer;
}

// Keeps the host's table. LLMH_DEFINE_PLUGIN calls it; a plugin with its own init calls it first. [control]
inline void set_host(const llmh_host* host) noexcept {
  detail::host_pointer = host;
}

// One log line, copied; the host adds the plugin's id. `level` is LLMH_LOG_*. Before init it is dropped. [thread-safe]
inline void log(int32_t level, std::string_view message) noexcept {
  if (host() != nullptr) host()->log(host(), level, str(message));
}

// A host extension, e.g. extension<llmh_reference>(LLMH_REFERENCE_EXTENSION), or null. [thread-safe]
template <typename Table>
const Table* extension(std::string_view id) noexcept {
  return host() == nullptr ? nullptr : static_cast<const Table*>(host()->get_extension(host(), str(id)));
}

// --- Errors
// -----------------------------------------------------------------------------------------------------

// One line: what is wrong, where, what to do. `code` is LLMH_INVALID_ARGUMENT and its like.
class Error : public std::runtime_error {
 public:
  Error(int32_t code, const std::string& message) : std::runtime_error(message), code_(code) {}
  int32_t code() const noexcept { return code_; }

 private:
  int32_t code_;
};

// An error that a host function returned. It belongs to the host: let it pass through guard() rather than
// keep it.
class StatusError : public std::exception {
 public:
  explicit StatusError(llmh_status* status) noexcept : status_(status) {}
  llmh_status* status() const noexcept { return status_; }
  const char* what() const noexcept override { return "error returned by a host function"; }

 private:
  llmh_status* status_;
};

// Throws what a host function returned, if it is an error. For plugin code below guard(). [thread-safe]
inline void check(llmh_status* status) {
  if (status != nullptr) throw StatusError(status);
}

// An error for the host, which owns it from then on: return it, do not keep it. `message` is copied. [thread-safe]
inline llmh_status* new_status(int32_t code, std::string_view message) noexcept {
  return host()->status_new(host(), code, str(message));
}

// Runs fn and turns whatever it throws into a status; null on success. Nothing escapes. What fn made before it threw is
// fn's to free: hold it in owners (std::unique_ptr) and release() into the out parameter last.
template <typename Fn>
llmh_status* guard(Fn&& fn) noexcept {
  try {
    std::forward<Fn>(fn)();
    return nullptr;
  } catch (const StatusError& error) {
    return error.status();
  } catch (const Error& error) {
    return new_status(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return new_status(LLMH_RESOURCE_EXHAUSTED, "out of memory");
  } catch (const std::exception& error) {
    return new_status(LLMH_INTERNAL, error.what());
  } catch (...) {
    return new_status(LLMH_INTERNAL, "an exception of unknown type");
  }
}

// Leaves `message` in the call context, cut to its capacity, and returns `code`. No allocation. [thread-safe]
inline int32_t fail(llmh_call* call, int32_t code, std::string_view message) noexcept {
  if (call != nullptr && call->message != nullptr) {
    const size_t length = std::min(message.size(), static_cast<size_t>(call->message_capacity));
    if (length > 0) std::memcpy(call->message, message.data(), length);
    call->message_len = static_cast<uint32_t>(length);
  }
  return code == LLMH_OK ? LLMH_INTERNAL : code;
}

// For the hot path: runs fn and turns whatever it throws into a code, with the message in `call`. The way of success
// allocates nothing. StatusError is not expected here: host functions that return a status are [control].
template <typename Fn>
int32_t guard_code(llmh_call* call, Fn&& fn) noexcept {
  try {
    std::forward<Fn>(fn)();
    return LLMH_OK;
  } catch (const Error& error) {
    return fail(call, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(call, LLMH_RESOURCE_EXHAUSTED, "out of memory");
  } catch (const std::exception& error) {
    return fail(call, LLMH_INTERNAL, error.what());
  } catch (...) {
    return fail(call, LLMH_INTERNAL, "an exception of unknown type");
  }
}

// Whether the host wants this call to end soon with LLMH_CANCELLED. Cheap: one load. [thread-safe]
inline bool is_cancelled(const llmh_call* call) noexcept {
  return call != nullptr && call->cancel != nullptr && *call->cancel != 0;
}

}  // namespace llmh

// Defines the exported table of a plugin with one interface and nothing of its own to initialise. At file scope,
// outside every namespace, once a plugin. `interface_ptr` has static lifetime.
#define LLMH_DEFINE_PLUGIN(kind, interface_id, interface_ptr)              \
  static llmh_status* llmh_plugin_init(const llmh_host* host) {            \
    ::llmh::set_host(host);                                                \
    return nullptr;                                                        \
  }                                                                        \
  static const void* llmh_plugin_get_extension(llmh_str id) {              \
    return ::llmh::view(id) == (interface_id) ? (interface_ptr) : nullptr; \
  }                                                                        \
  LLMH_PLUGIN(kind, &llmh_plugin_init, nullptr, &llmh_plugin_get_extension)
