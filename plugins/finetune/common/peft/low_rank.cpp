#include "peft/low_rank.h"

#include <cmath>

namespace peft {
namespace {

constexpr double kDeviceBytes = 80e9;  // of a large accelerator
constexpr double kBytesOfBf16 = 2;

bool has_experts(const llmh_base_model& model) {
  for (uint32_t i = 0; i < model.n_modules; ++i)
    if ((model.modules[i]->flags & LLMH_MODULE_EXPERTS) != 0) return true;
  return false;
}

}  // namespace

LowRankMethod::LowRankMethod(AdapterConfig config, FileNames names)
    : config_(std::move(config)), names_(std::move(names)) {
  if (!(config_.dropout >= 0 && config_.dropout < 1))
    throw llmh::Error(LLMH_INVALID_ARGUMENT, config_.source + ": lora_dropout is " +
                                                 json_number(config_.dropout) +
                                                 ", expected at least 0 and less than 1");
}

const Choice& LowRankMethod::choice() const {
  if (choice_ == nullptr) throw llmh::Error(LLMH_INTERNAL, "asked before select");
  return *choice_;
}

void LowRankMethod::begin(const llmh_base_model& model) {
  choice_ = std::make_unique<Choice>(config_, model);
  names_.place(config_, model, *choice_);
  n_dropouts_ = 0;
  copies_.clear();
  for (uint32_t i = 0; i < model.n_modules; ++i) {
    const Choice::Chosen& chosen = choice_->at(i);
    if (chosen.branch && (chosen.is_head || chosen.kind == LLMH_MODULE_EMBEDDING))
      copies_.emplace_back(static_cast<int32_t>(i), Choice::copy_name(chosen.path));
  }
}

uint32_t LowRankMethod::choose(const llmh::Module& module) {
  return choice().at(module.index).bits;
}

LowRankMethod::Branch LowRankMethod::add_branch(llmh::Graph& graph, const llmh::Linear& linear) {
  const BranchShape shape = choice().at(linear.module).branch.value();
  const bool is_random = config_.start == BranchStart::kRandom;
  const bool is_normal = config_.start == BranchStart::kGaussian;
  // Kaiming with a = sqrt(5) is a bound of 1 / sqrt(K).
  const float root = std::sqrt(5.0F);
  const float deviation = 1.0F / static_cast<float>(shape.rank);
  Branch branch;
  branch.a =
      graph.parameter(linear.path + ".lora_A.weight", {shape.rank, linear.in_features},
                      is_normal ? LLMH_INIT_NORMAL : LLMH_INIT_KAIMING_UNIFORM, is_normal ? deviation : root);
  branch.b =
      graph.parameter(linear.path + ".lora_B.weight", {linear.out_features, shape.rank},
                      is_random ? LLMH_INIT_KAIMING_UNIFORM : LLMH_INIT_ZEROS, is_random ? root : 0.0F);
  branch.scale = shape.scale;
  return branch;
}

llmh::Tensor LowRankMethod::branch_input(const llmh::Linear& linear) {
  if (config_.dropout == 0) return linear.x;
  auto attrs = llmh::make_attrs<llmh_dropout_attrs>();
  attrs.p = static_cast<float>(config_.dropout);
  attrs.site = ++n_dropouts_;
  return linear.x.graph().scope(linear.path).op(LLMH_OP_DROPOUT, {linear.x}, attrs);
}

llmh::Tensor LowRankMethod::branch_output(llmh::Graph& graph, const llmh::Linear& linear,
                                          const Branch& branch, llmh::Tensor input) {
  const llmh::Scope a = graph.scope(linear.path).scope("lora_A");
  const llmh::Scope b = graph.scope(linear.path).scope("lora_B");
  std::vector<llmh::Tensor> inputs{a.op(LLMH_OP_LINEAR, {input, branch.a}), branch.b};
  if (config_.has_branch_bias)
    inputs.push_back(graph.parameter(linear.path + ".lora_B.bias", {linear.out_features}, LLMH_INIT_ZEROS));
  return llmh::scale(b.op(LLMH_OP_LINEAR, inputs), branch.scale);
}

llmh::Tensor LowRankMethod::rewrite(llmh::Graph& graph, const llmh::Linear& linear) {
  return linear.kind == LLMH_MODULE_EMBEDDING ? rewrite_embedding(graph, linear)
                                              : rewrite_linear(graph, linear);
}

llmh::Tensor LowRankMethod::rewrite_linear(llmh::Graph& graph, const llmh::Linear& linear) {
  const Branch branch = add_branch(graph, linear);
  return linear.y + branch_output(graph, linear, branch, branch_input(linear));
}

// The rows of the transposed A by token, through B. Nothing is dropped: ids have no elements to drop.
llmh::Tensor LowRankMethod::rewrite_embedding(llmh::Graph& graph, const llmh::Linear& linear) {
  const BranchShape shape = choice().at(linear.module).branch.value();
  const bool is_random = config_.start == BranchStart::kRandom;
  const llmh::Tensor a =
      graph.parameter(linear.path + ".lora_embedding_A", {shape.rank, linear.in_features},
                      is_random ? LLMH_INIT_NORMAL : LLMH_INIT_ZEROS, is_random ? 1.0F : 0.0F);
  const llmh::Tensor b = graph.parameter(linear.path + ".lora_embedding_B", {linear.out_features, shape.rank},
                                         LLMH_INIT_NORMAL, 1.0F);
  auto axes = llmh::make_attrs<llmh_permute_attrs>();
  axes.rank = 2;
  axes.axes[0] = 1;
  const llmh::Scope scope = graph.scope(linear.path).scope("lora_embedding");
  const llmh::Tensor rows = scope.op(LLMH_OP_GATHER, {scope.op(LLMH_OP_PERMUTE, {a}, axes), linear.x});
  return linear.y + llmh::scale(scope.op(LLMH_OP_LINEAR, {rows, b}), shape.scale);
}

std::string LowRankMethod::file_name(std::string_view parameter) {
  return std::string(names_.spelled(choice().file_name(parameter)));
}

// Ranks and alphas by whole paths, where they differ.
std::string LowRankMethod::patterns_json() const {
  std::string ranks;
  std::string alphas;
  for (const Choice::Chosen& chosen : choice().modules()) {
    if (!chosen.branch) continue;
    const std::string key = llmh::json(written_path(chosen.path)) + ": ";
    if (chosen.branch->rank != config_.rank)
      ranks += (ranks.empty() ? "" : ", ") + key + std::to_string(chosen.branch->rank);
    if (chosen.branch->alpha != config_.alpha)
      alphas += (alphas.empty() ? "" : ", ") + key + json_number(chosen.branch->alpha);
  }
  std::string json;
  if (!ranks.empty()) json += ", \"rank_pattern\": {" + ranks + "}";
  if (!alphas.empty()) json += ", \"alpha_pattern\": {" + alphas + "}";
  return json;
}

std::string LowRankMethod::config_json() {
  const char* const biases[] = {"none", "all", "lora_only"};
  std::string json = "{" + choice().shared_json("LORA") + ", \"r\": " + std::to_string(config_.rank) +
                     ", \"lora_alpha\": " + json_number(config_.alpha) +
                     ", \"lora_dropout\": " + json_number(config_.dropout) + ", \"bias\": \"" +
                     biases[static_cast<int>(config_.bias)] + "\"" + patterns_json();
  if (config_.uses_root_scale) json += ", \"use_rslora\": true";
  if (config_.has_magnitudes) json += ", \"use_dora\": true";
  if (config_.has_branch_bias) json += ", \"lora_bias\": true";
  return json + "}\n";
}

bool LowRankMethod::file_tensor(uint32_t index, llmh_file_tensor& out) {
  if (index >= copies_.size()) return false;
  out.module = copies_[index].first;
  out.name = llmh::str(copies_[index].second);
  return true;
}

llmh::Fit fit_of_size(const llmh_base_model& model, double bytes_per_weight, const std::string& what) {
  double weights = 0;
  for (uint32_t i = 0; i < model.n_modules; ++i) weights += static_cast<double>(model.modules[i]->n_weights);
  const double bytes = weights * bytes_per_weight;
  if (bytes <= kDeviceBytes) return {};
  return {LLMH_FIT_WARNING, "needs several GPUs or a large main memory: " + what + " take " +
                                std::to_string(static_cast<int64_t>(bytes / 1e9)) + " GB"};
}

llmh::Fit fit_of_adapter(const llmh_base_model& model) {
  llmh::Fit fit = fit_of_size(model, kBytesOfBf16, "the base's weights in bf16");
  if (!has_experts(model)) return fit;
  const std::string experts = "experts and their router stay frozen: their stacked weights have no branches";
  return {LLMH_FIT_WARNING, fit.reason.empty() ? experts : fit.reason + "; " + experts};
}

float LowRankMethod::top_k_ratio(std::string_view, float of_model) {
  return config_.top_k_ratio > 0 ? config_.top_k_ratio : of_model;
}

llmh::Fit LowRankMethod::applies(const llmh_base_model& model) {
  try {
    const Choice choice(config_, model);
  } catch (const llmh::Error& error) {
    return {LLMH_FIT_NO, error.what()};
  }
  return fit_of_adapter(model);
}

}  // namespace peft
