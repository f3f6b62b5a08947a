// The conformance kit: whether a plugin keeps what the SDK's headers say, and whether its numbers are right.
// Every case runs in a process of its own, so that a crash or an endless loop fails that case and nothing
// else.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/config.h"
#include "plugin/registry.h"

namespace llmhost::check {

struct CheckOptions {
  std::filesystem::path plugin;             // absolute
  std::filesystem::path model;              // a checkpoint to run; empty: checks without a model alone
  std::filesystem::path expected;           // what a reference computed for it (expected.h); empty: none
  std::string only;                         // part of the names of the cases to run; empty: all
  double timeout_seconds = 60;              // of one case
  plugin::RegistryOptions other_plugins{};  // where the backend (or architecture) to run with is found
};

struct CaseResult {
  std::string name;  // "group.case"
  bool ok = false;
  bool skipped = false;  // nothing to check here; ok
  std::string message;   // one line: what is wrong, or what was seen; may be empty when ok
  double seconds = 0;
};

// Runs every case that fits the plugin's kind and what is there to run it with, in order. `report` is called
// after each. Call it from a process without threads. [control]
std::vector<CaseResult> check_plugin(const CheckOptions& options, const Settings& settings,
                                     const std::function<void(const CaseResult&)>& report = {});

}  // namespace llmhost::check
