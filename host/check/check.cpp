#include "check/check.h"

#include <dlfcn.h>

#include "check/cases.h"
#include "check/child.h"
#include "core/error.h"
#include "llmhost/backend.h"
#include "llmhost/finetune.h"

namespace llmhost::check {
namespace {

Cases cases_of(const Subject& subject) {
  Cases cases;
  add_binary_cases(subject, cases);
  if (!plugin::manifest_refusal(subject.manifest).empty()) return cases;
  add_life_cases(subject, cases);
  if (subject.manifest.kind == plugin::Kind::kArch) add_arch_cases(subject, cases);
  if (subject.manifest.kind == plugin::Kind::kBackend) add_backend_cases(subject, cases);
  if (subject.manifest.kind == plugin::Kind::kFinetune) add_finetune_cases(subject, cases);
  const bool runs_models = subject.manifest.kind != plugin::Kind::kFinetune;
  if (subject.options.model.empty() || !runs_models) return cases;
  if (subject.manifest.kind == plugin::Kind::kArch) add_structure_cases(subject, cases);
  add_number_cases(subject, cases);
  return cases;
}

}  // namespace

std::unique_ptr<plugin::Registry> own_registry(const Subject& subject) {
  plugin::RegistryOptions options;
  options.plugin_path = {subject.options.plugin.string()};
  options.use_default_path = false;
  options.allow_insecure = true;  // the user names the file
  options.arch_path = subject.options.other_plugins.arch_path;
  return std::make_unique<plugin::Registry>(options);
}

const llmh_plugin& raw_table(const Subject& subject) {
  void* library = ::dlopen(subject.options.plugin.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw_error(ErrorCode::kFailedPrecondition, "cannot be loaded: {}", ::dlerror());
  const void* table = ::dlsym(library, LLMH_PLUGIN_SYMBOL);
  if (table == nullptr) throw_error(ErrorCode::kFailedPrecondition, "does not export {}", LLMH_PLUGIN_SYMBOL);
  return *static_cast<const llmh_plugin*>(table);
}

const char* main_interface(plugin::Kind kind) {
  if (kind == plugin::Kind::kBackend) return LLMH_BACKEND_INTERFACE;
  return kind == plugin::Kind::kFinetune ? LLMH_FINETUNE_INTERFACE : LLMH_ARCH_INTERFACE;
}

std::vector<CaseResult> check_plugin(const CheckOptions& options, const Settings& settings,
                                     const std::function<void(const CaseResult&)>& report) {
  std::vector<CaseResult> results;
  const auto add = [&](CaseResult result) {
    if (report) report(result);
    results.push_back(std::move(result));
  };
  Subject subject{options, settings, {}};
  try {
    subject.manifest = plugin::read_manifest(options.plugin);
  } catch (const Error& error) {
    add({"binary.manifest", false, false, error.what(), 0});
    return results;
  }
  for (const Case& one : cases_of(subject)) {
    if (one.name.find(options.only) == std::string::npos) continue;
    ChildOutcome outcome = run_in_child(one.run, options.timeout_seconds);
    add({one.name, outcome.ok, outcome.skipped, std::move(outcome.message), outcome.seconds});
  }
  return results;
}

}  // namespace llmhost::check
