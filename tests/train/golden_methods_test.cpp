// Whole models, masks, a base in four bits, micro-batches and top-k attention beside torch, bitsandbytes and
// rigl-torch (tests/data/finetune).
#include "train/golden_case.h"
#include "train/stored_tensors.h"

using namespace llmhost;
using namespace llmhost::test;

namespace {

std::unique_ptr<train::Method> open(const char* name, const std::string& settings = "{}") {
  return train::Method::open(built_plugins(), name, parse_yaml(settings, "test"), "test");
}

Json about(const std::string& path) {
  return read_json_file(golden(path));
}

// Bit `index` of a packed mask.
bool mask_bit(const std::vector<uint8_t>& mask, size_t index) {
  return (mask[index / 8] >> (7 - index % 8) & 1) != 0;
}

std::vector<uint8_t> packed_mask(const std::filesystem::path& path, const std::string& name) {
  const auto file = model::SafetensorsFile::open(path);
  const auto* const tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  const auto* const begin = reinterpret_cast<const uint8_t*>(tensor->data().data());
  return {begin, begin + tensor->data().size()};
}

void check_masks(const train::TrainingStack& stack, const std::filesystem::path& expected,
                 const std::string& prefix) {
  for (const train::TrainedValue& tensor : stack.trained()) {
    CAPTURE(tensor.name);
    const std::vector<uint8_t> mask = packed_mask(expected, prefix + tensor.file_name);
    size_t differing = 0;
    for (size_t i = 0; i < tensor.value.size(); ++i)
      differing += (tensor.value[i] != 0) != mask_bit(mask, i) ? 1 : 0;
    CHECK(differing <= 4);
  }
}

}  // namespace

TEST_CASE("gradients of whole models have the names and the orientation of their files") {
  for (const char* const name :
       {"llama", "mistral", "mixtral", "falcon", "gpt2", "gpt_neox", "phi", "gemma", "qwen2"}) {
    INFO(std::string(name));
    const GoldenModel base(golden(std::string("models/") + name));
    const auto method = open("full");
    train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
    const std::vector<train::Example> batch = golden_batch("eval");
    const auto n = static_cast<double>(count_targets(batch));
    const double loss = stack.accumulate(pointers(batch), 0) / n;
    const auto expected = golden(std::string("base/") + name + ".safetensors");
    CHECK(std::abs(loss - static_cast<double>(golden_tensor(expected, "loss")[0])) < kLossLimit);
    const auto gradients = train::gradient_files(*base.model, *method, stack, 1 / n);
    size_t compared = 0;
    for (const train::FileTensor& tensor : gradients) {
      CAPTURE(tensor.name);
      const std::vector<float> want = golden_tensor(expected, "grad/" + tensor.name);
      if (want.empty()) continue;
      ++compared;
      CHECK(largest_difference(tensor.values, want) < kGradientLimit);
    }
    size_t wanted = 0;
    const auto file = model::SafetensorsFile::open(expected);
    for (const auto& tensor : file.tensors()) wanted += tensor.name.starts_with("grad/") ? 1 : 0;
    CHECK(compared == wanted);
  }
}

TEST_CASE("whole models train as in torch") {
  for (const char* const name : {"llama", "mixtral", "gpt_neox"}) {
    INFO(std::string(name));
    const GoldenModel base(golden(std::string("models/") + name));
    const auto method = open("full");
    train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
    check_path(stack, *method, base.device(), about(std::string("base/") + name + ".json"),
               golden(std::string("base/") + name + ".safetensors"));
  }
}

TEST_CASE("checkpointed layers give the same gradients bit for bit") {
  const GoldenModel base(golden("models/llama"));
  const std::vector<train::Example> batch = golden_batch("eval");
  std::vector<std::vector<float>> first;
  for (const bool checkpointed : {false, true}) {
    const auto method = train::Method::open_adapter(built_plugins(), golden("lora/llama_qv"));
    train::TrainingOptions options = golden_options();
    options.checkpoint_layers = checkpointed;
    train::TrainingStack stack(*base.model, base.device(), *method, options);
    stack.load_values(golden("lora/llama_qv"));
    stack.accumulate(pointers(batch), 0);
    for (size_t i = 0; i < stack.trained().size(); ++i) {
      const auto gradient = stack.trained()[i].gradient;
      if (!checkpointed)
        first.emplace_back(gradient.begin(), gradient.end());
      else
        CHECK(std::ranges::equal(first[i], gradient));
    }
  }
}

