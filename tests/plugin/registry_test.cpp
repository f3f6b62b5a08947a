// Gate 1: what scanning finds and why it refuses. No code of a plugin runs here.
#include "plugin/registry.h"

#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "core/error.h"
#include "plugin/trust.h"

namespace fs = std::filesystem;
using llmhost::plugin::Candidate;
using llmhost::plugin::insecure_reason;
using llmhost::plugin::Kind;
using llmhost::plugin::Plugin;
using llmhost::plugin::Registry;
using llmhost::plugin::RegistryOptions;

namespace {

const fs::path kPlugins = LLMHOST_TEST_PLUGINS;

std::string file(const std::string& name) {
  return (kPlugins / (name + ".so")).string();
}

std::string refusal(const std::string& name) {
  const Registry registry(RegistryOptions{{file(name)}, false, true});
  REQUIRE(registry.candidates().size() == 1);
  return registry.candidates()[0].refusal;
}

// A folder of mode 0700, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "llmhost-plugin-test-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string refusal_in(const fs::path& folder) {
  const Registry registry(RegistryOptions{{folder.string()}, false, false});
  REQUIRE(registry.candidates().size() == 1);
  return registry.candidates()[0].refusal;
}

void copy_plugin(const std::string& name, const fs::path& to) {
  fs::copy_file(file(name), to);
  REQUIRE(::chmod(to.c_str(), 0755) == 0);
}

}  // namespace

TEST_CASE("a folder is listed with what every file says about itself") {
  const Registry registry(RegistryOptions{{kPlugins.string()}, false, true});
  const Candidate* found = nullptr;
  for (const Candidate& candidate : registry.candidates())
    if (candidate.path.filename() == "plugin_test_packaged.so") found = &candidate;
  REQUIRE(found != nullptr);
  CHECK(found->refusal == "");
  CHECK(found->origin == "--plugin-path");
  CHECK(found->manifest.kind == Kind::kArch);
  CHECK(found->manifest.id == "packaged");
  CHECK(found->manifest.version == "2.3.4");
  CHECK(found->manifest.provides == std::vector<std::string>{"packaged-model", "other-model"});
  CHECK(found->manifest.sdk_major == LLMH_SDK_MAJOR);
  CHECK(found->manifest.sdk_minor == LLMH_SDK_MINOR);
  CHECK(found->manifest.compiler != "");
  CHECK(registry.find(Kind::kArch, "packaged") == found->plugin);
  CHECK(registry.find(Kind::kBackend, "packaged") == nullptr);
}

TEST_CASE("gate 1 refuses with the reason") {
  CHECK(refusal("good") == "");
  CHECK(refusal("debug_build") == "");
  CHECK(refusal("newer_sdk") == "");
  CHECK(refusal("other_major") == "built for SDK 2, this host speaks 1");
  CHECK(refusal("newer_host") ==
        fmt::format("needs a host of SDK 1.99 or newer, this host speaks 1.{}", LLMH_SDK_MINOR));
  CHECK(refusal("sanitized").starts_with("built with the other sanitizer, this host "));
  CHECK(refusal("cpu") == "needs a CPU with 'warp9', which this one does not have");
  CHECK(refusal("typo") == "manifest line 4: unknown key 'provids'; did you mean 'provides'?");
  CHECK(refusal("garbage") == "manifest:2:1: not valid YAML: 'illegal flow end'");
  CHECK(refusal("handmade") == "the manifest has no build.sdk_major: not built by llmhost_add_plugin()");
  CHECK(refusal("no_manifest") == "no section '.llmhost': not built by llmhost_add_plugin()");
}

TEST_CASE("files that are no shared objects") {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "text.so";
  std::ofstream(path) << "just text";
  CHECK(refusal_in(folder.path()) == "not an ELF file");
  std::ofstream(path) << "";
  CHECK(refusal_in(folder.path()) == "not an ELF file");
  fs::remove(path);
  fs::copy_file("/proc/self/exe", path);
  CHECK(refusal_in(folder.path()) == "no section '.llmhost': not built by llmhost_add_plugin()");
}

