// llmhost check: the conformance kit on one plugin. Exit 1 when a case fails.
#include "check/check.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "cli/command.h"
#include "cli/support.h"
#include "core/error.h"

namespace llmhost::cli {
namespace {

class CheckCommand final : public Command {
 public:
  std::string name() const override { return "check"; }
  std::string summary() const override { return "Check a plugin against the SDK's contract and a reference"; }

  void declare(Options& options) override {
    options.positional("PLUGIN", plugin_, "The plugin's .so file");
    options.value("--model", model_, "Model folder, safetensors or GGUF file to run it with");
    options.value("--expected", expected_,
                  "Safetensors file with the logits of a reference (docs/plugins.md)");
    options.value("--only", only_, "Only cases with this in their name");
    options.value("--timeout", timeout_, "Seconds that one case may take");
    options.setting("--threads", "engine.threads");
    options.setting("--backend", "backend.name");
  }

  int run(Context& context) override {
    const check::CheckOptions options = check_options(context.settings);
    OrderedJson rows = OrderedJson::array();
    const auto results = check::check_plugin(options, context.settings, [&](const check::CaseResult& result) {
      if (context.json)
        rows.push_back(to_json(result));
      else
        print(result);
    });
    const auto failed =
        std::count_if(results.begin(), results.end(), [](const auto& result) { return !result.ok; });
    if (context.json)
      print_json(rows);
    else if (results.empty())
      fmt::print("no case has '{}' in its name\n", only_);
    else
      fmt::print("{} of {} cases failed\n", failed, results.size());
    flush_stdout();
    return failed == 0 ? 0 : 1;
  }

 private:
  check::CheckOptions check_options(const Settings& settings) const {
    if (!expected_.empty() && model_.empty())
      throw UsageError("check: --expected FILE needs --model DIR: what the file was computed for");
    if (timeout_ < 1) throw UsageError("check: --timeout must be at least 1 second");
    for (const std::string& path : {plugin_, model_, expected_})
      if (!path.empty() && !std::filesystem::exists(path))
        throw_error(ErrorCode::kNotFound, "{}: no such file or folder", path);
    check::CheckOptions options;
    options.plugin = std::filesystem::absolute(plugin_);
    options.model = model_;
    options.expected = expected_;
    options.only = only_;
    options.timeout_seconds = static_cast<double>(timeout_);
    options.other_plugins.plugin_path = settings.get_list("plugins.path");
    options.other_plugins.allow_insecure = settings.get_bool("plugins.allow_insecure");
    options.other_plugins.arch_path = settings.get_list("archs.path");
    return options;
  }

  static OrderedJson to_json(const check::CaseResult& result) {
    OrderedJson row{{"case", result.name}, {"ok", result.ok}};
    if (result.skipped) row["skipped"] = true;
    row["message"] = result.message;
    row["seconds"] = result.seconds;
    return row;
  }

  static void print(const check::CaseResult& result) {
    const char* state = !result.ok ? "FAILED" : result.skipped ? "skipped" : "ok";
    fmt::print("{:<26} {:<7} {:6.2f} s  {}\n", result.name, state, result.seconds, result.message);
    flush_stdout();
  }

  std::string plugin_, model_, expected_, only_;
  int64_t timeout_ = 60;
};

}  // namespace

std::unique_ptr<Command> make_check_command() {
  return std::make_unique<CheckCommand>();
}

}  // namespace llmhost::cli