TEST_CASE("the number of threads changes no bit") {
  const std::vector<train::Example> batch = golden_batch("eval");
  std::vector<std::vector<float>> first;
  for (const int32_t threads : {1, 3}) {
    const GoldenModel base(golden("models/llama"), threads);
    const auto method = open("full");
    train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
    train::Stepper::Options options;
    options.n_steps = 2;
    train::Stepper stepper(stack, *method, options, base.device().pool());
    const std::vector<std::vector<const train::Example*>> step = {pointers(batch)};
    stepper.step(1, step);
    stepper.step(2, step);
    for (size_t i = 0; i < stack.trained().size(); ++i) {
      const auto value = stack.trained()[i].value;
      if (threads == 1)
        first.emplace_back(value.begin(), value.end());
      else
        CHECK(std::ranges::equal(first[i], value));
    }
  }
}

TEST_CASE("micro-batches are weighed by their targets") {
  const Json expected = about("accum/llama_qv/case.json");
  const GoldenModel base(golden("models/llama"));
  const auto method = train::Method::open_adapter(built_plugins(), golden("lora/llama_qv"));
  train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
  stack.load_values(golden("lora/llama_qv"));
  train::Stepper stepper(stack, *method, stepper_options(expected), base.device().pool());
  for (size_t i = 0; i < 10; ++i) {
    CAPTURE(i);
    const std::vector<train::Example> large = golden_batch("accum", i % 2);
    std::vector<std::vector<const train::Example*>> micro(4);
    for (size_t row = 0; row < large.size(); ++row) micro[row / 2].push_back(&large[row]);
    const train::StepResult result = stepper.step(static_cast<int64_t>(i) + 1, micro);
    CHECK(std::abs(result.loss - expected["traj"]["loss"][i].get<double>()) < kPathLossLimit);
    const double norm = expected["traj"]["grad_norm"][i];
    CHECK(std::abs(result.grad_norm - norm) < kPathNormLimit * std::max(1.0, norm));
  }
  for (const train::TrainedValue& tensor : stack.trained())
    CHECK(largest_difference(tensor.value, golden_tensor(golden("accum/llama_qv/expected.safetensors"),
                                                         "final/" + tensor.file_name)) < kFinalLimit);
}

TEST_CASE("a step without targets changes nothing") {
  const GoldenModel base(golden("models/llama"));
  const auto method = open("full");
  train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
  train::Stepper stepper(stack, *method, {}, base.device().pool());
  const train::Example none{{1, 2, 3}, {7, -100, -100}};  // the label at 0 is never a target
  const train::Example one_token{{5}, {5}};
  const std::vector<std::vector<const train::Example*>> micro = {{&none, &one_token}, {}};
  const std::vector<float> before(stack.trained()[0].value.begin(), stack.trained()[0].value.end());
  const train::StepResult result = stepper.step(1, micro);
  CHECK(result.loss == 0);
  CHECK(result.grad_norm == 0);
  CHECK(stepper.optimizer().updates() == 0);
  CHECK(std::ranges::equal(before, stack.trained()[0].value));
}

TEST_CASE("adapters over a base in four bits train as over bitsandbytes'") {
  const std::string folder = "qlora/llama_nf4_lora/";
  const Json expected = about(folder + "case.json");
  const auto numbers = golden(folder + "expected.safetensors");
  const GoldenModel stored(golden(folder + "nf4_model"));
  const auto method = train::Method::open_adapter(built_plugins(), golden(folder + "adapter"));
  train::TrainingStack stack(*stored.model, stored.device(), *method, golden_options());
  stack.load_values(golden(folder + "adapter"));
  CHECK(check_gradients(stack, expected.at("loss"), numbers, "grad/") == stack.trained().size());
  check_path(stack, *method, stored.device(), expected, numbers);
}

