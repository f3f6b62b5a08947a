// llmhost template: renders a chat template, the model's own or a file's, for JSON lines of variables.
#include <fmt/core.h>

#include "cli/command.h"
#include "cli/support.h"
#include "core/error.h"
#include "core/file.h"
#include "text/chat_template_source.h"
#include "text/template/chat_prompt.h"

namespace llmhost::cli {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

class TemplateCommand final : public Command {
 public:
  std::string name() const override { return "template"; }
  std::string summary() const override { return "Render a chat template"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, GGUF file, or a .jinja file");
    options.value("--jsonl", in_,
                  R"(Lines with the template's variables ("messages", "tools", …); - for standard input)");
    options.value("--out", out_, R"(Lines {"text"} or {"error"}; - for standard output)");
    options.value("--name", name_, "Which of several named templates");
  }

  int run(Context&) override {
    if (in_.empty() && !out_.empty()) throw UsageError("template: --out needs --jsonl");
    load();
    if (in_.empty()) {
      fmt::print("{}\n", source_.text);
      flush_stdout();
      return 0;
    }
    // A template that does not parse fails every line alike: the caller gets one answer a line in any case.
    transform_json_lines(in_, out_.empty() ? "-" : out_,
                         [&](const OrderedJson& line) { return render(line); });
    return 0;
  }

 private:
  void load() {
    if (std::filesystem::path(model_).extension() == ".jinja") {
      source_ = {read_file(model_, kMaxTemplateBytes), model_};
      return;
    }
    const model::Checkpoint checkpoint = model::Checkpoint::open(model_);
    const auto found = text::find_chat_template(checkpoint, name_);
    if (!found) throw_error(ErrorCode::kNotFound, "{}: the model has no chat template", model_);
    source_ = *found;
    defaults_ = text::special_token_variables(checkpoint);
  }

  OrderedJson render(const OrderedJson& line) {
    try {
      if (!parsed_) parsed_ = text::jinja::Template::parse(source_.text, source_.name);
      OrderedJson variables = defaults_;
      variables.update(line);
      return {{"text", text::render_chat(*parsed_, variables)}};
    } catch (const Error& e) {
      return {{"error", e.what()}};
    }
  }

  std::string model_, in_, out_, name_;
  text::ChatTemplateSource source_;
  OrderedJson defaults_ = OrderedJson::object();
  std::optional<text::jinja::Template> parsed_;
};

}  // namespace

std::unique_ptr<Command> make_template_command() {
  return std::make_unique<TemplateCommand>();
}

}  // namespace llmhost::cli
