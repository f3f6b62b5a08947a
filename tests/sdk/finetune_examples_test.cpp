// The fine-tuning examples do what they say: their rewritten linears are run by the reference evaluator and
// compared with the method's formula.
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "../graph/graph_run.h"
#include "core/error.h"
#include "graph/builder.h"
#include "plugin/registry.h"
#include "plugin/status.h"

using llmhost::graph::Graph;
using llmhost::graph::GraphBuilder;
using llmhost::graph::test::constant_dims;
using llmhost::graph::test::placeholder;
using llmhost::graph::test::Run;
using llmhost::graph::test::StepData;
using llmhost::plugin::check;
using llmhost::plugin::Kind;

namespace {

std::string text(llmh_str str) {
  return {str.ptr, static_cast<size_t>(str.len)};
}
llmh_str str(std::string_view text) {
  return {text.data(), text.size()};
}

// A job's config: lists only, which is all the examples ask for.
struct Config : llmh_config {
  explicit Config(std::map<std::string, std::vector<std::string>> values)
      : llmh_config{}, lists(std::move(values)) {
    struct_size = sizeof(llmh_config);
    get_size = [](const llmh_config* self, llmh_str key, uint32_t* out) -> llmh_status* {
      *out = static_cast<uint32_t>(static_cast<const Config*>(self)->lists.at(text(key)).size());
      return nullptr;
    };
    get_list = [](const llmh_config* self, llmh_str key, uint32_t index, llmh_str* out) -> llmh_status* {
      *out = str(static_cast<const Config*>(self)->lists.at(text(key)).at(index));
      return nullptr;
    };
  }
  std::map<std::string, std::vector<std::string>> lists;
};

struct NoWeights : llmhost::graph::WeightLookup {
  std::optional<llmhost::graph::WeightInfo> find(std::string_view) const override { return std::nullopt; }
};

const llmh_finetune& method(const std::string& id) {
  static const llmhost::plugin::Registry registry({{LLMHOST_TEST_EXAMPLES}, false, true});
  return finetune(registry.require(Kind::kFinetune, id));
}

// y = x W^T + b with x [2,3], W [2,3] and an opened method to rewrite it.
struct Fixture {
  const std::vector<float> x = {1, 2, 3, -1, 0, 2};
  const std::vector<float> w = {1, 0, 2, -1, 3, 1};
  const std::vector<float> b = {0.5F, -0.25F};
  const std::string path = "model.layers.0.mlp.down_proj";
  const NoWeights no_weights;
  Graph graph;
  GraphBuilder builder{graph, no_weights, llmhost::graph::BuilderMode::kRewrite};
  llmh_linear_info linear{};

  Fixture() {
    linear.struct_size = sizeof linear;
    linear.kind = LLMH_MODULE_LINEAR;
    linear.path = str(path);
    linear.in_features = 3;
    linear.out_features = 2;
    linear.weight_dtype = LLMH_DTYPE_F32;
    linear.x = placeholder(graph, constant_dims({2, 3}));
    linear.weight = placeholder(graph, constant_dims({2, 3}));
    linear.bias = placeholder(graph, constant_dims({2}));
    linear.y = llmhost::graph::test::add(graph, LLMH_OP_LINEAR, {linear.x, linear.weight, linear.bias});
  }

  // What the method chooses for the module, in a model that has no other.
  uint32_t choice(const llmh_finetune& table, llmh_method* opened) const {
    llmh_base_module module{};
    module.struct_size = sizeof module;
    module.kind = LLMH_MODULE_LINEAR;
    module.path = linear.path;
    module.in_features = 3;
    module.out_features = 2;
    module.has_bias = 1;
    const llmh_base_module* const modules[] = {&module};
    llmh_base_model model{};
    model.struct_size = sizeof model;
    model.n_modules = 1;
    model.modules = modules;
    uint32_t choice = 0;
    check(table.select(opened, &model, &choice));
    return choice;
  }

