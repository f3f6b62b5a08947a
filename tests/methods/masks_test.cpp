// Masks beside the goldens (tests/data/finetune/sparse/units: exact, with ties), N of M by hand, and what
// masked training does to weights, gradients and moments between two steps.
#include "masks.h"

#include <doctest/doctest.h>

#include <cstring>

#include "core/json.h"
#include "masked_training.h"
#include "model/safetensors.h"
#include "support/paths.h"

using namespace llmhost;

namespace {

const std::filesystem::path kUnits = test::data("finetune/sparse/units.safetensors");

template <typename T>
std::vector<T> values(const model::SafetensorsFile& file, const std::string& name) {
  const model::SafetensorsTensor* const tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  std::vector<T> result(tensor->size_bytes / sizeof(T));
  std::memcpy(result.data(), tensor->data().data(), tensor->size_bytes);
  return result;
}

// One matrix with what an optimiser has of it.
struct Matrix {
  std::vector<int64_t> shape;
  std::vector<float> value, gradient, first, second;
  std::string name = "w";

  Matrix(std::vector<int64_t> sizes, std::vector<float> values)
      : shape(std::move(sizes)),
        value(std::move(values)),
        gradient(value.size(), 1),
        first(value.size(), 2),
        second(value.size(), 3) {}
  llmh::TunedTensor tuned() { return {name, shape, value, gradient, first, second}; }
};

llmh_step_info step(int64_t number, int64_t n_steps) {
  return {sizeof(llmh_step_info), 0, number, n_steps};
}

}  // namespace

TEST_CASE("masks by magnitude are those of the goldens") {
  const auto file = model::SafetensorsFile::open(kUnits);
  const Json cases = read_json_file(test::data("finetune/sparse/units.json"));
  for (const char* const name : {"prune_half", "prune_ties"}) {
    CAPTURE(name);
    const auto weight = values<float>(file, std::string(name) + "/weight");
    const auto expected = values<uint8_t>(file, std::string(name) + "/mask_out");
    CHECK(sparse::magnitude_mask(weight, cases[name]["sparsity"].get<double>()) == expected);
  }
}

TEST_CASE("moved masks, and the weights after it, are those of the goldens") {
  const auto file = model::SafetensorsFile::open(kUnits);
  const Json cases = read_json_file(test::data("finetune/sparse/units.json"));
  for (const auto& [name, about] : cases.items()) {
    if (!name.starts_with("rigl")) continue;
    CAPTURE(name);
    const auto mask_in = values<uint8_t>(file, name + "/mask_in");
    auto weight = values<float>(file, name + "/weight");
    const auto gradient = values<float>(file, name + "/grad");
    const double fraction = sparse::update_fraction(about["alpha"], about["t"], about["t_end"]);
    CHECK(fraction == doctest::Approx(about["fraction"].get<double>()).epsilon(1e-14));
    const auto mask = sparse::moved_mask(weight, gradient, mask_in, fraction);
    CHECK(mask == values<uint8_t>(file, name + "/mask_out"));
    const auto fresh = values<uint8_t>(file, name + "/fresh");
    for (size_t i = 0; i < mask.size(); ++i) CHECK((mask[i] == 1 && mask_in[i] == 0) == (fresh[i] == 1));
    sparse::Mask stays(mask.size());
    for (size_t i = 0; i < mask.size(); ++i) stays[i] = mask[i] & mask_in[i];
    sparse::clear_inactive(stays, weight);
    CHECK(weight == values<float>(file, name + "/weight_out"));
  }
}

TEST_CASE("N of M keeps the largest of each group, of equal ones the first") {
  const std::vector<float> weight = {1, -3, 2, 0.5F, 0, 0, 0, 0, -1, 1, 1, -1};
  CHECK(sparse::group_mask(weight, 2, 4) == sparse::Mask{0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0});
  CHECK(sparse::group_mask(weight, 1, 2) == sparse::Mask{0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0});
}

TEST_CASE("masked training: weights start masked, gradients and weights stay masked") {
  Matrix matrix({2, 3}, {5, -1, 3, 2, -6, 4});
  std::vector<llmh::TunedTensor> tensors{matrix.tuned()};
  sparse::MaskOptions options;
  options.sparsity = 0.5;
  sparse::MaskedTraining training(options);
  training.start(tensors);
  CHECK(matrix.value == std::vector<float>{5, 0, 0, 0, -6, 4});
  CHECK(training.before_update(step(1, 10), tensors));
  CHECK(matrix.gradient == std::vector<float>{1, 0, 0, 0, 1, 1});
  matrix.value = {1, 1, 1, 1, 1, 1};  // what a careless optimiser does
  training.after_update(tensors);
  CHECK(matrix.value == std::vector<float>{1, 0, 0, 0, 1, 1});
}

