// Gate 2: loading, negotiation and init; each fault is answered with its own reason.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <memory>

#include "core/error.h"
#include "plugin/registry.h"
#include "plugin/status.h"

using llmhost::plugin::Kind;
using llmhost::plugin::Plugin;
using llmhost::plugin::Registry;
using llmhost::plugin::RegistryOptions;

namespace {

std::string file(const std::string& name) {
  return std::string(LLMHOST_TEST_PLUGINS) + "/" + name + ".so";
}

Plugin& plugin(const std::string& name) {
  static std::vector<std::unique_ptr<Registry>> registries;
  registries.push_back(std::make_unique<Registry>(RegistryOptions{{file(name)}, false, true}));
  REQUIRE_MESSAGE(registries.back()->candidates()[0].plugin != nullptr,
                  registries.back()->candidates()[0].refusal);
  return *registries.back()->candidates()[0].plugin;
}

// The reason without the "plugin <id> (<path>): " that every load error begins with.
std::string load_error(const std::string& name) {
  const std::string prefix = fmt::format("plugin {} ({}): ", name, file(name));
  try {
    plugin(name).load();
  } catch (const llmhost::Error& error) {
    REQUIRE(std::string_view(error.what()).starts_with(prefix));
    return std::string(error.what()).substr(prefix.size());
  }
  return "";
}

}  // namespace

TEST_CASE("a good plugin loads, negotiates and answers") {
  Plugin& good = plugin("good");
  CHECK_NOTHROW(good.load());
  CHECK_NOTHROW(good.load());
  CHECK(good.minor() == LLMH_SDK_MINOR);
  const llmh_arch& table = llmhost::plugin::arch(good);
  CHECK(table.match(nullptr) == LLMH_MATCH_NONE);
  CHECK(good.extension("no.such/1") == nullptr);
  CHECK_THROWS_WITH_AS(llmhost::plugin::check(table.open(nullptr, nullptr), "open"),
                       "plugin good: open: sample models cannot be opened", llmhost::Error);
}

TEST_CASE("a plugin of a newer minor that asks for no newer host works with the host's minor") {
  CHECK(plugin("newer_sdk").minor() == LLMH_SDK_MINOR);
}

TEST_CASE("the packaging of the SDK makes a plugin that loads") {
  Plugin& packaged = plugin("plugin_test_packaged");
  CHECK_NOTHROW(llmhost::plugin::arch(packaged));
}

TEST_CASE("gate 2 refuses with the reason") {
  CHECK(load_error("symbol_of_v2") == "built for SDK 2, this host speaks 1");
  CHECK(load_error("no_symbol") ==
        "does not export llmhost_plugin_v1: define it with LLMH_PLUGIN or LLMH_DEFINE_PLUGIN");
  CHECK(load_error("truncated") == "its llmh_plugin table has 16 bytes, at least 72 are needed");
  CHECK(load_error("newer_table") ==
        fmt::format("needs a host of SDK 1.7 or newer, this host speaks 1.{}", LLMH_SDK_MINOR));
  CHECK(load_error("other_kind") == "its table says kind 2, its manifest 1 (arch)");
  CHECK(load_error("other_id") == "its table says id 'somebody', its manifest 'other_id'");
  CHECK(load_error("missing_library") ==
        "cannot be loaded: libgone.so: cannot open shared object file: No such file or directory");
}

TEST_CASE("a failing init is reported, and again without a second try") {
  for (int i = 0; i < 2; ++i) {
    CHECK(load_error("init_error") == "init failed: plugin init_error: no such device; switch it on");
    CHECK(load_error("init_guarded") == "init failed: plugin init_guarded: thrown in init");
    CHECK(load_error("init_throw") == "threw an exception out of init; errors must be returned as a status");
  }
}

TEST_CASE("tables of an interface are checked before use") {
  using llmhost::plugin::arch;
  const auto at = [](const std::string& name) { return fmt::format("plugin {} ({}): ", name, file(name)); };
  CHECK_THROWS_WITH(arch(plugin("null_slot")),
                    (at("null_slot") + "its table llmhost.arch/1 has no function 'build'").c_str());
  CHECK_THROWS_WITH(
      arch(plugin("short_interface")),
      (at("short_interface") + "its table llmhost.arch/1 has 24 bytes, at least 56 are needed").c_str());
  CHECK_THROWS_WITH(arch(plugin("no_interface")),
                    (at("no_interface") + "does not offer the interface llmhost.arch/1").c_str());
  CHECK_THROWS_WITH(llmhost::plugin::backend(plugin("good")),
                    (at("good") + "is of kind arch, one of kind backend is needed").c_str());
}

TEST_CASE("a load that dies names the plugin") {
  Plugin& bad = plugin("init_abort");
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    std::signal(SIGABRT, SIG_DFL);  // doctest's own handler would report on the child as well
    bad.load();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string output;
  std::array<char, 1024> buffer{};
  for (ssize_t n = 0; (n = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
    output.append(buffer.data(), static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK(output ==
        fmt::format("llmhost: plugin init_abort ({}) crashed while being loaded\n", file("init_abort")));
}

TEST_CASE("host extensions reach plugins by id") {
  static const int table = 1;
  Plugin& good = plugin("good");
  CHECK(good.extension("test.extension/1") == nullptr);
  llmhost::plugin::register_host_extension("test.extension/1", &table);
  CHECK(good.extension("test.extension/1") == &table);
  CHECK(good.extension("test.extension/2") == nullptr);
}
