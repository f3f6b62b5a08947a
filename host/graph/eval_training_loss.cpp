// The losses of next tokens, with logits and without.
#include <cmath>
#include <limits>

#include "graph/eval.h"

namespace llmhost::graph::eval {
namespace {

constexpr int32_t kNoLabel = -100;

// The label of a row, or kNoLabel.
int32_t label_of(const NodeCall& call, uint32_t index, int64_t row, int64_t vocabulary) {
  const int32_t label = reinterpret_cast<const int32_t*>(call.in(index).data)[row];
  if (label != kNoLabel && (label < 0 || label >= vocabulary))
    call.fail(ErrorCode::kOutOfRange,
              fmt::format("label {} of row {} is outside the {} logits", label, row, vocabulary));
  return label;
}

double log_sum_exp(const std::vector<double>& values) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const double value : values) largest = std::max(largest, value);
  double sum = 0;
  for (const double value : values) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

std::vector<double> row_of(const Floats& x, int64_t row, int64_t width) {
  const float* first = x.data() + row * width;
  return {first, first + width};
}

// softmax(logits) - 1 at the label
std::vector<double> logit_gradient(const std::vector<double>& logits, double log_sum, int32_t label) {
  std::vector<double> result;
  for (const double logit : logits) result.push_back(std::exp(logit - log_sum));
  result[static_cast<size_t>(label)] -= 1;
  return result;
}

// A linear head with what follows it.
struct Head {
  const Floats x;
  const Floats weight;
  const Floats bias;
  int64_t width;
  int64_t vocabulary;
  double value;
  double cap;

  explicit Head(const NodeCall& call)
      : x(call.in(0)),
        weight(call.in(1)),
        bias(call.has(2) ? call.in(2) : Operand{}),
        width(call.in(1).sizes[1]),
        vocabulary(call.in(1).sizes[0]),
        value(static_cast<double>(call.as<llmh_head_attrs>().value)),
        cap(static_cast<double>(call.as<llmh_head_attrs>().softcap)) {
    if (value == 0) value = 1;
  }

  std::vector<double> logits(int64_t row) const {
    std::vector<double> result;
    for (int64_t v = 0; v < vocabulary; ++v) {
      double sum = bias.data() == nullptr ? 0.0 : static_cast<double>(bias[v]);
      for (int64_t i = 0; i < width; ++i)
        sum += static_cast<double>(x[row * width + i]) * static_cast<double>(weight[v * width + i]);
      sum *= value;
      result.push_back(cap == 0 ? sum : cap * std::tanh(sum / cap));
    }
    return result;
  }

  // The gradient of a row of x from that of its logits.
  void back(const std::vector<double>& logits, const std::vector<double>& gradient, float* dx) const {
    std::vector<double> sums(static_cast<size_t>(width), 0.0);
    for (int64_t v = 0; v < vocabulary; ++v) {
      const double capped = cap == 0 ? 0.0 : logits[static_cast<size_t>(v)] / cap;
      const double slope = gradient[static_cast<size_t>(v)] * value * (1 - capped * capped);
      for (int64_t i = 0; i < width; ++i)
        sums[static_cast<size_t>(i)] += slope * static_cast<double>(weight[v * width + i]);
    }
    for (int64_t i = 0; i < width; ++i) dx[i] = static_cast<float>(sums[static_cast<size_t>(i)]);
  }
};

}  // namespace

void cross_entropy(const NodeCall& call) {
  const Floats logits(call.in(0));
  const int64_t vocabulary = call.in(0).sizes[1];
  for (int64_t row = 0; row < call.out().count; ++row) {
    const int32_t label = label_of(call, 1, row, vocabulary);
    call.out_floats()[row] = 0;
    if (label == kNoLabel) continue;
    const auto values = row_of(logits, row, vocabulary);
    call.out_floats()[row] = static_cast<float>(log_sum_exp(values) - values[static_cast<size_t>(label)]);
  }
}

void cross_entropy_grad(const NodeCall& call) {
  const Floats logits(call.in(0));
  const Floats dloss(call.in(2));
  const int64_t vocabulary = call.in(0).sizes[1];
  std::fill_n(call.out_floats(), call.out().count, 0.0F);
  for (int64_t row = 0; row < call.in(1).count; ++row) {
    const int32_t label = label_of(call, 1, row, vocabulary);
    if (label == kNoLabel) continue;
    const auto values = row_of(logits, row, vocabulary);
    const auto gradient = logit_gradient(values, log_sum_exp(values), label);
    for (int64_t v = 0; v < vocabulary; ++v)
      call.out_floats()[row * vocabulary + v] =
          static_cast<float>(gradient[static_cast<size_t>(v)] * static_cast<double>(dloss[row]));
  }
}

void linear_cross_entropy(const NodeCall& call) {
  const Head head(call);
  float* dx = call.out_floats(1);
  std::fill_n(dx, call.out(1).count, 0.0F);
  for (int64_t row = 0; row < call.out().count; ++row) {
    const int32_t label = label_of(call, 3, row, head.vocabulary);
    call.out_floats()[row] = 0;
    if (label == kNoLabel) continue;
    const auto logits = head.logits(row);
    const double log_sum = log_sum_exp(logits);
    call.out_floats()[row] = static_cast<float>(log_sum - logits[static_cast<size_t>(label)]);
    head.back(logits, logit_gradient(logits, log_sum, label), dx + row * head.width);
  }
}

}  // namespace llmhost::graph::eval
