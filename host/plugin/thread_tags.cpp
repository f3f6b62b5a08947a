#include "plugin/thread_tags.h"

#ifdef LLMHOST_CHECK_THREADS

#include <mutex>
#include <thread>
#include <unordered_map>

#include "core/error.h"

namespace llmhost::plugin {
namespace {

struct ActiveCall {
  std::thread::id thread;
  int depth = 0;
  const char* function = nullptr;
};

struct ActiveCalls {
  std::mutex mutex;
  std::unordered_map<const void*, ActiveCall> by_key;
};

ActiveCalls& active() {
  static auto* calls = new ActiveCalls;
  return *calls;
}

}  // namespace

CallScope::CallScope(const void* key, const char* function, const char* tag) : key_(key) {
  const std::lock_guard lock(active().mutex);
  ActiveCall& call = active().by_key[key];
  if (call.depth > 0 && call.thread != std::this_thread::get_id())
    throw_error(ErrorCode::kInternal, "{} is {}: called while {} still runs on another thread", function, tag,
                call.function);
  if (call.depth++ == 0) {
    call.thread = std::this_thread::get_id();
    call.function = function;
  }
}

CallScope::~CallScope() {
  const std::lock_guard lock(active().mutex);
  const auto call = active().by_key.find(key_);
  if (--call->second.depth == 0) active().by_key.erase(call);
}

}  // namespace llmhost::plugin

#endif
