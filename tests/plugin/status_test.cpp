#include "plugin/status.h"

#include <doctest/doctest.h>

#include <new>
#include <stdexcept>
#include <vector>

#include "llmhost/plugin.hpp"

using llmhost::Error;
using llmhost::ErrorCode;
namespace plugin = llmhost::plugin;

TEST_CASE("a status becomes an error with its origin, on one line") {
  CHECK_NOTHROW(plugin::check(nullptr, "open"));
  const Error error = plugin::take_error(plugin::new_status("abc", LLMH_NOT_FOUND, "no\nfile"), "open");
  CHECK(error.code() == ErrorCode::kNotFound);
  CHECK(std::string(error.what()) == "plugin abc: open: no file");
  CHECK(std::string(plugin::take_error(plugin::new_status("", 999, "")).what()) ==
        "failed without a message");
  CHECK(plugin::take_error(plugin::new_status("", LLMH_OK, "x")).code() == ErrorCode::kInternal);
}

TEST_CASE("a pointer that the host did not make is not read") {
  int something = 0;
  const Error error = plugin::take_error(reinterpret_cast<llmh_status*>(&something), "open");
  CHECK(std::string(error.what()) == "open: a plugin returned a status that the host did not make");
  llmh_status* once = plugin::new_status("a", LLMH_INTERNAL, "x");
  CHECK(std::string(plugin::take_error(once).what()) == "plugin a: x");
  CHECK(plugin::take_error(once).code() == ErrorCode::kInternal);
}

TEST_CASE("statuses that a plugin drops are freed in time") {
  llmh_status* first = plugin::new_status("a", LLMH_INTERNAL, "first");
  for (int i = 0; i < 2000; ++i) plugin::new_status("a", LLMH_INTERNAL, "dropped");
  // The address may have been used again, but not for this message.
  CHECK(std::string(plugin::take_error(first).what()) != "plugin a: first");
}

TEST_CASE("host functions called by plugins let no exception out") {
  CHECK(plugin::guard([] {}) == nullptr);
  const Error error =
      plugin::take_error(plugin::guard([] { throw Error(ErrorCode::kOutOfRange, "too far"); }), "add_node");
  CHECK(error.code() == ErrorCode::kOutOfRange);
  CHECK(std::string(error.what()) == "add_node: too far");
  CHECK(plugin::take_error(plugin::guard([] { throw std::bad_alloc(); })).code() ==
        ErrorCode::kResourceExhausted);
  CHECK(plugin::take_error(plugin::guard([] { throw 1; })).code() == ErrorCode::kInternal);
}

TEST_CASE("the hot path carries one message, cut to its room") {
  plugin::Call call;
  CHECK_NOTHROW(call.check(llmh::guard_code(call.get(), [] {}), "p", "run"));
  const int32_t code =
      llmh::guard_code(call.get(), [] { throw llmh::Error(LLMH_OUT_OF_RANGE, std::string(9999, 'x')); });
  try {
    call.check(code, "p", "run");
    FAIL("nothing was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kOutOfRange);
    CHECK(std::string(error.what()) == "plugin p: run: " + std::string(512, 'x'));
  }
  CHECK_THROWS_WITH(call.check((call.get(), LLMH_CANCELLED), "p", "run"), "plugin p: run: cancelled");
}