TEST_CASE("the first of two plugins with one id wins and the other says so") {
  const Registry registry(RegistryOptions{{file("good"), file("a_duplicate")}, false, true});
  REQUIRE(registry.candidates().size() == 2);
  CHECK(registry.candidates()[0].refusal == "");
  CHECK(registry.candidates()[1].refusal ==
        "another plugin good of kind arch comes first on the path: " + file("good"));
  CHECK(registry.require(Kind::kArch, "good").path() == file("good"));
}

TEST_CASE("a refused plugin leaves its id to the next one on the path") {
  const TemporaryFolder folder;
  copy_plugin("good", folder.path() / "good.so");
  REQUIRE(::chmod((folder.path() / "good.so").c_str(), 0777) == 0);
  const TemporaryFolder second;
  copy_plugin("good", second.path() / "good.so");
  const Registry registry(RegistryOptions{{folder.path().string(), second.path().string()}, false, false});
  REQUIRE(registry.find(Kind::kArch, "good") != nullptr);
  CHECK(registry.find(Kind::kArch, "good")->path() == second.path() / "good.so");
}

TEST_CASE("what others may write to is refused unless allowed") {
  const TemporaryFolder folder;
  const fs::path plugin = folder.path() / "good.so";
  copy_plugin("good", plugin);
  CHECK(refusal_in(folder.path()) == "");

  REQUIRE(::chmod(plugin.c_str(), 0757) == 0);
  CHECK(refusal_in(folder.path()) ==
        plugin.string() + " is writable by everyone; use chmod go-w, or --allow-insecure-plugins");
  const Registry allowed(RegistryOptions{{folder.path().string()}, false, true});
  CHECK(allowed.candidates()[0].refusal == "");

  REQUIRE(::chmod(plugin.c_str(), 0775) == 0);
  CHECK(refusal_in(folder.path()) ==
        plugin.string() + " is writable by its group; use chmod go-w, or --allow-insecure-plugins");

  REQUIRE(::chmod(plugin.c_str(), 0755) == 0);
  REQUIRE(::chmod(folder.path().c_str(), 01777) == 0);
  CHECK(refusal_in(folder.path()) ==
        folder.path().string() + " is writable by everyone; use chmod go-w, or --allow-insecure-plugins");
}

TEST_CASE("a symbolic link is judged by what it points to, too") {
  const TemporaryFolder folder;
  const TemporaryFolder target;
  copy_plugin("good", target.path() / "real.so");
  fs::create_symlink(target.path() / "real.so", folder.path() / "good.so");
  CHECK(refusal_in(folder.path()) == "");
  REQUIRE(::chmod(target.path().c_str(), 0777) == 0);
  CHECK(refusal_in(folder.path()) ==
        target.path().string() + " is writable by everyone; use chmod go-w, or --allow-insecure-plugins");
}

TEST_CASE("a file of another user is refused" * doctest::skip(::geteuid() != 0)) {
  const TemporaryFolder folder;
  const fs::path plugin = folder.path() / "good.so";
  copy_plugin("good", plugin);
  REQUIRE(::chown(plugin.c_str(), 12345, 12345) == 0);
  CHECK(refusal_in(folder.path()) == plugin.string() + " belongs to another user (uid 12345)");
}

