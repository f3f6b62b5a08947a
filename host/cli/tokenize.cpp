// llmhost tokenize: text to ids, for one text or a file of JSON lines.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "cli/support.h"
#include "core/error.h"
#include "text/tokenizer.h"

namespace llmhost::cli {
namespace {

bool flag_of(const OrderedJson& line, const char* key, bool fallback) {
  const auto it = line.find(key);
  if (it == line.end() || it->is_null()) return fallback;
  if (!it->is_boolean()) throw_invalid("'{}' must be true or false", key);
  return it->get<bool>();
}

class TokenizeCommand final : public Command {
 public:
  std::string name() const override { return "tokenize"; }
  std::string summary() const override { return "Turn text into token ids"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, tokenizer.json, tokenizer.model or GGUF file");
    options.positional_list("TEXT", words_, "Text to encode; without it: standard input");
    options.value("--jsonl", in_, R"(Lines {"text", "add_special", "parse_special"}; - for standard input)");
    options.value("--out", out_, R"(Lines {"ids", "decoded"}; - for standard output)");
    options.flag("--add-special", add_special_, "Add BOS and what else the tokenizer adds");
    options.flag("--no-parse-special", no_parse_special_, "Take special tokens in the text as plain text");
  }

  int run(Context& context) override {
    if (in_.empty() && !out_.empty()) throw UsageError("tokenize: --out needs --jsonl");
    if (!in_.empty() && !words_.empty()) throw UsageError("tokenize: a TEXT or --jsonl, not both");
    const auto tokenizer = text::load_tokenizer(model_);
    if (!in_.empty()) {
      transform_json_lines(in_, out_.empty() ? "-" : out_,
                           [&](const OrderedJson& line) { return encode_line(*tokenizer, line); });
      return 0;
    }
    const std::string text = words_.empty() ? read_input("-") : fmt::format("{}", fmt::join(words_, " "));
    const auto ids = tokenizer->encode(text, {add_special_, !no_parse_special_});
    if (context.json) {
      print_json({{"ids", ids}, {"decoded", tokenizer->decode(ids)}});
      return 0;
    }
    for (const int32_t id : ids) fmt::print("{:>8}  {}\n", id, tokenizer->piece_of(id));
    flush_stdout();
    return 0;
  }

 private:
  static OrderedJson encode_line(const text::Tokenizer& tokenizer, const OrderedJson& line) {
    const auto text = line.find("text");
    if (text == line.end() || !text->is_string()) throw_invalid("'text' must be a string");
    const text::EncodeOptions options{flag_of(line, "add_special", false),
                                      flag_of(line, "parse_special", true)};
    const auto ids = tokenizer.encode(text->get_ref<const std::string&>(), options);
    return {{"ids", ids}, {"decoded", tokenizer.decode(ids)}};
  }

  std::string model_, in_, out_;
  std::vector<std::string> words_;
  bool add_special_ = false;
  bool no_parse_special_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize_command() {
  return std::make_unique<TokenizeCommand>();
}

}  // namespace llmhost::cli
