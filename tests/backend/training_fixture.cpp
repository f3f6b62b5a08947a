#include "training_fixture.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/dequantize.h"
#include "graph/reference.h"

namespace llmhost::test {
namespace {

using Results = std::vector<std::vector<float>>;

Results results_of(Instance& instance, const TrainingCase& test, StepArrays& arrays, bool is_rounded) {
  Model model(instance, is_rounded ? test.rounded_graph : test.graph,
              is_rounded ? test.rounded_weights : test.weights);
  for (const auto& [tensor, values] : test.given) {
    const auto other = test.rounded.find(tensor);
    const auto& used = is_rounded && other != test.rounded.end() ? other->second : values;
    model.write(tensor, used.data(), used.size() * sizeof(float));
  }
  for (const auto& [tensor, values] : test.ids)
    model.write(tensor, values.data(), values.size() * sizeof(int32_t));
  model.run(arrays);
  Results results;
  for (const llmh_tensor tensor : test.results) results.push_back(model.read(tensor, arrays));
  return results;
}

double worst_difference(const Results& got, const Results& want) {
  double worst = 0;
  for (size_t r = 0; r < got.size(); ++r) {
    REQUIRE(got[r].size() == want[r].size());
    for (size_t i = 0; i < got[r].size(); ++i) {
      const double difference = std::abs(static_cast<double>(got[r][i]) - static_cast<double>(want[r][i]));
      worst = std::max(worst, std::isnan(difference) ? 1e300 : difference);
    }
  }
  return worst;
}

bool are_same_bits(const Results& a, const Results& b) {
  for (size_t r = 0; r < a.size(); ++r)
    if (!a[r].empty() && std::memcmp(a[r].data(), b[r].data(), a[r].size() * sizeof(float)) != 0)
      return false;
  return true;
}

}  // namespace

void check_training_case(const TrainingCase& test, StepArrays& arrays) {
  Instance reference(*graph::reference_backend());
  const bool may_round = test.precision == LLMH_PRECISION_NATIVE;
  const Results want = results_of(reference, test, arrays, false);
  const Results rounded = may_round ? results_of(reference, test, arrays, true) : want;
  for (const std::string& isa : usable_isas()) {
    CAPTURE(isa);
    Instance alone(cpu_backend(), isa, 0, test.precision);
    const Results got = results_of(alone, test, arrays, false);
    CHECK(std::min(worst_difference(got, rounded), worst_difference(got, want)) <= test.tolerance);
    for (const int32_t threads : {2, 3}) {
      CAPTURE(threads);
      Instance threaded(cpu_backend(), isa, threads, test.precision);
      CHECK(are_same_bits(results_of(threaded, test, arrays, false), got));
    }
  }
}

double weight_size(llmh_dtype dtype, const std::vector<std::byte>& data) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  std::vector<float> values(data.size() / layout.block_bytes * layout.block_elements);
  dequantize_row(dtype, data.data(), values.data(), values.size());
  double most = 1;
  for (const float value : values) most = std::max(most, std::abs(static_cast<double>(value)));
  return most;
}

std::vector<float> rounded_to_bf16(std::vector<float> values) {
  for (float& value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    value = std::bit_cast<float>((bits + 0x7FFFU + ((bits >> 16) & 1U)) & 0xFFFF0000U);
  }
  return values;
}

}  // namespace llmhost::test