TEST_CASE("plugins beside the program are trusted as the program is") {
  const TemporaryFolder prefix;
  const fs::path program = prefix.path() / "bin" / "llmhost";
  const fs::path file = prefix.path() / "lib" / "good.so";
  fs::create_directories(program.parent_path());
  fs::create_directories(file.parent_path());
  copy_plugin("good", program);
  copy_plugin("good", file);
  REQUIRE(::chmod(prefix.path().c_str(), 0777) == 0);  // there the program itself can be exchanged
  CHECK(insecure_reason(file) != "");
  CHECK(insecure_reason(file, program) == "");
  REQUIRE(::chmod(file.c_str(), 0775) == 0);
  CHECK(insecure_reason(file, program) ==
        file.string() + " is writable by its group; use chmod go-w, or --allow-insecure-plugins");
  REQUIRE(::chmod(program.c_str(), 0775) == 0);
  CHECK(insecure_reason(file, program) == "");
  REQUIRE(::chmod(file.c_str(), 0777) == 0);
  CHECK(insecure_reason(file, program) ==
        file.string() + " is writable by everyone; use chmod go-w, or --allow-insecure-plugins");
  if (::geteuid() != 0) return;
  REQUIRE(::chown(file.c_str(), 12345, 12345) == 0);
  REQUIRE(::chmod(file.c_str(), 0755) == 0);
  CHECK(insecure_reason(file, program) == file.string() + " belongs to another user (uid 12345)");
  REQUIRE(::chown(program.c_str(), 12345, 12345) == 0);
  CHECK(insecure_reason(file, program) == "");
}

TEST_CASE("entries of the path must be absolute and be there") {
  const Registry registry(RegistryOptions{{"plugins", "./plugins", "", "/no/such/folder"}, false, true});
  REQUIRE(registry.candidates().size() == 4);
  for (size_t i = 0; i < 3; ++i) CHECK(registry.candidates()[i].refusal == "not an absolute path");
  CHECK(registry.candidates()[3].refusal == "no such file or folder");
}

TEST_CASE("$LLMHOST_PLUGIN_PATH is read after --plugin-path; the current folder never") {
  const TemporaryFolder folder;
  copy_plugin("good", folder.path() / "good.so");
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  REQUIRE(::setenv("LLMHOST_PLUGIN_PATH", (":relative::" + kPlugins.string()).c_str(), 1) == 0);
  const Registry registry(RegistryOptions{{}, true, true});
  ::unsetenv("LLMHOST_PLUGIN_PATH");
  const Registry without(RegistryOptions{{}, true, true});
  fs::current_path(before);
  CHECK(registry.candidates()[0].path == "relative");
  CHECK(registry.candidates()[0].refusal == "not an absolute path");
  CHECK(registry.candidates()[1].origin == "$LLMHOST_PLUGIN_PATH");
  CHECK(without.find(Kind::kArch, "good") == nullptr);
}

TEST_CASE("require names the nearest id, or why the plugin is refused") {
  const Registry registry(
      RegistryOptions{{file("good"), file("other_major"), file("garbage"), "elsewhere"}, false, true});
  CHECK_THROWS_WITH_AS(
      registry.require(Kind::kArch, "godo"),
      "no arch plugin 'godo' found; did you mean 'good'?; --plugin-path elsewhere: not an absolute path",
      llmhost::Error);
  CHECK_THROWS_WITH_AS(registry.require(Kind::kArch, "other_major"),
                       ("the arch plugin 'other_major' is refused: " + file("other_major") +
                        ": built for SDK 2, this host speaks 1")
                           .c_str(),
                       llmhost::Error);
  CHECK_THROWS_AS(registry.require(Kind::kArch, "garbage"), llmhost::Error);
}

TEST_CASE("plugins are found by what they provide, the ones that take anything last") {
  const Registry registry(RegistryOptions{{file("any_model"), file("good")}, false, true});
  const std::vector<Plugin*> found = registry.for_provides(Kind::kArch, "good-model");
  REQUIRE(found.size() == 2);
  CHECK(found[0]->id() == "good");
  CHECK(found[1]->id() == "any_model");
  CHECK(registry.for_provides(Kind::kArch, "unheard-of").size() == 1);
  CHECK(registry.for_provides(Kind::kBackend, "good-model").empty());
  CHECK(registry.all(Kind::kArch).size() == 2);
}