TEST_CASE("masked training: of equal entries the one stays that comes first in the file") {
  const std::vector<float> weight = {3, 2, 1, 1, 0, 0};  // in a file that holds it as [3,2]: 3 1 2 0 1 0
  Matrix matrix({2, 3}, weight);
  std::vector<llmh::TunedTensor> tensors{matrix.tuned()};
  sparse::MaskOptions options;
  options.sparsity = 0.5;
  options.moves = true;
  options.interval = 1;
  options.fraction = 1;
  options.end = 1'000'000;
  sparse::MaskedTraining as_is(options);
  as_is.start(tensors);
  CHECK(matrix.value == std::vector<float>{3, 2, 1, 0, 0, 0});
  matrix.value = weight;
  sparse::MaskedTraining transposed(options);
  transposed.set_transposed({matrix.name});
  transposed.start(tensors);
  CHECK(matrix.value == std::vector<float>{3, 2, 0, 1, 0, 0});
  // Nearly all active ones move, and all gradients are equal: to the first ones that are not kept.
  CHECK_FALSE(transposed.before_update(step(1, 10), tensors));
  matrix.value = {1, 1, 1, 1, 1, 1};
  transposed.after_update(tensors);
  CHECK(matrix.value == std::vector<float>{1, 1, 0, 1, 0, 0});
}

TEST_CASE("masked training: an update moves masks instead of weights, and a restored state goes on") {
  Matrix matrix({1, 6}, {5, 1, 3, -2, 6, 4});
  std::vector<llmh::TunedTensor> tensors{matrix.tuned()};
  sparse::MaskOptions options;
  options.sparsity = 0.5;
  options.moves = true;
  options.interval = 2;
  options.fraction = 1;
  options.end = 100;
  sparse::MaskedTraining training(options);
  training.start(tensors);
  CHECK(training.before_update(step(1, 200), tensors));
  matrix.gradient = {0, 9, 0, 0.5F, 0, 0};
  const std::string before = training.state();
  const Matrix untouched = matrix;
  CHECK_FALSE(training.before_update(step(2, 200), tensors));
  // Two of three are dropped (5 and 4 stay behind 6), 9 and 0.5 are the largest gradients.
  CHECK(matrix.value == std::vector<float>{0, 0, 0, 0, 6, 0});
  CHECK(matrix.first == std::vector<float>{0, 0, 0, 0, 2, 0});
  CHECK(matrix.gradient == std::vector<float>(6, 0.0F));  // of what was active
  matrix.gradient.assign(6, 1);
  CHECK(training.before_update(step(3, 200), tensors));
  CHECK(matrix.gradient == std::vector<float>{0, 1, 0, 1, 1, 0});

  Matrix again = untouched;
  std::vector<llmh::TunedTensor> other{again.tuned()};
  sparse::MaskedTraining resumed(options);
  resumed.set_state(before);
  CHECK_FALSE(resumed.before_update(step(2, 200), other));
  again.gradient.assign(6, 1);
  CHECK(resumed.before_update(step(3, 200), other));
  CHECK(again.gradient == matrix.gradient);
  CHECK(resumed.state() == training.state());
}

TEST_CASE("masked training: no update from the end on, by default three quarters of the steps") {
  Matrix matrix({1, 4}, {1, 2, 3, 4});
  std::vector<llmh::TunedTensor> tensors{matrix.tuned()};
  sparse::MaskOptions options;
  options.sparsity = 0.5;
  options.moves = true;
  options.interval = 5;
  options.fraction = 0.5;
  sparse::MaskedTraining training(options);
  training.start(tensors);
  std::vector<int64_t> updates;
  for (int64_t s = 1; s <= 40; ++s)
    if (!training.before_update(step(s, 40), tensors)) updates.push_back(s);
  CHECK(updates == std::vector<int64_t>{5, 10, 15, 20, 25});
}

TEST_CASE("masked training: damaged states and values that are not finite are refused") {
  Matrix matrix({1, 20}, std::vector<float>(20, 1));
  std::vector<llmh::TunedTensor> tensors{matrix.tuned()};
  sparse::MaskOptions options;
  options.sparsity = 0.5;
  options.moves = true;
  options.interval = 1;
  options.end = 10;
  sparse::MaskedTraining training(options);
  training.start(tensors);
  const std::string state = training.state();
  for (size_t n = 0; n < state.size(); ++n)
    CHECK_THROWS_AS(sparse::MaskedTraining(options).set_state(state.substr(0, n)), llmh::Error);
  CHECK_THROWS_AS(sparse::MaskedTraining(options).set_state(state + "x"), llmh::Error);
  sparse::MaskedTraining empty(options);
  CHECK_THROWS_WITH_AS(empty.before_update(step(1, 20), tensors),
                       "the masks are those of another model or of other modules", llmh::Error);
  matrix.gradient[3] = NAN;
  CHECK_THROWS_WITH_AS(training.before_update(step(1, 20), tensors),
                       "'w': its gradient has a value that is not finite", llmh::Error);
}

TEST_CASE("sparsity types") {
  sparse::MaskOptions options;
  sparse::parse_type("unstructured", options);
  CHECK(options.group == 0);
  sparse::parse_type("2:4", options);
  CHECK(options.kept == 2);
  CHECK(options.group == 4);
  for (const char* const bad :
       {"", "structured", "4:2", "2:2", "0:4", "2:", ":4", "2:4:8", "-1:4", "2:400"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(sparse::parse_type(bad, options), llmh::Error);
  }
}
