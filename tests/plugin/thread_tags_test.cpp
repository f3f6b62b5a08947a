#include "plugin/thread_tags.h"

#include <doctest/doctest.h>

#include <string>
#include <thread>

#include "core/error.h"

using namespace llmhost::plugin;

namespace {

template <typename Fn>
std::string error_on_another_thread(Fn fn) {
  std::string message;
  std::thread([&] {
    try {
      fn();
    } catch (const llmhost::Error& error) {
      message = error.what();
    }
  }).join();
  return message;
}

}  // namespace

TEST_CASE("a second [control] call on another thread is named with the first") {
  const int plugin = 0;
  const int other = 0;
  {
    const ControlScope build(&plugin, "llmh_arch.build");
    const ControlScope nested(&plugin, "llmh_builder.add_node");
    CHECK(error_on_another_thread([&] { ControlScope scope(&plugin, "llmh_arch.open"); }) ==
          "llmh_arch.open is [control]: called while llmh_arch.build still runs on another thread");
    CHECK(error_on_another_thread([&] { ControlScope scope(&other, "llmh_arch.open"); }) == "");
  }
  CHECK(error_on_another_thread([&] { ControlScope scope(&plugin, "llmh_arch.open"); }) == "");
}

TEST_CASE("[engine] is one call for one instance") {
  const int instance = 0;
  const int other = 0;
  const EngineScope run(&instance, "llmh_backend.run");
  CHECK(error_on_another_thread([&] { EngineScope scope(&other, "llmh_backend.run"); }) == "");
  CHECK(error_on_another_thread([&] { EngineScope scope(&instance, "llmh_backend.run"); }) ==
        "llmh_backend.run is [engine]: called while llmh_backend.run still runs on another thread");
}
