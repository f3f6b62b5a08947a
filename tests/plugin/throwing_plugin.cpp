// A C++ plugin whose init throws: bare, which no plugin may do, or through the SDK's guard.
#include "llmhost/plugin.hpp"

namespace {

[[noreturn]] void fail() {
  throw llmh::Error(LLMH_UNAVAILABLE, "thrown in init");
}

llmh_status* init(const llmh_host* host) {
  llmh::set_host(host);
#ifdef SAMPLE_GUARDED
  return llmh::guard([] { fail(); });
#else
  fail();
#endif
}

const void* get_extension(llmh_str) {
  return nullptr;
}

}  // namespace

LLMH_PLUGIN(LLMH_KIND_ARCH, init, nullptr, get_extension);
