#include "serve/api/prompt_logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace llmhost::serve {
namespace {

double log_sum(std::span<const float> row) {
  const double most = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float logit : row) sum += std::exp(static_cast<double>(logit) - most);
  return most + std::log(sum);
}

std::vector<engine::TokenLogprob> largest(std::span<const float> row, double norm, int32_t n) {
  std::vector<int32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min<size_t>(static_cast<size_t>(n), row.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(),
                    [&](int32_t a, int32_t b) {
                      const float x = row[static_cast<size_t>(a)];
                      const float y = row[static_cast<size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  std::vector<engine::TokenLogprob> top;
  for (size_t i = 0; i < count; ++i)
    top.push_back({order[i], static_cast<double>(row[static_cast<size_t>(order[i])]) - norm});
  return top;
}

}  // namespace

void add_prompt_logprobs(const engine::PromptLogits& logits, int32_t n_top, std::span<TokenRecord> records) {
  const size_t width = logits.rows.size() / static_cast<size_t>(std::max<int64_t>(1, logits.n_rows));
  for (int64_t i = 0; i < logits.n_rows; ++i) {
    const auto next = static_cast<size_t>(logits.first_position + i + 1);
    if (next >= records.size()) return;
    const auto row = logits.rows.subspan(static_cast<size_t>(i) * width, width);
    TokenRecord& record = records[next];
    const double norm = log_sum(row);
    record.has_logprob = true;
    record.logprob = static_cast<double>(row[static_cast<size_t>(record.token)]) - norm;
    if (n_top > 0) record.top = largest(row, norm, n_top);
  }
}

}  // namespace llmhost::serve
