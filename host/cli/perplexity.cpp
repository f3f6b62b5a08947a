// llmhost perplexity: mean negative log-likelihood of a text under a model, window by window.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/support.h"
#include "core/error.h"
#include "core/file.h"
#include "core/progress.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

namespace llmhost::cli {
namespace {

constexpr int32_t kOutputRows = 64;  // logits rows of one step

// -log softmax(row)[token], in double.
double negative_log_likelihood(std::span<const float> row, int32_t token) {
  const double highest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float logit : row) sum += std::exp(static_cast<double>(logit) - highest);
  return highest + std::log(sum) - static_cast<double>(row[static_cast<size_t>(token)]);
}

struct WindowScore {
  double nll = 0;
  int64_t tokens = 0;
};

class PerplexityCommand final : public Command {
 public:
  std::string name() const override { return "perplexity"; }
  std::string summary() const override { return "Score a text: mean negative log-likelihood and perplexity"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder or GGUF file");
    options.positional("TEXT", text_, "Text file");
    options.value("-w,--window", window_, "Tokens of a window; each window is scored alone");
    options.value("--windows", max_windows_, "Most windows to score; 0: all whole ones");
    options.value("--skip", skip_, "Tokens of each window that are context alone: they are not scored");
    options.flag("--bos-inside", bos_inside_,
                 "BOS is the text's first token and takes the place of every window's");
    options.setting("--adapter", "model.adapter");
    options.setting("--receipt", "model.receipt");
    declare_model_options(options);
  }

  int run(Context& context) override {
    if (window_ < 2 || window_ > 1 << 20) throw UsageError("perplexity: --window must be 2 to 1048576");
    if (max_windows_ < 0) throw UsageError("perplexity: --windows must not be negative");
    if (skip_ < 0 || skip_ >= window_)
      throw UsageError("perplexity: --skip must be 0 to one less than the window");
    const auto tokenizer = text::load_tokenizer(model_);
    const auto windows = cut_windows(*tokenizer);
    engine::RunnerOptions limits = runner_options(context.settings, engine::RunUse::kLogits);
    limits.max_context = static_cast<int64_t>(windows.front().size());
    limits.max_outputs = std::max(kOutputRows, limits.max_sequences);
    OpenedModel opened(model_, context.settings, engine::RunUse::kLogits, limits);
    report(score(windows, opened), opened.model().warnings(), context.json);
    return 0;
  }

 private:
  // Whole windows of the text's tokens, BOS first where the tokenizer adds one; a shorter text is one window.
  std::vector<std::vector<int32_t>> cut_windows(const text::Tokenizer& tokenizer) const {
    auto ids = tokenizer.encode(read_file(text_), {false, false});
    if (ids.size() < 2) throw_invalid("{}: the text has {} tokens, at least 2 are needed", text_, ids.size());
    if (bos_inside_ && tokenizer.adds_bos()) ids.insert(ids.begin(), *tokenizer.special_ids().bos);
    const size_t size = std::min(ids.size(), static_cast<size_t>(window_));
    if (static_cast<size_t>(skip_) >= size)
      throw_invalid("{}: the text has {} tokens, no more than --skip {} leaves out", text_, size, skip_);
    std::vector<std::vector<int32_t>> windows;
    for (size_t begin = 0; begin + size <= ids.size(); begin += size) {
      std::vector<int32_t>& window = windows.emplace_back();
      if (tokenizer.adds_bos()) window.push_back(*tokenizer.special_ids().bos);
      const size_t first = begin + (bos_inside_ ? window.size() : 0);
      window.insert(window.end(), ids.begin() + static_cast<std::ptrdiff_t>(first),
                    ids.begin() + static_cast<std::ptrdiff_t>(begin + size));
      if (max_windows_ > 0 && windows.size() == static_cast<size_t>(max_windows_)) break;
    }
    return windows;
  }

  std::vector<WindowScore> score(const std::vector<std::vector<int32_t>>& windows,
                                 OpenedModel& opened) const {
    engine::Engine engine(opened.stack().runner());
    Progress progress("scoring", windows.size());
    std::vector<WindowScore> scores(windows.size());
    for (size_t i = 0; i < windows.size(); ++i) {
      engine::Request request;
      request.prompt = windows[i];
      request.adapter = opened.adapter();
      request.max_tokens = 0;
      request.on_prompt_logits = [&](const engine::PromptLogits& logits) {
        add(windows[i], logits, scores[i]);
      };
      const engine::RequestId id = engine.submit(std::move(request));
      engine.run_until(id);
      const auto result = engine.take_result(id);
      if (result && result->reason == engine::FinishReason::kError)
        throw_error(ErrorCode::kInternal, "{}", result->error);
      progress.advance(1);
    }
    return scores;
  }

  void add(const std::vector<int32_t>& window, const engine::PromptLogits& logits, WindowScore& score) const {
    const size_t vocab_size = logits.rows.size() / static_cast<size_t>(logits.n_rows);
    for (int64_t row = 0; row < logits.n_rows; ++row) {
      const auto next = static_cast<size_t>(logits.first_position + row + 1);
      if (next >= window.size()) break;
      if (next < static_cast<size_t>(skip_)) continue;
      score.nll += negative_log_likelihood(
          logits.rows.subspan(static_cast<size_t>(row) * vocab_size, vocab_size), window[next]);
      score.tokens += 1;
    }
  }

  static void report(const std::vector<WindowScore>& scores, const std::vector<std::string>& warnings,
                     bool json) {
    OrderedJson per_window = OrderedJson::array();
    double nll = 0;
    int64_t tokens = 0;
    for (const WindowScore& score : scores) {
      per_window.push_back(score.nll / static_cast<double>(score.tokens));
      nll += score.nll;
      tokens += score.tokens;
    }
    const double mean = nll / static_cast<double>(tokens);
    if (json)
      print_json({{"mean_nll", mean},
                  {"perplexity", std::exp(mean)},
                  {"tokens", tokens},
                  {"mean_nll_per_window", per_window},
                  {"warnings", warnings}});
    else
      fmt::print("mean NLL {:.6f}, perplexity {:.4f} over {} tokens in {} windows\n", mean, std::exp(mean),
                 tokens, scores.size());
    flush_stdout();
  }

  std::string model_, text_;
  int64_t window_ = 512;
  int64_t max_windows_ = 0;
  int64_t skip_ = 0;
  bool bos_inside_ = false;
};

}  // namespace

std::unique_ptr<Command> make_perplexity_command() {
  return std::make_unique<PerplexityCommand>();
}

}  // namespace llmhost::cli
