// Attention without parts: over the tokens of the step, its gradient, and over the largest scores of the
// state.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "graph/eval.h"

namespace llmhost::graph::eval {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

// A key or value: where it stands and its row, all heads.
struct Row {
  int64_t position;
  const float* data;
};

// What one query sees in one head.
struct Seen {
  std::vector<int64_t> keys;   // which of the rows
  std::vector<double> scores;  // of each
  std::vector<double> slopes;  // of the score by the product of query and key
};

double dot(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// Drops all but the largest scores, compared as f32; of equal ones those at lower positions stay.
void keep_largest(Seen& seen, float ratio) {
  const size_t n = seen.keys.size();
  if (ratio == 0 || n == 0) return;
  const auto kept = static_cast<size_t>(llmh_top_k_kept(ratio, static_cast<int64_t>(n)));
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return static_cast<float>(seen.scores[a]) > static_cast<float>(seen.scores[b]);
  });
  order.resize(kept);
  std::ranges::sort(order);
  Seen rest;
  for (const size_t i : order) {
    rest.keys.push_back(seen.keys[i]);
    rest.scores.push_back(seen.scores[i]);
    rest.slopes.push_back(seen.slopes[i]);
  }
  seen = std::move(rest);
}

// One attention node: its attributes and what belongs to whole heads.
class Heads {
 public:
  explicit Heads(const NodeCall& call)
      : attrs(call.as<llmh_attention_attrs>()),
        has_sinks(call.has(4)),
        slopes_(call.has(3) ? call.in(3) : Operand{}),
        sinks_(has_sinks ? call.in(4) : Operand{}) {}

  int64_t kv_of(int64_t head) const { return head / (attrs.n_heads / attrs.n_kv_heads); }
  double sink(int64_t head) const { return has_sinks ? static_cast<double>(sinks_[head]) : kNothing; }

  // `query` is the head's own part of its row; `keys` ascend by position.
  Seen look(int64_t head, const Row& query, const std::vector<Row>& keys) const {
    Seen seen;
    const int64_t offset = kv_of(head) * attrs.k_head_dim;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!is_visible(attrs, query.position, keys[i].position, head)) continue;
      double score =
          static_cast<double>(attrs.scale) * dot(query.data, keys[i].data + offset, attrs.k_head_dim);
      double slope = static_cast<double>(attrs.scale);
      if (attrs.softcap > 0) {
        const auto cap = static_cast<double>(attrs.softcap);
        const double tanh = std::tanh(score / cap);
        score = cap * tanh;
        slope *= 1 - tanh * tanh;
      }
      if (slopes_.data() != nullptr)
        score += static_cast<double>(slopes_[head]) * static_cast<double>(keys[i].position - query.position);
      seen.keys.push_back(static_cast<int64_t>(i));
      seen.scores.push_back(score);
      seen.slopes.push_back(slope);
    }
    keep_largest(seen, attrs.top_k_ratio);
    return seen;
  }

  double log_sum(int64_t head, const Seen& seen) const {
    if (seen.keys.empty()) return kNothing;
    double largest = sink(head);
    for (const double score : seen.scores) largest = std::max(largest, score);
    double sum = std::exp(sink(head) - largest);
    for (const double score : seen.scores) sum += std::exp(score - largest);
    return largest + std::log(sum);
  }

  // The mean of the values by the scores' shares.
  void mix(int64_t head, const Seen& seen, const std::vector<Row>& values, double log_sum, float* out) const {
    std::vector<double> sums(static_cast<size_t>(attrs.v_head_dim), 0.0);
    for (size_t i = 0; i < seen.keys.size(); ++i) {
      const double share = std::exp(seen.scores[i] - log_sum);
      const float* value = values[static_cast<size_t>(seen.keys[i])].data + kv_of(head) * attrs.v_head_dim;
      for (size_t d = 0; d < sums.size(); ++d) sums[d] += share * static_cast<double>(value[d]);
    }
    std::ranges::transform(sums, out, [](double sum) { return static_cast<float>(sum); });
  }

  const llmh_attention_attrs& attrs;
  const bool has_sinks;

 private:
  Floats slopes_;
  Floats sinks_;
};

// The rows of the sequence's tokens in this step.
std::vector<Row> rows_of(const llmh_step& step, int32_t sequence, const Floats& x, int64_t width) {
  std::vector<Row> rows;
  for (int32_t token = 0; token < step.n_tokens; ++token)
    if (step.token_sequence[token] == sequence)
      rows.push_back({step.positions[token], x.data() + token * width});
  return rows;
}

// Calls body(sequence, token, head) for every query of the step.
template <typename Body>
void for_each_query(const llmh_step& step, int32_t sequence, int64_t heads, Body&& body) {
  for (int64_t token = 0; token < step.n_tokens; ++token) {
    if (step.token_sequence[token] != sequence) continue;
    for (int64_t head = 0; head < heads; ++head) body(token, head);
  }
}

// Sums of gradients in double, by element of a tensor.
class Sums {
 public:
  explicit Sums(const Operand& out)
      : sums_(static_cast<size_t>(out.count), 0.0), out_(reinterpret_cast<float*>(out.data)) {}
  void add(int64_t at, double factor, const float* values, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      sums_[static_cast<size_t>(at + i)] += factor * static_cast<double>(values[i]);
  }
  void add(int64_t at, double value) { sums_[static_cast<size_t>(at)] += value; }
  void store() const {
    std::ranges::transform(sums_, out_, [](double sum) { return static_cast<float>(sum); });
  }

