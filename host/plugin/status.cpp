#include "plugin/status.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <new>

struct llmh_status {
  std::string source;  // id of the plugin that reported it; empty: the host
  int32_t code = LLMH_INTERNAL;
  std::string message;
};

namespace llmhost::plugin {
namespace {

constexpr size_t kMaxLive = 1024;

// Statuses made and not yet taken. Never destroyed: plugins may still report errors while the process ends.
struct LiveStatuses {
  std::mutex mutex;
  std::deque<std::unique_ptr<llmh_status>> list;
};

LiveStatuses& live() {
  static auto* statuses = new LiveStatuses;
  return *statuses;
}

llmh_status* out_of_memory() {
  static auto* status = new llmh_status{"", LLMH_RESOURCE_EXHAUSTED, "out of memory"};
  return status;
}
const llmh_status* const kMadeEarly = out_of_memory();

ErrorCode error_code(int32_t code) {
  return code > LLMH_OK && code <= LLMH_DATA_LOSS ? static_cast<ErrorCode>(code) : ErrorCode::kInternal;
}

// One line, whatever the plugin wrote.
std::string one_line(std::string_view text) {
  std::string line(text);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return line;
}

std::string with_origin(std::string_view source, std::string_view context, std::string_view message) {
  std::string line;
  if (!source.empty()) line = fmt::format("plugin {}: ", source);
  if (!context.empty()) line += fmt::format("{}: ", context);
  return line += one_line(message);
}

}  // namespace

llmh_status* new_status(std::string_view source, int32_t code, std::string_view message) noexcept {
  try {
    auto status = std::make_unique<llmh_status>();
    status->source = source;
    status->code = static_cast<int32_t>(error_code(code));
    status->message = message.empty() ? "failed without a message" : message;
    llmh_status* result = status.get();
    const std::lock_guard lock(live().mutex);
    live().list.push_back(std::move(status));
    if (live().list.size() > kMaxLive) live().list.pop_front();
    return result;
  } catch (...) {
    return out_of_memory();
  }
}

llmh_status* status_of_current_exception() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return new_status({}, static_cast<int32_t>(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    return new_status({}, LLMH_RESOURCE_EXHAUSTED, "out of memory");
  } catch (const std::exception& error) {
    return new_status({}, LLMH_INTERNAL, error.what());
  } catch (...) {
    return new_status({}, LLMH_INTERNAL, "an exception of unknown type");
  }
}

Error take_error(llmh_status* status, std::string_view context) {
  if (status == kMadeEarly)
    return Error(ErrorCode::kResourceExhausted, with_origin({}, context, "out of memory"));
  std::unique_ptr<llmh_status> owned;
  {
    const std::lock_guard lock(live().mutex);
    auto& list = live().list;
    const auto found =
        std::find_if(list.rbegin(), list.rend(), [&](const auto& s) { return s.get() == status; });
    if (found != list.rend()) {
      owned = std::move(*found);
      list.erase(std::next(found).base());
    }
  }
  if (!owned)
    return Error(ErrorCode::kInternal,
                 with_origin({}, context, "a plugin returned a status that the host did not make"));
  return Error(error_code(owned->code), with_origin(owned->source, context, owned->message));
}

Call::Call(const volatile int32_t* cancel) {
  call_.struct_size = sizeof(llmh_call);
  call_.message = message_.data();
  call_.message_capacity = static_cast<uint32_t>(message_.size());
  call_.cancel = cancel;
}

llmh_call* Call::get() {
  call_.message_len = 0;
  return &call_;
}

void Call::check(int32_t code, std::string_view plugin_id, std::string_view context) {
  if (code == LLMH_OK) return;
  const size_t length = std::min(static_cast<size_t>(call_.message_len), message_.size());
  std::string_view message(message_.data(), length);
  if (message.empty()) message = code == LLMH_CANCELLED ? "cancelled" : "failed without a message";
  throw Error(error_code(code), with_origin(plugin_id, context, message));
}

int32_t code_of_current_exception(llmh_call* call) noexcept {
  const auto leave = [call](ErrorCode code, std::string_view message) {
    if (call != nullptr && call->message != nullptr) {
      const size_t length = std::min(message.size(), static_cast<size_t>(call->message_capacity));
      std::copy_n(message.data(), length, call->message);
      call->message_len = static_cast<uint32_t>(length);
    }
    return static_cast<int32_t>(code);
  };
  try {
    throw;
  } catch (const Error& error) {
    return leave(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return leave(ErrorCode::kResourceExhausted, "out of memory");
  } catch (const std::exception& error) {
    return leave(ErrorCode::kInternal, error.what());
  } catch (...) {
    return leave(ErrorCode::kInternal, "an exception of unknown type");
  }
}

}  // namespace llmhost::plugin
