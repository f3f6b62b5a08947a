// The program: reads the command line, merges the settings, runs one subcommand. Exit 2 for usage, 1 for
// failure.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <functional>
#include <vector>

#include "cli/command.h"
#include "core/error.h"
#include "core/log.h"
#include "core/names.h"
#include "engine/settings.h"
#include "plugin/plugin.h"

namespace llmhost::cli {
namespace {

constexpr const char* kVersion = "llmhost " LLMHOST_VERSION;

struct GlobalArguments {
  std::string config_file;
  std::vector<std::string> assignments;
  std::vector<SettingArgument> settings;
  bool json = false;
};

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  for (const auto make : {make_run_command, make_show_command, make_bench_command, make_perplexity_command,
                          make_logits_command, make_tokenize_command, make_template_command, make_fit_command,
                          make_graph_command, make_plugins_command, make_doctor_command})
    commands.push_back(make());
  return commands;
}

// Options that every subcommand takes.
void declare_global(CLI::App& app, GlobalArguments& global) {
  Options options(app, global.settings);
  options.value("-c,--config", global.config_file, "YAML file with settings");
  options.list("--set", global.assignments, "One setting, e.g. --set engine.threads=4 (repeatable)");
  options.flag("--json", global.json, "Print JSON");
  options.setting("--plugin-path", "plugins.path");
  options.setting_flag("--allow-insecure-plugins", "plugins.allow_insecure");
  options.setting("--log-level", "log.level");
}

Settings merge_settings(const GlobalArguments& global) {
  Settings settings(engine::settings_schema());
  if (!global.config_file.empty()) settings.load_file(global.config_file);
  settings.load_environment();
  for (const std::string& assignment : global.assignments) settings.set_assignment(assignment);
  for (const SettingArgument& argument : global.settings)
    settings.set(argument.path, argument.value, argument.option);
  return settings;
}

// The library's message for an unknown word does not say what was meant.
void explain_unknown_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), argv[1]) == names.end())
    throw UsageError("unknown command " + quote_name(argv[1]) + did_you_mean(argv[1], names) +
                     "; see llmhost --help");
}

int dispatch(int argc, char** argv) {
  CLI::App app{"Runs, serves and measures open language models through plugins.", "llmhost"};
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  GlobalArguments global;
  const auto commands = all_commands();
  Command* chosen = nullptr;
  for (const auto& command : commands) {
    CLI::App* sub = app.add_subcommand(command->name(), command->summary());
    declare_global(*sub, global);
    Options options(*sub, global.settings);
    command->declare(options);
    sub->callback([&chosen, &command] { chosen = command.get(); });
  }
  try {
    explain_unknown_command(app, argc, argv);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const bool asked_for_help = e.get_exit_code() == 0;
    app.exit(e);
    return asked_for_help ? 0 : 2;
  }
  Context context{merge_settings(global), global.json};
  init_logging(context.settings.get_string("log.level"));
  return chosen->run(context);
}

// Every error is one line on standard error.
int run_program(int argc, char** argv) {
  try {
    return dispatch(argc, argv);
  } catch (const UsageError& e) {
    std::fprintf(stderr, "llmhost: %s\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "llmhost: %s\n", e.what());
    return 1;
  }
}

}  // namespace
}  // namespace llmhost::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is a write error like any other
  const int code = llmhost::cli::run_program(argc, argv);
  llmhost::plugin::quiesce_all();
  return code;
}
