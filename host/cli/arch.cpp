// llmhost arch: descriptions of architectures. Each subcommand is a class of its own.
#include <fmt/core.h>

#include <cctype>
#include <filesystem>
#include <utility>
#include <vector>

#include "cli/arch_templates.h"
#include "cli/command.h"
#include "cli/support.h"
#include "core/error.h"
#include "core/file.h"

namespace llmhost::cli {
namespace {

// A description of the model to start from, for a model type that nobody described yet.
class InferCommand final : public Command {
 public:
  std::string name() const override { return "infer"; }
  std::string summary() const override { return "Print how a model is built, as far as its files tell"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.setting("--arch", "model.arch");
  }

  int run(Context& context) override {
    const auto registry = open_registry(context.settings);
    // What could not be accounted for is for the reader of the text to settle: a warning, no refusal.
    model::LoadOptions options = load_options(context.settings);
    options.best_effort = true;
    const auto loaded = model::load_model(model_, *registry, options);
    if (loaded->recipe_text().empty())
      throw_error(ErrorCode::kFailedPrecondition,
                  "{}: model type {} is described by plugin {}: nothing to infer", model_,
                  loaded->checkpoint().config().value("model_type", "(none)"), loaded->arch_id());
    if (context.json) {
      print_json({{"model", model_},
                  {"plugin", loaded->arch_id()},
                  {"inferred", loaded->is_inferred()},
                  {"recipe", recipe_json(*loaded)},
                  {"text", loaded->recipe_text()},
                  {"warnings", loaded->warnings()}});
      return 0;
    }
    fmt::print("{}{}", loaded->recipe_text(), loaded->recipe_text().ends_with('\n') ? "" : "\n");
    flush_stdout();
    return 0;
  }

 private:
  std::string model_;
};

// Names go into files, class names and YAML: kept to what all of them take.
void check_name(const std::string& name) {
  const bool fits = !name.empty() && name.size() <= 64 && name.front() >= 'a' && name.front() <= 'z' &&
                    name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
  if (!fits)
    throw UsageError(
        fmt::format("'{}': a name is made of a to z, 0 to 9 and _, and begins with a letter", name));
}

std::string class_name(const std::string& name) {
  std::string result;
  bool upper = true;
  for (const char c : name) {
    if (c != '_') result += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = c == '_';
  }
  return result;
}

std::string filled(std::string text, const std::string& name) {
  const std::pair<std::string, std::string> marks[] = {{"@NAME@", name}, {"@CLASS@", class_name(name)}};
  for (const auto& [mark, value] : marks)
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at))
      text.replace(at, mark.size(), value);
  return text;
}

// A file or folder to start a description with.
class NewCommand final : public Command {
 public:
  std::string name() const override { return "new"; }
  std::string summary() const override {
    return "Start a description of an architecture: NAME.yaml, or a plugin's folder";
  }

  void declare(Options& options) override {
    options.positional("NAME", name_, "The architecture: a to z, 0 to 9 and _");
    options.flag("--cpp", is_cpp_, "A folder with a plugin in C++ instead of a YAML file");
  }

  int run(Context& context) override {
    check_name(name_);
    const std::filesystem::path target = is_cpp_ ? name_ : name_ + ".yaml";
    if (std::filesystem::exists(target))
      throw_error(ErrorCode::kAlreadyExists, "{} is there already: give another name, or take it away first",
                  target.string());
    if (is_cpp_) {
      std::filesystem::create_directory(target);
      write_file_atomically(target / (name_ + ".cpp"), filled(kArchCpp, name_));
      write_file_atomically(target / "plugin.yaml", filled(kArchManifest, name_));
      write_file_atomically(target / "CMakeLists.txt", filled(kArchCmake, name_));
    } else {
      write_file_atomically(target, filled(kArchYaml, name_));
    }
    if (context.json)
      print_json({{"written", target.string()}});
    else
      fmt::print("{}: try it with `llmhost show MODEL {}`\n", target.string(),
                 is_cpp_ ? "--plugin-path " + name_ + "/build/lib/llmhost/plugins` after `cmake -S " + name_ +
                               " -B " + name_ + "/build && cmake --build " + name_ + "/build"
                         : "--arch-path " + target.string());
    return 0;
  }

 private:
  std::string name_;
  bool is_cpp_ = false;
};

class ArchCommand final : public Command {
 public:
  ArchCommand() {
    members_.push_back(std::make_unique<InferCommand>());
    members_.push_back(std::make_unique<NewCommand>());
  }

  std::string name() const override { return "arch"; }
  std::string summary() const override { return "Work with descriptions of architectures"; }
  std::span<const std::unique_ptr<Command>> members() const override { return members_; }
  void declare(Options&) override {}
  int run(Context&) override { throw_error(ErrorCode::kInternal, "arch: a command is needed"); }

 private:
  std::vector<std::unique_ptr<Command>> members_;
};

}  // namespace

std::unique_ptr<Command> make_arch_command() {
  return std::make_unique<ArchCommand>();
}

}  // namespace llmhost::cli
