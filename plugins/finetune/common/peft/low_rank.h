// Training of low-rank branches: what the methods that have them share. A method derives from it and rewrites
// linears in its own way.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "llmhost/finetune.hpp"
#include "peft/choice.h"
#include "peft/config.h"
#include "peft/file_names.h"

namespace peft {

class LowRankMethod : public llmh::Method {
 public:
  explicit LowRankMethod(AdapterConfig config, FileNames names = {});

  void begin(const llmh_base_model& model) override;
  uint32_t choose(const llmh::Module& module) override;
  llmh::Tensor rewrite(llmh::Graph& graph, const llmh::Linear& linear) override;
  std::string file_name(std::string_view parameter) override;
  std::string config_json() override;
  bool file_tensor(uint32_t index, llmh_file_tensor& out) override;
  llmh::Fit applies(const llmh_base_model& model) override;
  float top_k_ratio(std::string_view path, float of_model) override;

 protected:
  const AdapterConfig& config() const { return config_; }

  // A and B of a linear's branch.
  struct Branch {
    llmh::Tensor a;  // [r, K]
    llmh::Tensor b;  // [N, r]
    float scale = 0;
  };
  Branch add_branch(llmh::Graph& graph, const llmh::Linear& linear);
  // What goes into the branch: x, with elements dropped in training.
  llmh::Tensor branch_input(const llmh::Linear& linear);
  // s (x A^T) B^T, or s ((x A^T) B^T + beta).
  llmh::Tensor branch_output(llmh::Graph& graph, const llmh::Linear& linear, const Branch& branch,
                             llmh::Tensor input);

  // y of a linear with its branch.
  virtual llmh::Tensor rewrite_linear(llmh::Graph& graph, const llmh::Linear& linear);

 private:
  llmh::Tensor rewrite_embedding(llmh::Graph& graph, const llmh::Linear& linear);
  const Choice& choice() const;
  std::string patterns_json() const;

  AdapterConfig config_;
  FileNames names_;
  std::unique_ptr<Choice> choice_;
  int32_t n_dropouts_ = 0;  // in this graph
  // Copies of the base in the file: modules, and their names.
  std::vector<std::pair<int32_t, std::string>> copies_;
};

// What any method says of a model before it looks closer: that its weights alone need several devices.
llmh::Fit fit_of_size(const llmh_base_model& model, double bytes_per_weight, const std::string& what);
// The same of an adapter, which leaves experts alone.
llmh::Fit fit_of_adapter(const llmh_base_model& model);

}  // namespace peft
