// Dropout of what goes into branches, by its statistics: library and engine draw different numbers. Moments
// of one layer and of the training loss are those of PEFT (tests/data/finetune/dropout; 20000 and 2000
// draws). Limits are five deviations where one is known; the seeds are fixed, so a passing test passes
// always.
#include <doctest/doctest.h>

#include <map>

#include "engine/base_model.h"
#include "graph/builder.h"
#include "graph/graph_run.h"
#include "plugin/status.h"
#include "train/golden_case.h"

using namespace llmhost;
using namespace llmhost::test;
using graph::test::placeholder;

namespace {

constexpr size_t kDraws = 4000;
constexpr int64_t kWidth = 64;
const std::string kModule = "model.layers.0.self_attn.q_proj";

GoldenModel& llama() {
  static GoldenModel model(golden("models/llama"));
  return model;
}

std::string settings(const std::string& p) {
  return "{r: 8, lora_alpha: 16, target_modules: [q_proj, v_proj], lora_dropout: " + p + "}";
}

struct NoWeights final : graph::WeightLookup {
  std::optional<graph::WeightInfo> find(std::string_view) const override { return std::nullopt; }
};

// One linear as the method rewrites it, with the values of the adapter.
class Layer {
 public:
  Layer(const std::string& method, const std::string& p, const std::filesystem::path& adapter)
      : method_(train::Method::open(built_plugins(), method, parse_yaml(settings(p), "test"), "test")),
        base_(*llama().model, graph::modules_of(llama().model->graph()), engine::BaseModel::Fixed::kByKind),
        adapter_(model::SafetensorsFile::open(adapter / "adapter_model.safetensors")) {
    const llmh_base_model& table = *base_.table();
    std::vector<uint32_t> choices(table.n_modules, 0);
    plugin::check(method_->api().select(method_->get(), &table, choices.data()));
    uint32_t module = 0;
    while (base_.sites()[module].path != kModule) ++module;
    x_ = placeholder(graph_, {graph::test::kTokens, graph::constant_dim(kWidth)});
    weight_ = placeholder(graph_, graph::test::constant_dims({kWidth, kWidth}));
    for (llmh_tensor& out : outputs_) out = rewrite(module);
  }

  // Two rewrites of the same layer: [T, 64] each.
  std::array<std::vector<float>, 2> run(const std::vector<float>& x, uint64_t seed) const {
    graph::test::StepData step({0}, {static_cast<int32_t>(x.size() / kWidth)});
    step.dropout_seed = seed;
    graph::test::Run run(graph_, step);
    run.set(x_, x);
    run.set(weight_, golden_tensor(golden("models/llama/model.safetensors"), kModule + ".weight"));
    for (uint32_t i = 0; i < graph_.tensor_count(); ++i) {
      const llmh_tensor_info& info = graph_.tensor(static_cast<llmh_tensor>(i));
      if (info.role != LLMH_TENSOR_PARAMETER) continue;
      const auto* const stored = adapter_.find("base_model.model." + std::string(graph::to_view(info.name)));
      REQUIRE(stored != nullptr);
      std::vector<float> values(stored->data().size() / sizeof(float));
      std::memcpy(values.data(), stored->data().data(), stored->data().size());
      run.set(static_cast<llmh_tensor>(i), values);
    }
    run.eval();
    return {run.floats(outputs_[0]), run.floats(outputs_[1])};
  }

 private:
  llmh_tensor rewrite(uint32_t module) {
    const NoWeights no_weights;
    graph::GraphBuilder builder(graph_, no_weights, graph::BuilderMode::kRewrite);
    llmh_linear_info info{};
    info.struct_size = sizeof info;
    info.kind = LLMH_MODULE_LINEAR;
    info.module = module;
    info.weight_dtype = LLMH_DTYPE_F32;
    info.path = graph::to_str(kModule);
    info.in_features = info.out_features = kWidth;
    info.x = x_;
    info.weight = weight_;
    info.bias = LLMH_NO_TENSOR;
    info.y = graph::test::add(graph_, LLMH_OP_LINEAR, {x_, weight_});
    llmh_tensor out = LLMH_NO_TENSOR;
    plugin::check(method_->api().rewrite(method_->get(), builder.table(), &info, &out));
    return out;
  }

