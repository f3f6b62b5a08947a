// DoRA (Liu et al. 2024, "DoRA: Weight-decomposed low-rank adaptation"): the rows of W + s B A keep their
// direction and get trained lengths m, so that a row of the linear is multiplied by m / |W + s B A|. Tensors
// and config are PEFT's.
#include <cmath>
#include <map>

#include "llmhost/finetune.hpp"
#include "peft/config.h"
#include "peft/low_rank.h"
#include "peft/serving.h"
#include "peft/settings.h"

namespace {

// One row at a time: the row of W + s B A, then its length.
std::vector<float> row_scale(const peft::MagnitudeBranch& branch) {
  const auto k = static_cast<size_t>(branch.in_features);
  const auto rank = static_cast<size_t>(branch.rank);
  std::vector<float> factors(static_cast<size_t>(branch.out_features));
  std::vector<float> row(k);
  for (size_t n = 0; n < factors.size(); ++n) {
    std::copy_n(branch.weight.data() + n * k, k, row.data());
    for (size_t r = 0; r < rank; ++r) {
      const float factor = branch.scale * branch.b[n * rank + r];
      const float* const a = branch.a + r * k;
      for (size_t i = 0; i < k; ++i) row[i] += factor * a[i];
    }
    double sum = 0;
    for (const float value : row) sum += static_cast<double>(value) * static_cast<double>(value);
    factors[n] = static_cast<float>(static_cast<double>(branch.magnitudes[n]) / std::sqrt(sum));
  }
  return factors;
}

peft::AdapterConfig config_of(const llmh::Settings& settings) {
  if (!settings.get_bool("use_dora"))
    throw llmh::Error(LLMH_INVALID_ARGUMENT,
                      "method: use_dora is false: that is the method lora, with the same keys");
  peft::AdapterConfig config = peft::read_branches(settings);
  config.has_magnitudes = true;
  if (config.start == peft::BranchStart::kRandom)
    throw llmh::Error(
        LLMH_INVALID_ARGUMENT,
        "method: init_lora_weights is false: the lengths of the rows start as the base's, so the branches "
        "must start at zero; use true or gaussian");
  return config;
}

class Dora : public peft::LowRankMethod {
 public:
  static void schema(llmh::Schema& schema) {
    peft::declare_branches(schema);
    schema.add_bool("use_dora", "true", "false is the method lora");
    peft::declare_four_bits(schema, false);
  }

  explicit Dora(const llmh::Settings& settings)
      : LowRankMethod(config_of(settings)), request_(peft::read_four_bits(settings)) {}
  Dora(peft::AdapterConfig config, peft::FileNames names)
      : LowRankMethod(std::move(config), std::move(names)) {}

  void begin(const llmh_base_model& model) override {
    LowRankMethod::begin(model);
    model_ = &model;
  }

  void base(llmh_base_request& request) override {
    request.linear_dtype = request_.linear_dtype;
    request.double_quant = request_.double_quant;
    request.compute_dtype = request_.compute_dtype;
  }

  static bool claims(std::string_view config_json) {
    return peft::kind_of(config_json) == peft::Kind::kWithMagnitudes;
  }
  static std::unique_ptr<Dora> from_adapter(const llmh_adapter_source& source) {
    return std::make_unique<Dora>(peft::parse_config(llmh::view(source.config_json)),
                                  peft::FileNames(source));
  }
  static void read(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink) {
    peft::read_adapter(source, model, sink, row_scale);
  }

 protected:
  // With z = x W^T and g = m / |W + s B A|: z + (g - 1) z' + g s (x' A^T) B^T + b. What the method adds sees
  // the input with dropped elements (x', z'), the base's part does not; the norms count as constant.
  llmh::Tensor rewrite_linear(llmh::Graph& graph, const llmh::Linear& linear) override {
    const Branch branch = add_branch(graph, linear);
    const llmh::Tensor magnitudes = add_magnitudes(graph, linear);
    const llmh::Scope scope = graph.scope(linear.path);
    auto attrs = llmh::make_attrs<llmh_scalar_attrs>();
    attrs.value = branch.scale;
    const llmh::Tensor norms =
        scope.op(LLMH_OP_LOW_RANK_ROW_NORMS, {linear.weight, branch.a, branch.b}, attrs);
    const llmh::Tensor factors = scope.op(LLMH_OP_DIV, {magnitudes, norms});
    const llmh::Tensor one = graph.constant({}, {}, {1.0F});
    const llmh::Tensor input = branch_input(linear);
    const llmh::Tensor z = linear.bias.present() ? product(scope, linear, linear.x) : linear.y;
    const llmh::Tensor dropped = config().dropout == 0 ? z : product(scope, linear, input);
    const llmh::Tensor y =
        z + dropped * (factors - one) + branch_output(graph, linear, branch, input) * factors;
    return linear.bias.present() ? y + linear.bias : y;
  }

 private:
  static llmh::Tensor product(const llmh::Scope& scope, const llmh::Linear& linear, llmh::Tensor x) {
    return scope.op(LLMH_OP_LINEAR, {x, linear.weight});
  }

  // Those of an adapter that is trained already come from its file.
  llmh::Tensor add_magnitudes(llmh::Graph& graph, const llmh::Linear& linear) {
    const std::string name = linear.path + ".lora_magnitude_vector";
    if (config().start == peft::BranchStart::kOther)
      return graph.parameter(name, {linear.out_features}, LLMH_INIT_ONES);
    return graph.parameter(name, {linear.out_features}, norms_of(linear));
  }

  // Of the base's rows; kept, since a graph is made more than once.
  const std::vector<float>& norms_of(const llmh::Linear& linear) {
    std::vector<float>& norms = norms_[linear.path];
    if (!norms.empty()) return norms;
    const auto n = static_cast<size_t>(linear.out_features);
    const auto k = static_cast<size_t>(linear.in_features);
    std::vector<float> weight(n * k);
    llmh::check(model_->weight(model_, linear.module, weight.data()));
    std::vector<float> made(n);
    for (size_t row = 0; row < n; ++row) {
      double sum = 0;
      for (size_t i = 0; i < k; ++i) sum += static_cast<double>(weight[row * k + i]) * weight[row * k + i];
      made[row] = static_cast<float>(std::sqrt(sum));
      if (made[row] == 0)
        throw llmh::Error(LLMH_INVALID_ARGUMENT,
                          "'" + linear.path + "': row " + std::to_string(row) +
                              " of its weight is zero and has no direction; leave the module out "
                              "(exclude_modules) or use the method lora");
    }
    return norms = std::move(made);
  }

  llmh_base_request request_{};
  const llmh_base_model* model_ = nullptr;
  std::map<std::string, std::vector<float>> norms_;  // by path
};

}  // namespace

LLMH_FINETUNE_PLUGIN(Dora);
