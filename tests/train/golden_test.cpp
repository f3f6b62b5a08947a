// Adapters of PEFT differentiated and trained as torch does it (tests/data/finetune): loss and gradients of a
// fixed batch, then 20 or 30 steps of AdamW.
#include <map>

#include "train/golden_case.h"

using namespace llmhost;
using namespace llmhost::test;

namespace {

std::vector<std::filesystem::path> cases_of(const std::string& kind) {
  std::vector<std::filesystem::path> cases;
  for (const auto& entry : std::filesystem::directory_iterator(golden(kind)))
    if (std::filesystem::exists(entry.path() / "case.json")) cases.push_back(entry.path());
  std::ranges::sort(cases);
  return cases;
}

GoldenModel& model_of(const std::string& name) {
  static std::map<std::string, std::unique_ptr<GoldenModel>> models;
  auto& model = models[name];
  if (model == nullptr) model = std::make_unique<GoldenModel>(golden("models/" + name));
  return *model;
}

void check_adapter(const std::filesystem::path& folder) {
  const std::string name = folder.filename();
  CAPTURE(name);
  const Json about = read_json_file(folder / "case.json");
  const GoldenModel& base = model_of(about.at("model"));
  const auto method = train::Method::open_adapter(built_plugins(), folder);
  train::TrainingStack stack(*base.model, base.device(), *method, golden_options());
  stack.load_values(folder);
  const std::filesystem::path expected = folder / "training.safetensors";
  const size_t compared = check_gradients(stack, about.at("loss"), expected, "grad/");
  CHECK((compared == 0 || compared == stack.trained().size()));  // some cases have logits only
  check_path(stack, *method, base.device(), about, expected);
}

}  // namespace

TEST_CASE("low-rank adapters train as in PEFT") {
  for (const auto& folder : cases_of("lora")) check_adapter(folder);
}

TEST_CASE("weight-decomposed adapters train as in PEFT") {
  for (const auto& folder : cases_of("dora")) check_adapter(folder);
}