  std::unique_ptr<train::Method> method_;
  engine::BaseModel base_;
  model::SafetensorsFile adapter_;
  graph::Graph graph_;
  llmh_tensor x_ = LLMH_NO_TENSOR;
  llmh_tensor weight_ = LLMH_NO_TENSOR;
  std::array<llmh_tensor, 2> outputs_{};
};

std::vector<float> repeated(std::span<const float> row, size_t times) {
  std::vector<float> rows;
  for (size_t i = 0; i < times; ++i) rows.insert(rows.end(), row.begin(), row.end());
  return rows;
}

// Correlation of two series of deviations.
double correlation(std::span<const double> a, std::span<const double> b) {
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

// Deviations of output 0 from its mean, over rows [first, first + kDraws).
std::vector<double> deviations(const std::vector<float>& outputs, double mean, size_t first = 0) {
  std::vector<double> result(kDraws);
  for (size_t i = 0; i < kDraws; ++i) result[i] = outputs[(first + i) * kWidth] - mean;
  return result;
}

void check_moments(const std::string& kind, double p) {
  CAPTURE(kind);
  const auto file = golden("dropout/llama_q/expected.safetensors");
  const std::vector<float> x = golden_tensor(file, "x");
  const std::vector<float> mean = golden_tensor(file, kind + "/mean");
  const std::vector<float> variance = golden_tensor(file, kind + "/var");
  const Layer layer(kind, std::to_string(p), golden(kind + "/llama_qv"));
  // The outputs of a row lie in a space of the branch's rank, so their z move together: their mean square is
  // taken over several sets of draws.
  constexpr uint64_t kSets = 8;
  double sum_of_squares = 0;
  double largest = 0;
  double largest_ratio = 0;
  for (uint64_t set = 0; set < kSets; ++set) {
    const size_t row = set % 2;
    const auto draws = layer.run(repeated(std::span(x).subspan(row * kWidth, kWidth), kDraws), 7 + set)[0];
    for (size_t o = 0; o < kWidth; ++o) {
      double sum = 0;
      double squares = 0;
      for (size_t i = 0; i < kDraws; ++i) {
        const double d =
            static_cast<double>(draws[i * kWidth + o]) - static_cast<double>(mean[row * kWidth + o]);
        sum += d;
        squares += d * d;
      }
      const double expected = variance[row * kWidth + o];
      const double z = sum / kDraws / std::sqrt(expected / kDraws);
      sum_of_squares += z * z;
      largest = std::max(largest, std::abs(z));
      largest_ratio = std::max(largest_ratio, std::abs(squares / kDraws / expected - 1));
    }
  }
  const double rms = std::sqrt(sum_of_squares / (kWidth * kSets));
  CHECK(largest < 5);
  CHECK(rms > 0.75);
  CHECK(rms < 1.3);
  CHECK(largest_ratio < 6 * std::sqrt(2.0 / kDraws));
}

}  // namespace

TEST_CASE("mean and variance of a layer's outputs are those of the formula") {
  const Json about = read_json_file(golden("dropout/llama_q/case.json")).at("layer");
  for (const char* const kind : {"lora", "dora"}) check_moments(kind, about.at(kind).at("p"));
}

TEST_CASE("layers, tokens and steps draw on their own; the same seed draws the same") {
  const Layer layer("lora", "0.05", golden("lora/llama_qv"));
  const auto file = golden("dropout/llama_q/expected.safetensors");
  const std::vector<float> x = golden_tensor(file, "x");
  const double mean = golden_tensor(file, "lora/mean")[0];
  const auto rows = repeated(std::span(x).first(kWidth), 2 * kDraws);
  const auto step = layer.run(rows, 11);
  const auto next = layer.run(rows, 12);
  constexpr double kLimit = 5;
  const double root = std::sqrt(static_cast<double>(kDraws));
  const auto own = deviations(step[0], mean);
  CHECK(std::abs(correlation(own, deviations(step[1], mean))) < kLimit / root);
  CHECK(std::abs(correlation(own, deviations(step[0], mean, kDraws))) < kLimit / root);
  CHECK(std::abs(correlation(own, deviations(step[0], mean, 1))) < kLimit / root);
  CHECK(std::abs(correlation(own, deviations(next[0], mean))) < kLimit / root);
  CHECK(layer.run(rows, 11) == step);
  CHECK(next[0] != step[0]);
}

TEST_CASE("nothing is dropped without a seed: the bits are those of p = 0") {
  const std::vector<float> x = golden_tensor(golden("dropout/llama_q/expected.safetensors"), "x");
  for (const char* const kind : {"lora", "dora"}) {
    CAPTURE(kind);
    const auto folder = golden(std::string(kind) + "/llama_qv");
    CHECK(Layer(kind, "0.3", folder).run(x, 0) == Layer(kind, "0", folder).run(x, 0));
  }
}

TEST_CASE("part of the inputs that is kept") {
  for (const float p : {0.05F, 0.3F, 0.9F}) {
    size_t n_kept = 0;
    constexpr size_t kRows = 2000;
    for (size_t row = 0; row < kRows; ++row)
      for (size_t column = 0; column < kWidth; ++column)
        n_kept += static_cast<size_t>(
            llmh_dropout_keep(3, 5, static_cast<int64_t>(row), static_cast<int64_t>(column), p));
    const double n = static_cast<double>(kRows) * kWidth;
    CHECK(std::abs(static_cast<double>(n_kept) / n - (1 - p)) < 5 * std::sqrt(p * (1 - p) / n));
  }
}

TEST_CASE("the training loss of a whole model, and the same gradients when layers are computed again") {
  constexpr size_t kLossDraws = 400;
  const Json about = read_json_file(golden("dropout/llama_q/case.json"));
  const auto batch = golden_batch("eval");
  const auto n = static_cast<double>(count_targets(batch));
  for (const auto& [p, expected] : about.at("loss").items()) {
    CAPTURE(p);
    const auto method = train::Method::open(built_plugins(), "lora", parse_yaml(settings(p), "test"), "test");
    train::TrainingStack stack(*llama().model, llama().device(), *method, golden_options());
    stack.load_values(golden("lora/llama_qv"));
    double sum = 0;
    for (size_t i = 0; i < kLossDraws; ++i) sum += stack.accumulate(pointers(batch), 100 + i) / n;
    const double deviation = expected.at("std");
    const double limit =
        5 * deviation * std::sqrt(1.0 / kLossDraws + 1.0 / expected.at("draws").get<double>());
    CHECK(std::abs(sum / kLossDraws - expected.at("mean").get<double>()) < limit);
    CHECK(std::abs(stack.loss(pointers(batch)) / n - expected.at("loss_without_dropout").get<double>()) <
          kLossLimit);

    auto again = golden_options();
    again.checkpoint_layers = true;
    const auto other = train::Method::open(built_plugins(), "lora", parse_yaml(settings(p), "test"), "test");
    train::TrainingStack recomputed(*llama().model, llama().device(), *other, again);
    recomputed.load_values(golden("lora/llama_qv"));
    stack.zero_gradients();
    CHECK(stack.accumulate(pointers(batch), 5) == recomputed.accumulate(pointers(batch), 5));
    for (size_t i = 0; i < stack.trained().size(); ++i)
      CHECK(std::ranges::equal(stack.trained()[i].gradient, recomputed.trained()[i].gradient));
  }
}