TEST_CASE("products that round activations stay as near as bitsandbytes' own") {
  const std::string folder = "qlora/llama_nf4_lora/";
  const Json expected = about(folder + "case.json");
  const Json& distance = expected.at("mixed_vs_f32");
  const GoldenModel stored(golden(folder + "nf4_model"));
  const auto method = open("qlora",
                           "{r: 8, lora_alpha: 16, target_modules: [q_proj, v_proj, down_proj], "
                           "bnb_4bit_compute_dtype: bfloat16}");
  train::TrainingStack stack(*stored.model, stored.device(), *method, golden_options());
  stack.load_values(golden(folder + "adapter"));
  const std::vector<train::Example> batch = golden_batch("eval");
  const auto n = static_cast<double>(count_targets(batch));
  const double loss = stack.loss(pointers(batch)) / n;
  CHECK(loss != doctest::Approx(expected.at("loss").get<double>()).epsilon(1e-8));  // they are rounded
  CHECK(std::abs(loss - expected.at("loss").get<double>()) < 0.02);
  train::Stepper stepper(stack, *method, stepper_options(expected), stored.device().pool());
  const Json& path = expected.at("traj_mixed");
  for (size_t i = 0; i < path.at("loss").size(); ++i) {
    const std::vector<train::Example> rows = golden_batch("train", i % 4);
    const std::vector<std::vector<const train::Example*>> step = {pointers(rows)};
    const train::StepResult result = stepper.step(static_cast<int64_t>(i) + 1, step);
    CHECK(std::abs(result.loss - path["loss"][i].get<double>()) < 3 * distance.at("traj_loss").get<double>());
    CHECK(std::abs(result.grad_norm - path["grad_norm"][i].get<double>()) <
          3 * distance.at("traj_grad_norm").get<double>());
  }
}

TEST_CASE("a base quantised at load is the one that bitsandbytes stores") {
  const std::string folder = "qlora/llama_nf4_lora/";
  const GoldenModel plain(golden("models/llama"));
  const GoldenModel stored(golden(folder + "nf4_model"));
  const std::vector<train::Example> batch = golden_batch("eval");
  const std::string settings =
      "{r: 8, target_modules: [q_proj, v_proj], load_in_4bit: true, bnb_4bit_quant_type: nf4, "
      "bnb_4bit_use_double_quant: true, bnb_4bit_compute_dtype: float32}";
  const auto at_load = open("qlora", settings);
  train::TrainingStack quantised(*plain.model, plain.device(), *at_load, golden_options());
  const auto as_stored = open("lora", "{r: 8, target_modules: [q_proj, v_proj]}");
  train::TrainingStack reference(*stored.model, stored.device(), *as_stored, golden_options());
  CHECK(quantised.loss(pointers(batch)) == doctest::Approx(reference.loss(pointers(batch))).epsilon(1e-6));
}

TEST_CASE("training under a mask by magnitude") {
  const Json expected = about("sparse/llama_magnitude/case.json");
  const GoldenModel base(golden("models/llama"));
  const auto method = open("sparse", "{sparsity_ratio: 0.5}");
  train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
  const auto numbers = golden("sparse/llama_magnitude/expected.safetensors");
  check_path(stack, *method, base.device(), expected, numbers);
  check_masks(stack, numbers, "mask0/");
}

TEST_CASE("training under masks that drop and grow") {
  const Json expected = about("sparse/llama_rigl/case.json");
  const GoldenModel base(golden("models/llama"));
  const auto method = open("sparse",
                           "{sparsity_ratio: 0.5, use_rigl: true, mask_update_interval: 5, "
                           "mask_update_fraction: 0.3, rigl_end_step: 25}");
  train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
  const auto numbers = golden("sparse/llama_rigl/expected.safetensors");
  check_path(stack, *method, base.device(), expected, numbers);
  check_masks(stack, numbers, fmt::format("mask{}/", expected.at("updates").size()));
}

TEST_CASE("top-k attention gives the logits of the reference") {
  for (const char* const name : {"llama", "mistral", "gpt_neox"}) {
    const std::string folder = std::string("topk/") + name + "/";
    const GoldenModel base(golden(std::string("models/") + name));
    const auto file = model::SafetensorsFile::open(golden(folder + "expected.safetensors"));
    for (const char* const ratio : {"0.1", "0.5"}) {
      INFO(std::string(name), " ", std::string(ratio));
      const auto method = open(
          "sparse", fmt::format("{{sparsity_ratio: 0, use_topk_attention: true, topk_ratio: {}}}", ratio));
      train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
      const std::vector<float> want =
          golden_tensor(golden(folder + "expected.safetensors"), std::string("logits_") + ratio);
      const std::vector<train::Example> batch = golden_batch("eval");
      const Json rows = about(folder + "case.json").at("logits_rows");
      const size_t width = want.size() / rows.size();
      for (size_t i = 0; i < rows.size(); ++i) {
        const std::vector<float> logits = stack.logits(batch.at(rows[i]).ids);
        CHECK(largest_difference(logits, std::span(want).subspan(i * width, logits.size())) < 1e-4);
      }
    }
  }
}
