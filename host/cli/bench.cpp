// llmhost bench: tokens per second of prompt processing (pp), generation (tg) and batched generation. The
// JSON form is what comparisons with other engines read; keep it stable.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "cli/bench_speculation.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/support.h"
#include "core/error.h"
#include "core/log.h"
#include "engine/model_stack.h"
#include "engine/pages.h"

namespace llmhost::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchCase {
  std::string name;
  int32_t prompt = 0;     // tokens processed before, or measured when generate is 0
  int32_t generate = 0;   // steps measured
  int32_t sequences = 1;  // that generate together
};

// Runs cases on a bare runner: no sampling, no text, token ids that do not matter.
class BenchRunner {
 public:
  BenchRunner(engine::ModelRunner& runner)
      : runner_(runner),
        batch_(runner.options().limits(), runner.options().max_pages()),
        pages_(runner.options().n_pages()) {}

  // Seconds of the measured part.
  double run(const BenchCase& test) {
    std::vector<engine::PageTable> tables(static_cast<size_t>(test.sequences));
    double seconds = 0;
    for (engine::PageTable& table : tables) seconds += prefill(table, test.prompt);
    if (test.generate > 0) seconds = generate(tables, test.prompt, test.generate);
    for (engine::PageTable& table : tables) table.shrink_to(0, pages_);
    return seconds;
  }

 private:
  double prefill(engine::PageTable& table, int32_t n_tokens) {
    const auto start = Clock::now();
    const int32_t step = runner_.options().max_tokens;
    for (int32_t begin = 0; begin < n_tokens; begin += step) {
      const int32_t end = std::min(n_tokens, begin + step);
      batch_.clear();
      add(table, begin, end, n_tokens);
      runner_.step(batch_);
    }
    return seconds_since(start);
  }

  double generate(std::vector<engine::PageTable>& tables, int32_t first, int32_t steps) {
    const auto start = Clock::now();
    for (int32_t position = first; position < first + steps; ++position) {
      batch_.clear();
      for (engine::PageTable& table : tables) add(table, position, position + 1, first);
      runner_.step(batch_);
    }
    return seconds_since(start);
  }

  // Tokens [begin, end) of one sequence; the last one's logits are asked for.
  void add(engine::PageTable& table, int32_t begin, int32_t end, int32_t prompt_length) {
    if (!table.grow_to(engine::pages_for(end, runner_.options().page_tokens), pages_))
      throw_error(ErrorCode::kResourceExhausted, "the state has no room for {} positions", end);
    batch_.begin_sequence(begin, table.pages());
    const auto vocabulary = static_cast<uint32_t>(runner_.vocab_size());
    for (int32_t position = begin; position < end; ++position) {
      seed_ = seed_ * 1664525U + 1013904223U;  // any spread of ids will do (Numerical Recipes' generator)
      batch_.add_token(static_cast<int32_t>(seed_ % vocabulary), prompt_length, position + 1 == end);
    }
  }

  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  engine::ModelRunner& runner_;
  engine::StepBatch batch_;
  engine::PageAllocator pages_;
  uint32_t seed_ = 1;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

class BenchCommand final : public Command {
 public:
  std::string name() const override { return "bench"; }
  std::string summary() const override { return "Measure prompt and generation speed"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.value("-p,--prompt", prompt_, "Prompt tokens of the pp test; 0: none");
    options.value("-n,--generate", generate_, "Tokens of the tg test; 0: none");
    options.value("-d,--depth", depth_, "Tokens in the state before generation starts");
    options.value("-b,--batch", batch_, "Sequences that generate together");
    options.value("-r,--repeat", repeat_, "Measurements of each test; their median is reported");
    declare_speculation_options(options);
    declare_model_options(options);
  }

