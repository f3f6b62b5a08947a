// Sparse adapters and low-rank ones with top-k attention trained as in the references (tests/data/finetune).
#include "train/golden_case.h"

using namespace llmhost;
using namespace llmhost::test;

TEST_CASE("sparse adapters train as in PEFT") {
  const auto folder = golden("shira/llama_q_down");
  const Json about = read_json_file(folder / "case.json");
  const GoldenModel base(golden("models/llama"));
  const auto method = train::Method::open_adapter(built_plugins(), folder);
  train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
  stack.load_values(folder);
  const auto expected = folder / "training.safetensors";
  CHECK(check_gradients(stack, about.at("loss"), expected, "grad/") == stack.trained().size());
  check_path(stack, *method, base.device(), about, expected);
  // The entries are written as they were read.
  const auto file = model::SafetensorsFile::open(folder / "adapter_model.safetensors");
  const auto written = method->file_tensors(*base.model);
  CHECK(written.size() == stack.trained().size());
  for (const auto& tensor : written) {
    CAPTURE(tensor.name);
    const auto* const stored = file.find(tensor.name);
    REQUIRE(stored != nullptr);
    CHECK(std::ranges::equal(tensor.data, stored->data()));
  }
}

TEST_CASE("gradients of low-rank adapters under top-k attention") {
  for (const char* const name : {"llama", "mistral", "gpt_neox"}) {
    const std::string folder = std::string("topk/") + name + "/";
    const Json ratio = read_json_file(golden(folder + "case.json")).at("ratios").at("0.5");
    if (!ratio.contains("adapter")) continue;
    CAPTURE(name);
    const GoldenModel base(golden(std::string("models/") + name));
    const auto method = train::Method::open(built_plugins(), "lora",
                                            parse_yaml("{r: 8, lora_alpha: 16, target_modules: [q_proj, "
                                                       "v_proj], use_topk_attention: true, topk_ratio: 0.5}",
                                                       "test"),
                                            "test");
    train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
    stack.load_values(golden(ratio.at("adapter").get<std::string>()));
    CHECK(check_gradients(stack, ratio.at("adapter_loss"), golden(folder + "expected.safetensors"),
                          "grad_0.5/") == stack.trained().size());
  }
}
