// The program: reads the command line, merges the settings, runs one subcommand. Exit 2 for usage, 1 for
// failure.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <functional>
#include <span>
#include <system_error>
#include <vector>

#include "cli/command.h"
#include "core/error.h"
#include "core/log.h"
#include "core/names.h"
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
  for (const auto make :
       {make_run_command,      make_serve_command,      make_mcp_command,      make_show_command,
        make_bench_command,    make_perplexity_command, make_logits_command,   make_grad_command,
        make_merge_command,    make_convert_command,    make_quantize_command, make_tokenize_command,
        make_template_command, make_fit_command,        make_finetune_command, make_graph_command,
        make_arch_command,     make_plugins_command,    make_check_command,    make_doctor_command})
    commands.push_back(make());
  return commands;
}

// Options that every subcommand takes.
void declare_global(Options& options, GlobalArguments& global) {
  options.value("-c,--config", global.config_file, "YAML file with settings");
  options.list("--set", global.assignments, "One setting, e.g. --set engine.threads=4 (repeatable)");
  options.flag("--json", global.json, "Print JSON");
  options.setting("--plugin-path", "plugins.path");
  options.setting_flag("--allow-insecure-plugins", "plugins.allow_insecure");
  options.setting("--arch-path", "archs.path");
  options.setting("--log-level", "log.level");
}

Settings merge_settings(const GlobalArguments& global, const Command& command) {
  Settings settings(command.schema());
  if (!global.config_file.empty() && !command.reads_config()) settings.load_file(global.config_file);
  settings.load_environment();
  for (const std::string& assignment : global.assignments) settings.set_assignment(assignment);
  for (const SettingArgument& argument : global.settings)
    settings.set(argument.path, argument.value, argument.option);
  return settings;
}

// " 'x'; did you mean 'y'?", or where to look.
std::string unknown_word(const std::string& word, std::span<const std::string> known,
                         const std::string& help) {
  const std::string meant = did_you_mean(word, known);
  return quote_name(word) + (meant.empty() ? "; see " + help : meant);
}

const CLI::App* find_command(const CLI::App& parent, const std::string& name) {
  for (const CLI::App* command : parent.get_subcommands([](const CLI::App*) { return true; }))
    if (command->get_name() == name) return command;
  return nullptr;
}

// The command that the words name, with its full name ("arch infer"). The library's own messages for words
// that name none do not say what was meant.
struct NamedCommand {
  const CLI::App* command;
  std::string name;
};

NamedCommand find_named(const CLI::App& app, int argc, char** argv) {
  NamedCommand found{&app, ""};
  for (int i = 1; !found.command->get_subcommands([](const CLI::App*) { return true; }).empty(); ++i) {
    const std::string program = "llmhost" + (found.name.empty() ? "" : " " + found.name);
    if (argc <= i) throw UsageError("a command is needed; see " + program + " --help");
    const std::string word = argv[i];
    if (word == "-h" || word == "--help" || (i == 1 && word == "--version")) return found;
    if (word.starts_with('-'))
      throw UsageError(quote_name(word) + " stands before the command; write " + program +
                       " COMMAND OPTIONS, see " + program + " --help");
    std::vector<std::string> names;
    for (const CLI::App* command : found.command->get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(command->get_name());
    const CLI::App* next = find_command(*found.command, word);
    if (next == nullptr)
      throw UsageError("unknown command " + unknown_word(word, names, program + " --help"));
    found = {next, found.name.empty() ? word : found.name + " " + word};
  }
  return found;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

// What is wrong with a command's arguments, in one line.
std::string explain(const NamedCommand& named, const CLI::ParseError& e) {
  const CLI::App& command = *named.command;
  const std::string help = "llmhost " + named.name + " --help";
  const std::vector<std::string> left = command.remaining();
  const auto option = std::find_if(left.begin(), left.end(),
                                   [](const auto& word) { return word.starts_with('-') && word != "--"; });
  if (option != left.end())
    return named.name + ": unknown option " +
           unknown_word(option->substr(0, option->find('=')), option_names(command), help);
  if (!left.empty() && left.front() != "--")
    return named.name + ": unexpected argument " + quote_name(left.front()) + "; see " + help;
  std::string what = e.what();
  std::replace(what.begin(), what.end(), '\n', ' ');
  return named.name + ": " + what + "; see " + help;
}

void parse(CLI::App& app, int argc, char** argv) {
  const NamedCommand named = find_named(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success&) {  // help and version
    throw;
  } catch (const CLI::ParseError& e) {
    throw UsageError(explain(named, e));
  }
}

void add_commands(CLI::App& parent, std::span<const std::unique_ptr<Command>> commands,
                  GlobalArguments& global, Command*& chosen) {
  for (const auto& command : commands) {
    CLI::App* sub = parent.add_subcommand(command->name(), command->summary());
    if (!command->members().empty()) {
      sub->require_subcommand(1);
      add_commands(*sub, command->members(), global, chosen);
      continue;
    }
    Options options(*sub, global.settings, command->schema());
    declare_global(options, global);
    command->declare(options);
    sub->callback([&chosen, command = command.get()] { chosen = command; });
  }
}

int dispatch(int argc, char** argv) {
  CLI::App app{"Runs, serves and measures open language models through plugins.", "llmhost"};
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  GlobalArguments global;
  const auto commands = all_commands();
  Command* chosen = nullptr;
  add_commands(app, commands, global, chosen);
  try {
    parse(app, argc, argv);
  } catch (const CLI::Success& asked) {
    return app.exit(asked);
  }
  Context context{merge_settings(global, *chosen), global.json, global.config_file};
  init_logging(context.settings.get_string("log.level"));
  return chosen->run(context);
}

// Every error is one line on standard error; a reader that has gone (llmhost show MODEL | head) is none.
int run_program(int argc, char** argv) {
  try {
    return dispatch(argc, argv);
  } catch (const UsageError& e) {
    std::fprintf(stderr, "llmhost: %s\n", e.what());
    return 2;
  } catch (const std::system_error& e) {
    if (e.code() == std::errc::broken_pipe) return 0;
    std::fprintf(stderr, "llmhost: %s\n", e.what());
    return 1;
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
