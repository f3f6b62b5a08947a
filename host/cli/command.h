// A subcommand of the program: one file each, `make_<name>_command()` at its end. Thin: what it does lives
// below.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "cli/options.h"
#include "core/config.h"
#include "engine/settings.h"

namespace llmhost::cli {

// What every subcommand gets.
struct Context {
  Settings settings;
  bool json = false;        // --json: machine-readable output
  std::string config_file;  // --config, of a command that reads it itself
};

class Command {
 public:
  Command() = default;
  virtual ~Command() = default;
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  virtual std::string name() const = 0;
  virtual std::string summary() const = 0;
  // The commands below this one (llmhost arch infer). Where there are any, one must be given, and what
  // follows is theirs.
  virtual std::span<const std::unique_ptr<Command>> members() const { return {}; }
  // The settings that the command goes by.
  virtual const ConfigSchema& schema() const { return engine::settings_schema(); }
  // Whether it reads the file of --config itself, which has more than settings.
  virtual bool reads_config() const { return false; }
  virtual void declare(Options& options) = 0;
  // The exit code; a thrown UsageError means 2, any other Error 1.
  virtual int run(Context& context) = 0;
};

std::unique_ptr<Command> make_arch_command();
std::unique_ptr<Command> make_bench_command();
std::unique_ptr<Command> make_check_command();
std::unique_ptr<Command> make_convert_command();
std::unique_ptr<Command> make_doctor_command();
std::unique_ptr<Command> make_finetune_command();
std::unique_ptr<Command> make_fit_command();
std::unique_ptr<Command> make_grad_command();
std::unique_ptr<Command> make_graph_command();
std::unique_ptr<Command> make_logits_command();
std::unique_ptr<Command> make_mcp_command();
std::unique_ptr<Command> make_merge_command();
std::unique_ptr<Command> make_perplexity_command();
std::unique_ptr<Command> make_plugins_command();
std::unique_ptr<Command> make_quantize_command();
std::unique_ptr<Command> make_run_command();
std::unique_ptr<Command> make_serve_command();
std::unique_ptr<Command> make_show_command();
std::unique_ptr<Command> make_template_command();
std::unique_ptr<Command> make_tokenize_command();

}  // namespace llmhost::cli
