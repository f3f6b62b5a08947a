#include "plugin/manifest.h"

#include <doctest/doctest.h>

#include "core/error.h"

using llmhost::plugin::Kind;
using llmhost::plugin::Manifest;
using llmhost::plugin::parse_manifest;

namespace {

const std::string kHead = "id: x\nkind: backend\nversion: 1.0.0\n";

std::string error_of(const std::string& text) {
  try {
    parse_manifest(text, "m");
  } catch (const llmhost::Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("every key of a manifest is read") {
  const Manifest m = parse_manifest(
      kHead +
          "min_host_minor: 3\nprovides: [a, b-c]\nrequires: {cpu: [avx2, fma], gpu_runtime: abc}\n"
          "variants: [\"small, large\", other]\nadapter_targets: [q_proj]\n"
          "description: \"says: what\"\nbuild: {sdk_major: 1, sdk_minor: 4, compiler: GNU 12, "
          "type: Debug, machine: x86_64, sanitizers: [address]}\n",
      "m");
  CHECK(m.kind == Kind::kBackend);
  CHECK(m.id == "x");
  CHECK(m.version == "1.0.0");
  CHECK(m.min_host_minor == 3);
  CHECK(m.provides == std::vector<std::string>{"a", "b-c"});
  CHECK(m.variants == std::vector<std::string>{"small, large", "other"});
  CHECK(m.adapter_targets == std::vector<std::string>{"q_proj"});
  CHECK(m.required_cpu == std::vector<std::string>{"avx2", "fma"});
  CHECK(m.gpu_runtime == "abc");
  CHECK(m.description == "says: what");
  CHECK(m.sdk_major == 1);
  CHECK(m.sdk_minor == 4);
  CHECK(m.compiler == "GNU 12");
  CHECK(m.build_type == "Debug");
  CHECK(m.machine == "x86_64");
  CHECK(m.sanitizers == std::vector<std::string>{"address"});
}

TEST_CASE("faults are named with their line") {
  const std::string build = "build: {sdk_major: 1, sdk_minor: 0}\n";
  CHECK(error_of("kind: arch\nversion: 1\n" + build) == "m: manifest line 1: the key 'id' is missing");
  CHECK(error_of("id: ../x\nkind: arch\nversion: 1\n" + build) ==
        "m: manifest line 1: id '../x' must be at most 64 letters, digits or . _ - +");
  CHECK(error_of("id: x\nkind: model\nversion: 1\n" + build) ==
        "m: manifest line 2: unknown kind 'model': use arch, backend or finetune");
  CHECK(error_of(kHead + "provides: a\n" + build) == "m: manifest line 4: provides must be a list: [a, b]");
  CHECK(error_of(kHead + "min_host_minor: -1\n" + build) ==
        "m: manifest line 1: min_host_minor is '-1', expected a whole number");
  CHECK(error_of(kHead + "min_host_minor: 99999999999\n" + build).ends_with("expected a whole number"));
  CHECK(error_of(kHead + "requires: {cpus: [a]}\n" + build) ==
        "m: manifest line 4: unknown key 'cpus'; did you mean 'cpu'?");
  CHECK(error_of("") == "m: manifest line 1: the manifest must be a list of 'key: value' lines");
  CHECK(error_of("- a\n- b\n") == "m: manifest line 1: the manifest must be a list of 'key: value' lines");
  CHECK(error_of(std::string(70'000, '#')) != "");
}

TEST_CASE("what a newer SDK adds is no fault") {
  CHECK(error_of(kHead + "news: x\nbuild: {sdk_major: 1, sdk_minor: 77, more: 1}\n") == "");
}
