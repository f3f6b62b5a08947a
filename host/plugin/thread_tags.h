// Checks the thread tags of the plugin boundary in builds with LLMHOST_CHECK_THREADS; costs nothing in
// others.
//
//     ControlScope scope(&arch, "llmh_arch.build");      // key: the plugin's table, the builder, …
//     EngineScope scope(instance, "llmh_backend.run");   // key: the instance
//
// [worker] and [thread-safe] functions are free to run on any thread: there is nothing to check.
// A scope lives as long as the call. A violation throws Error(kInternal) that names both functions. A call
// made from within another one on the same thread (a builder function inside build) is no violation.
#pragma once

namespace llmhost::plugin {

#ifdef LLMHOST_CHECK_THREADS

// One call at a time for one key.
class CallScope {
 public:
  CallScope(const void* key, const char* function, const char* tag);
  ~CallScope();
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

 private:
  const void* key_;
};

class ControlScope : public CallScope {
 public:
  ControlScope(const void* key, const char* function) : CallScope(key, function, "[control]") {}
};

class EngineScope : public CallScope {
 public:
  EngineScope(const void* key, const char* function) : CallScope(key, function, "[engine]") {}
};

#else

struct [[maybe_unused]] ControlScope {
  constexpr ControlScope(const void*, const char*) {}
};
struct [[maybe_unused]] EngineScope {
  constexpr EngineScope(const void*, const char*) {}
};

#endif

}  // namespace llmhost::plugin
