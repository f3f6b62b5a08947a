// A model's graph with a method's choices: chosen weights as parameters, chosen modules rewritten. Private to
// the layer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/adapter_sites.h"
#include "graph/builder.h"
#include "graph/rewrite.h"
#include "llmhost/finetune.h"
#include "train/method.h"
#include "train/quantised_base.h"

namespace llmhost::train {

// The modules of a model as a method was shown them, and what it chose.
struct ChosenModules {
  const model::LoadedModel& model;
  const std::vector<graph::AdapterSite>& modules;
  const std::vector<size_t>& by_node;    // of the model's graph
  const std::vector<uint32_t>& choices;  // LLMH_TUNE_*, by module
  const QuantisedBase& base;
  llmh_dtype compute_dtype = LLMH_DTYPE_F32;  // what products with a low-precision base round activations to
};

// Calls of the method's table, which throw.
struct MethodCalls {
  std::function<llmh_tensor(llmh_builder*, const llmh_linear_info&)> rewrite;
  std::function<float(llmh_str path, float top_k_ratio)> attention;
};

// Throws Error for choices that cannot be: a weight that is trained at one module and frozen at another that
// shares it, a rewrite of what is neither linear nor embedding, a result of another shape.
Method::Tuned tuned_graph(const ChosenModules& chosen, const MethodCalls& calls);

}  // namespace llmhost::train
