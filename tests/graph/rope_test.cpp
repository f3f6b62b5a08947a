// Rotary angles against vectors made with transformers' formulas (tests/data/graph/make_rope_vectors.py).
#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "core/error.h"
#include "graph_run.h"
#include "support/paths.h"

namespace llmhost::graph {
namespace {

using Fields = std::map<std::string, std::string>;

Fields parse_fields(const std::string& line) {
  Fields fields;
  std::istringstream words(line);
  for (std::string word; words >> word;)
    fields[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
  return fields;
}

float number(const Fields& fields, const std::string& key) {
  const auto found = fields.find(key);
  return found == fields.end() ? 0.0F : std::stof(found->second);
}

std::vector<float> numbers(const Fields& fields, const std::string& key) {
  std::vector<float> values;
  if (!fields.contains(key)) return values;
  std::istringstream text(fields.at(key));
  for (std::string item; std::getline(text, item, ',');) values.push_back(std::stof(item));
  return values;
}

struct Angles {
  explicit Angles(const Fields& fields)
      : short_factors(numbers(fields, "short_factors")),
        long_factors(numbers(fields, "long_factors")),
        freq_factors(numbers(fields, "freq_factors")) {
    auto attrs = make_attrs<llmh_rope_angles_attrs>();
    attrs.rotary_dim = static_cast<int32_t>(number(fields, "rotary_dim"));
    attrs.theta = number(fields, "theta");
    attrs.scaling = static_cast<int32_t>(number(fields, "scaling"));
    attrs.factor = number(fields, "factor");
    attrs.original_context = number(fields, "original_context");
    attrs.low_freq_factor = number(fields, "low_freq_factor");
    attrs.high_freq_factor = number(fields, "high_freq_factor");
    attrs.beta_fast = number(fields, "beta_fast");
    attrs.beta_slow = number(fields, "beta_slow");
    attrs.attention_factor = number(fields, "attention_factor");
    attrs.truncate = static_cast<int32_t>(number(fields, "truncate"));
    if (!short_factors.empty()) attrs.short_factors = short_factors.data();
    if (!long_factors.empty()) attrs.long_factors = long_factors.data();
    half = static_cast<size_t>(attrs.rotary_dim / 2);
    llmh_tensor divisors = LLMH_NO_TENSOR;
    const int64_t shape[] = {attrs.rotary_dim / 2};
    if (!freq_factors.empty())
      divisors = graph.add_constant("f", LLMH_DTYPE_F32, shape, std::as_bytes(std::span(freq_factors)));
    const llmh_tensor inputs[] = {graph.add_input(LLMH_INPUT_POSITIONS),
                                  graph.add_input(LLMH_INPUT_ROPE_LENGTHS), divisors};
    outputs = graph.add_node(LLMH_OP_ROPE_ANGLES, "", inputs, &attrs, sizeof attrs);
  }
  std::vector<float> short_factors, long_factors, freq_factors;
  Graph graph;
  std::vector<llmh_tensor> outputs;
  size_t half = 0;
};

// Tolerance: the formulas are the same f32 and double steps, so only the last bit of a frequency may differ
// (pow of another library); times position p that is an angle off by p * 2^-23 * frequency at most, 0.016 at
// 131071.
TEST_CASE("rope_angles equals transformers' formulas for every scaling") {
  std::ifstream file(llmhost::test::data("graph/rope_angles.txt"));
  std::unique_ptr<Angles> angles;
  int cases = 0;
  size_t differing = 0;
  size_t total = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.find('=') != std::string::npos) {
      CAPTURE(line);
      angles = std::make_unique<Angles>(parse_fields(line));
      ++cases;
      continue;
    }
    REQUIRE(angles != nullptr);
    std::istringstream words(line);
    test::StepData step({0}, {1});
    words >> step.positions[0] >> step.rope_lengths[0];
    test::Run run(angles->graph, step);
    run.eval();
    for (size_t part = 0; part < 2; ++part) {
      const auto actual = run.floats(angles->outputs[part]);
      for (size_t i = 0; i < angles->half; ++i) {
        double expected = 0;
        words >> expected;
        const double error = std::abs(static_cast<double>(actual[i]) - expected);
        CAPTURE(cases);
        CAPTURE(step.positions[0]);
        CAPTURE(i);
        CHECK(error <= 1e-7 + step.positions[0] * 0x1p-23);
        differing += error > 0 ? 1 : 0;
        ++total;
      }
    }
  }
  CHECK(cases == 11);
  // The same computation, so nearly every value has the same bits.
  CHECK(total == 3892);
  CHECK(differing * 100 <= total);
}

TEST_CASE("scalings that go by length take each token's own length") {
  Fields fields = parse_fields("rotary_dim=8 theta=10000.0 scaling=2 factor=4.0 original_context=4");
  Angles angles(fields);
  // Token by token: lengths 1 to 9. Whole prompt of 9: length 9 for all of its tokens.
  test::StepData prompt({0}, {9});
  test::Run whole(angles.graph, prompt);
  whole.eval();
  const auto cosines = whole.floats(angles.outputs[0]);
  for (int32_t t = 0; t < 9; ++t) {
    test::StepData single({t}, {1});
    single.rope_lengths[0] = 9;
    test::Run run(angles.graph, single);
    const auto row = run.eval().floats(angles.outputs[0]);
    CHECK(std::equal(row.begin(), row.end(), cosines.begin() + t * 4));
  }
}

TEST_CASE("attributes that make no sense are refused") {
  CHECK_THROWS_WITH_AS(Angles(parse_fields("rotary_dim=7 theta=10000.0 scaling=0")),
                       "rope_angles: rotary_dim is 7, it must be even", Error);
  CHECK_THROWS_WITH_AS(Angles(parse_fields("rotary_dim=8 theta=10000.0 scaling=1")),
                       "rope_angles: factor is 0, it must be positive", Error);
  CHECK_THROWS_WITH_AS(Angles(parse_fields("rotary_dim=8 theta=10000.0 scaling=5 original_context=4")),
                       "rope_angles: short_factors and long_factors are needed", Error);
  CHECK_THROWS_AS(Angles(parse_fields("rotary_dim=8 theta=10000.0 scaling=6")), Error);
}

}  // namespace
}  // namespace llmhost::graph