  int run(Context& context) override {
    check_ranges();
    const std::vector<BenchCase> cases = make_cases();
    if (cases.empty()) throw UsageError("bench: nothing to measure: give -p or -n");
    engine::RunnerOptions limits = runner_options(context.settings, engine::RunUse::kGeneration);
    limits.max_sequences = static_cast<int32_t>(batch_);
    limits.max_outputs = limits.max_sequences;
    limits.max_tokens = std::max(limits.max_tokens, limits.max_sequences);
    limits.max_context = std::max(prompt_, depth_ + generate_) + 1;
    const bool speculates = context.settings.get_string("engine.speculation.mode") != "off";
    if (speculates && generate_ < 2) throw UsageError("bench: --speculate needs -n of at least 2");
    if (speculates) limits.max_context = std::max(limits.max_context, kSpeculationPrompt + generate_);
    limits = with_speculation(context.settings, limits);
    OpenedModel opened(model_, context.settings, engine::RunUse::kGeneration, limits);
    const int64_t trained = opened.model().info().context_length;
    if (limits.max_context - 1 > trained)
      spdlog::warn("bench: {} positions, the model can attend to {}", limits.max_context - 1, trained);

    BenchRunner runner(opened.stack().runner());
    OrderedJson results = OrderedJson::array();
    for (const BenchCase& test : cases) results.push_back(measure(runner, test));
    if (speculates) {
      const auto tokenizer = text::load_tokenizer(tokenizer_path(model_));
      Speculation speculation(context.settings, opened, *tokenizer);
      for (OrderedJson& row : bench_speculation(opened, speculation, *tokenizer, generate_, repeat_))
        results.push_back(std::move(row));
    }
    for (OrderedJson& row : results) row["warnings"] = opened.model().warnings();
    if (context.json)
      print_json(results);
    else
      print_table(results, opened);
    return 0;
  }

 private:
  void check_ranges() const {
    const auto check = [](const char* option, int64_t value, int64_t low, int64_t high) {
      if (value < low || value > high)
        throw UsageError(fmt::format("bench: {} is {}, it must be {} to {}", option, value, low, high));
    };
    check("-p", prompt_, 0, 1 << 20);
    check("-n", generate_, 0, 1 << 20);
    check("-d", depth_, 0, 1 << 20);
    check("-b", batch_, 1, 1024);
    check("-r", repeat_, 1, 1000);
  }

  std::vector<BenchCase> make_cases() const {
    std::vector<BenchCase> cases;
    if (prompt_ > 0) cases.push_back({fmt::format("pp{}", prompt_), static_cast<int32_t>(prompt_), 0, 1});
    if (generate_ > 0) {
      std::string name = fmt::format("tg{}", generate_);
      if (depth_ > 0) name += fmt::format("@d{}", depth_);
      if (batch_ > 1) name += fmt::format("x{}", batch_);
      cases.push_back({name, static_cast<int32_t>(depth_), static_cast<int32_t>(generate_),
                       static_cast<int32_t>(batch_)});
    }
    return cases;
  }

  OrderedJson measure(BenchRunner& runner, const BenchCase& test) const {
    const int64_t tokens = test.generate > 0 ? int64_t{test.generate} * test.sequences : test.prompt;
    // One short run first: pages in the weights and wakes the threads.
    runner.run({test.name, std::min(test.prompt, 16), std::min(test.generate, 4), test.sequences});
    std::vector<double> samples;
    for (int64_t i = 0; i < repeat_; ++i) samples.push_back(static_cast<double>(tokens) / runner.run(test));
    return {{"test", test.name}, {"tokens_per_s", median(samples)}, {"samples", samples}};
  }

  // How many guesses of a speculating run held.
  static std::string describe_guesses(const OrderedJson& row) {
    if (!row.contains("drafted") || row["drafted"] == 0) return {};
    return fmt::format("  accepted {} of {}", row["accepted"].get<int64_t>(), row["drafted"].get<int64_t>());
  }

  static void print_table(const OrderedJson& results, const OpenedModel& opened) {
    fmt::print("{} on {} ({} threads)\n", opened.model().checkpoint().path().filename().string(),
               opened.device().name(), opened.n_threads());
    fmt::print("{:<16} {:>12} {:>12} {:>12}\n", "test", "tokens/s", "min", "max");
    for (const OrderedJson& row : results) {
      const auto samples = row["samples"].get<std::vector<double>>();
      const auto [low, high] = std::minmax_element(samples.begin(), samples.end());
      fmt::print("{:<16} {:>12.2f} {:>12.2f} {:>12.2f}{}\n", row["test"].get<std::string>(),
                 row["tokens_per_s"].get<double>(), *low, *high, describe_guesses(row));
    }
    flush_stdout();
  }

  std::string model_;
  int64_t prompt_ = 512;
  int64_t generate_ = 128;
  int64_t depth_ = 0;
  int64_t batch_ = 1;
  int64_t repeat_ = 5;
};

}  // namespace

std::unique_ptr<Command> make_bench_command() {
  return std::make_unique<BenchCommand>();
}

}  // namespace llmhost::cli
