// Adapters beside what the library that defines their format computes (tests/data/finetune, f32): logits
// within 1e-4, ten times the library's own noise; greedy tokens exactly; a row in a mixed batch bit for bit
// as alone.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "adapters/adapter_model.h"
#include "core/json.h"

using namespace llmhost;
using namespace llmhost::test;

namespace {

constexpr float kTolerance = 1e-4F;

std::vector<std::string> cases(const std::string& kind) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(test::data("finetune/" + kind)))
    names.push_back(kind + "/" + entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// "lora/gpt_neox_all" is for the model whose name the case's begins with.
std::string model_of(const std::string& name) {
  const std::string rest = name.substr(name.find('/') + 1);
  std::string best;
  for (const auto& entry : std::filesystem::directory_iterator(test::data("finetune/models"))) {
    const std::string model = entry.path().filename().string();
    if (rest.starts_with(model + "_") && model.size() > best.size()) best = model;
  }
  return best;
}

AdapterModel& opened_model(const std::string& name, const std::string& backend) {
  static std::map<std::string, std::unique_ptr<AdapterModel>> opened;
  auto& entry = opened[backend + "/" + name];
  if (entry == nullptr) entry = std::make_unique<AdapterModel>("finetune/models/" + name, backend);
  return *entry;
}

void check_case(const std::string& name, const std::string& backend) {
  CAPTURE(name);
  CAPTURE(backend);
  AdapterModel& base = opened_model(model_of(name), backend);
  const auto adapter = base.load("finetune/" + name);
  const auto file = model::SafetensorsFile::open(test::data("finetune/" + name) / "expected.safetensors");
  const auto logits = tensor_values<float>(file, "logits");
  const auto n_rows = static_cast<size_t>(file.find("logits")->shape[0]);
  const auto rows = unpadded(tensor_values<int64_t>(file, "input_ids"),
                             tensor_values<int64_t>(file, "attention_mask"), n_rows);
  for (size_t i = 0; i < n_rows; ++i) {
    const RowOutput output = base.run({{rows[i], adapter}}).front();
    REQUIRE(output.error.empty());
    CHECK(distance(output, logits.data() + i * logits.size() / n_rows) <= kTolerance);
  }
}

}  // namespace

TEST_CASE("each adapter of the goldens") {
  for (const char* backend : {"cpu", "reference"})
    for (const char* kind : {"lora", "dora", "shira"})
      for (const std::string& name : cases(kind)) check_case(name, backend);
}

TEST_CASE("several adapters and base rows in one batch: each row as alone, bit for bit, and as expected") {
  AdapterModel& base = opened_model("llama", "cpu");
  const std::filesystem::path folder = test::data("finetune/serve/llama");
  const Json about = read_json_file(folder / "case.json");
  const auto file = model::SafetensorsFile::open(folder / "expected.safetensors");
  const auto logits = tensor_values<float>(file, "logits");
  const size_t n_rows = about["rows"].size();
  const auto ids = unpadded(tensor_values<int64_t>(file, "input_ids"),
                            tensor_values<int64_t>(file, "attention_mask"), n_rows);
  std::map<std::string, std::shared_ptr<const engine::Adapter>> adapters;
  std::vector<Row> rows;
  for (size_t i = 0; i < n_rows; ++i) {
    const Json& name = about["rows"][i]["adapter"];
    std::shared_ptr<const engine::Adapter> adapter;
    if (name.is_string()) {
      auto& known = adapters[name.get<std::string>()];
      if (known == nullptr) known = base.load("finetune/serve/llama/adapters/" + name.get<std::string>());
      adapter = known;
    }
    rows.push_back({ids[i], adapter});
  }
  // Of other kinds, whole rows.
  const auto extra_logits = tensor_values<float>(file, "extra.logits");
  const size_t n_extra = about["extra_rows"].size();
  const auto extra_ids = unpadded(tensor_values<int64_t>(file, "extra.input_ids"), {}, n_extra);
  for (size_t i = 0; i < n_extra; ++i) {
    const Json& path = about["extra_rows"][i]["path"];
    rows.push_back(
        {extra_ids[i], path.is_string() ? base.load("finetune/" + path.get<std::string>()) : nullptr});
  }
  const std::vector<RowOutput> mixed = base.run(rows, 8);
  const std::vector<RowOutput> chunked = base.run(rows, 8, 5);
  for (size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    const RowOutput alone = base.run({rows[i]}, 8).front();
    REQUIRE(mixed[i].error.empty());
    CHECK(mixed[i].logits == alone.logits);
    CHECK(mixed[i].tokens == alone.tokens);
    CHECK(chunked[i].logits == alone.logits);
    CHECK(chunked[i].tokens == alone.tokens);
    const size_t stride = logits.size() / n_rows;
    const float* const expected =
        i < n_rows ? logits.data() + i * stride : extra_logits.data() + (i - n_rows) * stride;
    CHECK(distance(mixed[i], expected) <= kTolerance);
    if (i < n_rows) CHECK(mixed[i].tokens == about["greedy_tokens"][i].get<std::vector<int32_t>>());
  }
}
