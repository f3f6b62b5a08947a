// (IA)^3 (Liu et al. 2022, "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context
// learning"): rescales the outputs of chosen linears, and the inputs of chosen feed-forward linears, by
// learned vectors that start at one, so that training starts at the untouched model. Tensors have the names
// and shapes of PEFT's files.
#include "llmhost/finetune.hpp"

namespace {

class Ia3 : public llmh::Method {
 public:
  static void schema(llmh::Schema& schema) {
    schema.add_list("target_modules", "[k_proj, v_proj, down_proj]",
                    "modules to rescale: names, ends of paths, or all-linear");
    schema.add_list("feedforward_modules", "[down_proj]", "those of target_modules whose input is rescaled");
  }

  explicit Ia3(const llmh::Settings& settings)
      : targets_(settings.get_list("target_modules")),
        feedforward_(settings.get_list("feedforward_modules")) {
    if (targets_.empty())
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "target_modules is empty: name at least one module");
    for (const std::string& name : feedforward_)
      if (!llmh::is_target(name, targets_))
        throw llmh::Error(LLMH_INVALID_ARGUMENT,
                          "feedforward_modules: '" + name + "' is not among target_modules");
  }

  uint32_t choose(const llmh::Module& module) override {
    return llmh::rewrite_if(module.is_linear() && llmh::is_target(module.path, targets_));
  }

  llmh::Tensor rewrite(llmh::Graph& graph, const llmh::Linear& linear) override {
    const std::string name = linear.path + ".ia3_l";
    if (!llmh::is_target(linear.path, feedforward_)) {
      const llmh::Tensor factors = graph.parameter(name, {linear.out_features, 1}, LLMH_INIT_ONES);
      return linear.y * flat(factors, linear.out_features);
    }
    const llmh::Tensor factors = graph.parameter(name, {1, linear.in_features}, LLMH_INIT_ONES);
    const llmh::Tensor x = linear.x * flat(factors, linear.in_features);
    std::vector<llmh::Tensor> inputs{x, linear.weight};
    if (linear.bias.present()) inputs.push_back(linear.bias);
    return graph.scope(linear.path).op(LLMH_OP_LINEAR, inputs);
  }

  std::string config_json() override {
    return "{\"peft_type\": \"IA3\", \"target_modules\": " + llmh::json(targets_) +
           ", \"feedforward_modules\": " + llmh::json(feedforward_) + "}\n";
  }

 private:
  static llmh::Tensor flat(llmh::Tensor tensor, int64_t n) {
    auto attrs = llmh::make_attrs<llmh_shape_attrs>();
    attrs.rank = 1;
    attrs.dims[0].size = n;
    return tensor.graph().root().op(LLMH_OP_RESHAPE, {tensor}, attrs);
  }

  std::vector<std::string> targets_;
  std::vector<std::string> feedforward_;
};

}  // namespace

LLMH_FINETUNE_PLUGIN(Ia3);