  // The rewritten output when the method's parameter has these values.
  std::vector<float> rewritten(const llmh_finetune& table, const Config& config, const std::string& parameter,
                               const std::vector<float>& values) {
    llmh_method* opened = nullptr;
    check(table.open(&config, &opened));
    CHECK(choice(table, opened) == LLMH_TUNE_REWRITE);
    llmh_tensor out = LLMH_NO_TENSOR;
    check(table.rewrite(opened, builder.table(), &linear, &out));
    table.close(opened);
    const llmh_tensor trained = graph.find(parameter);
    REQUIRE(trained != LLMH_NO_TENSOR);
    Run run(graph, StepData({0}, {1}));
    run.set(linear.x, x).set(linear.weight, w).set(linear.bias, b).set(trained, values);
    return run.eval().floats(out);
  }

  // The formula, with inputs scaled by `in`, outputs by `factor` and shifted by `shift`.
  std::vector<float> expected(const std::vector<float>& in, const std::vector<float>& factor,
                              const std::vector<float>& shift) const {
    std::vector<float> y;
    for (size_t i = 0; i < 2; ++i)
      for (size_t n = 0; n < 2; ++n) {
        float sum = b[n];
        for (size_t k = 0; k < 3; ++k) sum += x[i * 3 + k] * in[k] * w[n * 3 + k];
        y.push_back(sum * factor[n] + shift[n]);
      }
    return y;
  }
};

}  // namespace

// All values are small binary fractions, so every sum is exact and the comparison may be, too.
TEST_CASE_FIXTURE(Fixture, "ia3 scales outputs") {
  const Config config({{"target_modules", {"down_proj"}}, {"feedforward_modules", {}}});
  CHECK(rewritten(method("ia3"), config, path + ".ia3_l", {2, -0.5F}) ==
        expected({1, 1, 1}, {2, -0.5F}, {0, 0}));
}

TEST_CASE_FIXTURE(Fixture, "ia3 scales the inputs of feed-forward modules") {
  const Config config({{"target_modules", {"down_proj"}}, {"feedforward_modules", {"down_proj"}}});
  CHECK(rewritten(method("ia3"), config, path + ".ia3_l", {2, -0.5F, 4}) ==
        expected({2, -0.5F, 4}, {1, 1}, {0, 0}));
}

TEST_CASE_FIXTURE(Fixture, "bias shifts outputs") {
  const Config config({{"target_modules", {"q_proj", "down_proj"}}});
  CHECK(rewritten(method("bias"), config, path + ".delta_bias", {8, -16}) ==
        expected({1, 1, 1}, {1, 1}, {8, -16}));
}

TEST_CASE_FIXTURE(Fixture,
                  "ia3 selects by whole names, names its tensors as PEFT does and explains a bad config") {
  const llmh_finetune& ia3 = method("ia3");
  const Config config({{"target_modules", {"proj", "k_proj"}}, {"feedforward_modules", {}}});
  llmh_method* opened = nullptr;
  check(ia3.open(&config, &opened));
  CHECK(choice(ia3, opened) == 0);
  char name[64];
  uint64_t length = 0;
  check(ia3.file_name(opened, str("a.ia3_l"), name, sizeof name, &length));
  CHECK(std::string(name, length) == "base_model.model.a.ia3_l");
  CHECK_THROWS_WITH(check(ia3.file_name(opened, str("a.ia3_l"), name, 4, &length)),
                    "plugin ia3: the name of a.ia3_l needs 24 bytes");
  llmh_str json{};
  check(ia3.config_json(opened, &json));
  CHECK(
      text(json) ==
      "{\"peft_type\": \"IA3\", \"target_modules\": [\"proj\", \"k_proj\"], \"feedforward_modules\": []}\n");
  ia3.close(opened);

  const Config bad({{"target_modules", {"q_proj"}}, {"feedforward_modules", {"down_proj"}}});
  CHECK_THROWS_WITH(check(ia3.open(&bad, &opened), "open"),
                    "plugin ia3: open: feedforward_modules: 'down_proj' is not among target_modules");
}
