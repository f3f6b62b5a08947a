// Training ops in double, by formulas of their own.
#include <algorithm>
#include <cmath>
#include <limits>

#include "double_ops.h"

namespace llmhost::graph::test {
namespace {

double at(const DoubleTensor& tensor, int64_t flat) {
  return tensor.values[static_cast<size_t>(flat)];
}

void reduce_to(const DoubleCall& call) {
  for (int64_t i = 0; i < call.in(0).count(); ++i)
    call.out().values[static_cast<size_t>(stretched_place(i, call.in(0).sizes, call.out().sizes))] +=
        at(call.in(0), i);
}

void pad(const DoubleCall& call) {
  const auto& attrs = call.as<llmh_pad_attrs>();
  int64_t after = 1;
  const auto& sizes = call.in(0).sizes;
  for (size_t d = static_cast<size_t>(attrs.axis) + 1; d < sizes.size(); ++d) after *= sizes[d];
  const int64_t run = after * sizes[static_cast<size_t>(attrs.axis)];
  for (int64_t i = 0; i < call.in(0).count(); ++i)
    call.out().values[static_cast<size_t>(i / run * attrs.size * after + attrs.begin * after + i % run)] =
        at(call.in(0), i);
}

void scatter_add(const DoubleCall& call) {
  const int64_t rows = call.in(0).sizes[0];
  const int64_t width = rows == 0 ? 0 : call.in(0).count() / rows;
  for (int64_t i = 0; i < call.in(0).count(); ++i)
    call.out()
        .values[static_cast<size_t>(call.in(1).ids[static_cast<size_t>(i / width)] * width + i % width)] +=
        at(call.in(0), i);
}

void scatter_last(const DoubleCall& call) {
  const int64_t from = call.in(0).sizes.back();
  const int64_t to = call.out().sizes.back();
  for (int64_t i = 0; i < call.in(0).count(); ++i)
    call.out().values[static_cast<size_t>(i / from * to + call.in(1).ids[static_cast<size_t>(i)])] +=
        at(call.in(0), i);
}

void dropout(const DoubleCall& call) {
  const auto& attrs = call.as<llmh_dropout_attrs>();
  const int64_t rows = std::max<int64_t>(call.in(0).sizes[0], 1);
  const int64_t width = std::max<int64_t>(call.in(0).count() / rows, 1);
  const uint64_t seed = call.step.dropout_seed;
  for (int64_t i = 0; i < call.in(0).count(); ++i) {
    const bool kept = llmh_dropout_keep(seed, attrs.site, i / width, i % width, attrs.p) != 0;
    const double factor = seed == 0 ? 1.0 : kept ? 1 / (1 - static_cast<double>(attrs.p)) : 0.0;
    call.out().values[static_cast<size_t>(i)] = factor * at(call.in(0), i);
  }
}

void low_rank_row_norms(const DoubleCall& call) {
  const int64_t width = call.in(0).sizes[1];
  const int64_t rank = call.has(1) ? call.in(1).sizes[0] : 0;
  for (int64_t n = 0; n < call.out().count(); ++n) {
    double squares = 0;
    for (int64_t k = 0; k < width; ++k) {
      double entry = at(call.in(0), n * width + k);
      for (int64_t r = 0; r < rank; ++r)
        entry += static_cast<double>(call.as<llmh_scalar_attrs>().value) * at(call.in(2), n * rank + r) *
                 at(call.in(1), r * width + k);
      squares += entry * entry;
    }
    call.out().values[static_cast<size_t>(n)] = std::sqrt(squares);
  }
}

// Whether key token j is seen by query token i in a head, from the attributes' own words.
bool sees(const llmh_step& step, const llmh_attention_attrs& attrs, int64_t head, int64_t i, int64_t j) {
  if (step.token_sequence[i] != step.token_sequence[j]) return false;
  const int64_t query = step.positions[i];
  const int64_t key = step.positions[j];
  if (attrs.causal != 0 && key > query) return false;
  if (attrs.window != 0 && !(key > query - attrs.window)) return false;
  if (attrs.chunk != 0 && key < query / attrs.chunk * attrs.chunk) return false;
  if (attrs.block_size == 0) return true;
  const int64_t distance = query / attrs.block_size - key / attrs.block_size;
  const int64_t sum = key / attrs.block_size + head * attrs.head_step + 1;
  return distance < attrs.local_blocks || sum % attrs.vertical_stride == 0;
}

struct Score {
  double value;
  int64_t key;
};

// ceil(ratio * n), at least one: with the ratio's decimals, not its binary ones.
size_t kept_of(float ratio, size_t n) {
  if (ratio == 0) return n;
  const double decimal = std::round(static_cast<double>(ratio) * 1e6) / 1e6;
  return static_cast<size_t>(std::max(1.0, std::ceil(decimal * static_cast<double>(n) - 1e-9)));
}

std::vector<Score> scores_of(const DoubleCall& call, int64_t token, int64_t head) {
  const auto& attrs = call.as<llmh_attention_attrs>();
  const int64_t dim = attrs.k_head_dim;
  const int64_t kv = head * attrs.n_kv_heads / attrs.n_heads;
  std::vector<Score> scores;
  for (int64_t key = 0; key < call.step.n_tokens; ++key) {
    if (!sees(call.step, attrs, head, token, key)) continue;
    double score = 0;
    for (int64_t d = 0; d < dim; ++d)
      score += at(call.in(0), (token * attrs.n_heads + head) * dim + d) *
               at(call.in(1), (key * attrs.n_kv_heads + kv) * dim + d);
    score *= static_cast<double>(attrs.scale);
    const auto cap = static_cast<double>(attrs.softcap);
    if (cap > 0) score = cap * std::tanh(score / cap);
    if (call.has(3)) score += at(call.in(3), head) * (call.step.positions[key] - call.step.positions[token]);
    scores.push_back({score, key});
  }
  std::ranges::stable_sort(scores, [](const Score& a, const Score& b) { return a.value > b.value; });
  scores.resize(scores.empty() ? 0 : kept_of(attrs.top_k_ratio, scores.size()));
  return scores;
}

void attention_train(const DoubleCall& call) {
  const auto& attrs = call.as<llmh_attention_attrs>();
  for (int64_t token = 0; token < call.step.n_tokens; ++token)
    for (int64_t head = 0; head < attrs.n_heads; ++head) {
      const auto scores = scores_of(call, token, head);
      const int64_t place = token * attrs.n_heads + head;
      double sum = call.has(4) && !scores.empty() ? std::exp(at(call.in(4), head)) : 0.0;
      for (const Score& score : scores) sum += std::exp(score.value);
      call.out(1).values[static_cast<size_t>(place)] = std::log(sum);
      const int64_t kv = head * attrs.n_kv_heads / attrs.n_heads;
      for (const Score& score : scores)
        for (int64_t d = 0; d < attrs.v_head_dim; ++d)
          call.out(0).values[static_cast<size_t>(place * attrs.v_head_dim + d)] +=
              std::exp(score.value) / sum *
              at(call.in(2), (score.key * attrs.n_kv_heads + kv) * attrs.v_head_dim + d);
    }
}

double loss_of(const std::vector<double>& logits, int32_t label) {
  if (label == -100) return 0;
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum) - logits.at(static_cast<size_t>(label));
}

void cross_entropy(const DoubleCall& call) {
  const int64_t width = call.in(0).sizes[1];
  for (int64_t row = 0; row < call.out().count(); ++row) {
    const auto first = call.in(0).values.begin() + row * width;
    call.out().values[static_cast<size_t>(row)] =
        loss_of({first, first + width}, call.in(1).ids[static_cast<size_t>(row)]);
  }
}

// The loss; dx is made by what is under test.
void linear_cross_entropy(const DoubleCall& call) {
  const auto& attrs = call.as<llmh_head_attrs>();
  const double factor = attrs.value == 0 ? 1.0 : static_cast<double>(attrs.value);
  const auto cap = static_cast<double>(attrs.softcap);
  const int64_t width = call.in(1).sizes[1];
  for (int64_t row = 0; row < call.out().count(); ++row) {
    std::vector<double> logits;
    for (int64_t v = 0; v < call.in(1).sizes[0]; ++v) {
      double logit = call.has(2) ? at(call.in(2), v) : 0.0;
      for (int64_t d = 0; d < width; ++d)
        logit += at(call.in(0), row * width + d) * at(call.in(1), v * width + d);
      logit *= factor;
      logits.push_back(cap > 0 ? cap * std::tanh(logit / cap) : logit);
    }
    call.out().values[static_cast<size_t>(row)] = loss_of(logits, call.in(3).ids[static_cast<size_t>(row)]);
  }
}

}  // namespace

DoubleOp double_training_op(llmh_op op) {
  static const std::map<llmh_op, DoubleOp> kOps = {
      {LLMH_OP_REDUCE_TO, reduce_to},
      {LLMH_OP_PAD, pad},
      {LLMH_OP_SCATTER_ADD, scatter_add},
      {LLMH_OP_SCATTER_LAST, scatter_last},
      {LLMH_OP_DROPOUT, dropout},
      {LLMH_OP_LOW_RANK_ROW_NORMS, low_rank_row_norms},
      {LLMH_OP_ATTENTION_TRAIN, attention_train},
      {LLMH_OP_CROSS_ENTROPY, cross_entropy},
      {LLMH_OP_LINEAR_CROSS_ENTROPY, linear_cross_entropy},
  };
  const auto found = kOps.find(op);
  return found == kOps.end() ? nullptr : found->second;
}

}  // namespace llmhost::graph::test
