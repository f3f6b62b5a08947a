// What a generated token costs besides the model: sampling at a vocabulary of 262,144, turning a token into
// text, and the search for stop strings. CPU time of one thread, the best of many short runs, one JSON object
// a line.
//
// sampler_cost [TOKENIZER] [SECONDS]: with a tokenizer (model folder, tokenizer.json, GGUF file) its tokens
// are turned into text as well.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "engine/sampler.h"
#include "engine/stops.h"
#include "text/tokenizer.h"

namespace {

using namespace llmhost;

constexpr int64_t kVocab = 262'144;
constexpr size_t kHistory = 1000;
// Rows in turn, so that they come from beyond the second level cache, as after the model's last product.
constexpr size_t kRows = 8;

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Like a language model's: a broad mass, and a few hundred tokens above it that fall off by rank.
std::vector<float> logits_row(uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> mass(0, 2.5F);
  std::vector<float> row(kVocab);
  for (float& value : row) value = mass(random);
  for (int rank = 1; rank <= 400; ++rank)
    row[random() % kVocab] = 20 - 2.0F * std::log(static_cast<float>(rank)) + 0.3F * mass(random);
  return row;
}

// Microseconds of one call of fn, which gets a number that counts up.
template <typename Fn>
double best_microseconds(double seconds, int calls, Fn&& fn) {
  double best = 1e30;
  size_t n = 0;
  for (const double start = cpu_seconds(); cpu_seconds() - start < seconds;) {
    const double before = cpu_seconds();
    for (int i = 0; i < calls; ++i) fn(n++);
    best = std::min(best, (cpu_seconds() - before) / calls);
  }
  return best * 1e6;
}

void print(const char* what, double microseconds) {
  fmt::print("{{\"test\": \"{}\", \"us\": {:.2f}}}\n", what, microseconds);
}

engine::SamplingParams params(float temperature, int32_t top_k, float top_p, float min_p) {
  engine::SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  params.seed = 1;
  return params;
}

void measure_sampler(double seconds) {
  std::vector<std::vector<float>> rows;
  for (uint32_t i = 0; i < kRows; ++i) rows.push_back(logits_row(i + 1));
  std::vector<int32_t> history(kHistory);
  std::mt19937 random(5);
  for (int32_t& token : history) token = static_cast<int32_t>(random() % kVocab);
  engine::Sampler sampler(kVocab);
  engine::Choice choice;
  // A flat row, of which no block can be left out, is the most that can be asked.
  std::vector<float> flat(kVocab);
  std::normal_distribution<float> mass(0, 1);
  for (float& value : flat) value = mass(random);
  const std::vector<std::vector<float>> flat_rows(kRows, flat);
  const auto measure_rows = [&](const char* what, const engine::SamplingParams& how,
                                const std::vector<std::vector<float>>& from) {
    engine::SamplerState state;
    // A run is one sequence: all rows and many draws, so that the best run is no lucky one.
    constexpr size_t kOutputs = 80;
    print(what, best_microseconds(seconds, kOutputs, [&](size_t n) {
            if (n % kOutputs == 0) state.start(how, 1, history, kOutputs);
            sampler.sample(from[n % kRows], state, 0, choice);
          }));
  };
  const auto measure = [&](const char* what, const engine::SamplingParams& how) {
    measure_rows(what, how, rows);
  };
  measure("greedy", params(0, 0, 1, 0));
  measure("temperature", params(0.8F, 0, 1, 0));
  measure_rows("temperature, flat rows", params(0.8F, 0, 1, 0), flat_rows);
  measure("top_k 40", params(0.8F, 40, 1, 0));
  measure("top_k 40, top_p 0.95, min_p 0.05", params(0.8F, 40, 0.95F, 0.05F));
  measure("top_p 0.95", params(0.7F, 0, 0.95F, 0));
  measure("min_p 0.05", params(0.8F, 0, 1, 0.05F));
  engine::SamplingParams penalties = params(0, 0, 1, 0);
  penalties.repetition_penalty = 1.1F;
  penalties.frequency_penalty = 0.1F;
  measure("greedy, penalties of 1000 tokens", penalties);
  penalties.temperature = 0.8F;
  penalties.top_k = 40;
  penalties.top_p = 0.95F;
  penalties.min_p = 0.05F;
  measure("top_k 40, top_p 0.95, min_p 0.05, penalties of 1000 tokens", penalties);
  engine::SamplingParams logprobs = params(0, 0, 1, 0);
  logprobs.logprobs = true;
  logprobs.top_logprobs = 5;
  measure("greedy, 5 logprobs", logprobs);
}

void measure_text(const char* tokenizer_path, double seconds) {
  const auto tokenizer = text::load_tokenizer(tokenizer_path);
  const std::vector<int32_t> ids = tokenizer->encode(
      "The sky looks blue because air scatters the short waves of sunlight more than the long ones. In the "
      "evening the light comes a longer way, and what is left of it is red — ça va, 你好, 42 * 17 = 714.");
  const auto decoding = tokenizer->new_decoding({.skip_special = true});
  std::string piece;
  std::string text;
  print("token to text", best_microseconds(seconds, 100, [&](size_t n) {
          piece.clear();
          decoding->push(ids[n % ids.size()], piece);
        }));
  const std::vector<std::string> strings = {"<|im_end|>", "\n\nUser:", "###", "</s>"};
  engine::StopMatcher stops(strings);
  print("token to text, 4 stop strings", best_microseconds(seconds, 100, [&](size_t n) {
          if (n % 10'000 == 0) text.clear();
          piece.clear();
          decoding->push(ids[n % ids.size()], piece);
          stops.push(piece, text);
        }));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const double seconds = argc > 2 ? std::atof(argv[2]) : 0.3;
    measure_sampler(seconds);
    if (argc > 1) measure_text(argv[1], seconds);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "sampler_cost: {}\n", error.what());
    return 1;
  }
}