 private:
  std::vector<double> sums_;
  float* out_;
};

}  // namespace

void attention_train(const NodeCall& call) {
  const Heads heads(call);
  const llmh_attention_attrs& attrs = heads.attrs;
  const Floats q(call.in(0));
  const Floats k(call.in(1));
  const Floats v(call.in(2));
  const llmh_step& step = call.step();
  for (int32_t sequence = 0; sequence < step.n_sequences; ++sequence) {
    const auto keys = rows_of(step, sequence, k, int64_t{attrs.n_kv_heads} * attrs.k_head_dim);
    const auto values = rows_of(step, sequence, v, int64_t{attrs.n_kv_heads} * attrs.v_head_dim);
    for_each_query(step, sequence, attrs.n_heads, [&](int64_t token, int64_t head) {
      const int64_t at = token * attrs.n_heads + head;
      const Seen seen = heads.look(head, {step.positions[token], q.data() + at * attrs.k_head_dim}, keys);
      const double log_sum = heads.log_sum(head, seen);
      heads.mix(head, seen, values, log_sum, call.out_floats() + at * attrs.v_head_dim);
      call.out_floats(1)[at] = static_cast<float>(log_sum);
    });
  }
}

// With p the shares, s the scores and D = dout . out: dv = p dout, ds = p (dout . v - D), which goes on to
// the query and the key; the sink's own score gets -p D.
void attention_grad(const NodeCall& call) {
  const Heads heads(call);
  const llmh_attention_attrs& attrs = heads.attrs;
  const Floats q(call.in(0)), k(call.in(1)), v(call.in(2)), out(call.in(5)), lse(call.in(6)),
      dout(call.in(7));
  const int64_t k_dim = attrs.k_head_dim;
  const int64_t v_dim = attrs.v_head_dim;
  Sums dq(call.out(0)), dk(call.out(1)), dv(call.out(2)), dsinks(call.out(3));
  const llmh_step& step = call.step();
  for (int32_t sequence = 0; sequence < step.n_sequences; ++sequence) {
    const auto keys = rows_of(step, sequence, k, attrs.n_kv_heads * k_dim);
    const auto values = rows_of(step, sequence, v, attrs.n_kv_heads * v_dim);
    for_each_query(step, sequence, attrs.n_heads, [&](int64_t token, int64_t head) {
      const int64_t at = token * attrs.n_heads + head;
      const float* query = q.data() + at * k_dim;
      const float* gradient = dout.data() + at * v_dim;
      const Seen seen = heads.look(head, {step.positions[token], query}, keys);
      if (seen.keys.empty()) return;
      const auto log_sum = static_cast<double>(lse[at]);
      const double whole = dot(gradient, out.data() + at * v_dim, v_dim);
      if (heads.has_sinks) dsinks.add(head, -std::exp(heads.sink(head) - log_sum) * whole);
      for (size_t i = 0; i < seen.keys.size(); ++i) {
        const Row& key = keys[static_cast<size_t>(seen.keys[i])];
        const float* value = values[static_cast<size_t>(seen.keys[i])].data + heads.kv_of(head) * v_dim;
        const float* key_head = key.data + heads.kv_of(head) * k_dim;
        const double share = std::exp(seen.scores[i] - log_sum);
        dv.add(value - v.data(), share, gradient, v_dim);
        const double product = share * (dot(gradient, value, v_dim) - whole) * seen.slopes[i];
        dq.add(at * k_dim, product, key_head, k_dim);
        dk.add(key_head - k.data(), product, query, k_dim);
      }
    });
  }
  for (const Sums* sums : {&dq, &dk, &dv, &dsinks}) sums->store();
}

void attention_top_k(const NodeCall& call) {
  const Heads heads(call);
  const llmh_attention_attrs& attrs = heads.attrs;
  write_state(call, attrs.slot, 1);
  const NodeCall::State state = call.state(attrs.slot);
  const Floats q(call.in(0));
  const llmh_step& step = call.step();
  for (int32_t sequence = 0; sequence < step.n_sequences; ++sequence) {
    std::vector<Row> keys;
    std::vector<Row> values;
    for (int64_t position = 0; position < step.state_lengths[sequence]; ++position) {
      const int64_t kv = attrs.n_kv_heads;
      const float* key = call.state_row(state, sequence, position, LLMH_PART_KEYS, kv * attrs.k_head_dim);
      if (key == nullptr) continue;  // beyond every window
      keys.push_back({position, key});
      values.push_back(
          {position, call.state_row(state, sequence, position, LLMH_PART_VALUES, kv * attrs.v_head_dim)});
    }
    for_each_query(step, sequence, attrs.n_heads, [&](int64_t token, int64_t head) {
      const int64_t at = token * attrs.n_heads + head;
      const Seen seen = heads.look(head, {step.positions[token], q.data() + at * attrs.k_head_dim}, keys);
      heads.mix(head, seen, values, heads.log_sum(head, seen), call.out_floats() + at * attrs.v_head_dim);
    });
  }
}

}  // namespace llmhost::graph::eval
