// What is trained, as files have it: tensors of an adapter under their names, or tensors of a checkpoint as
// it stores them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/loader.h"
#include "train/method.h"
#include "train/training_stack.h"

namespace llmhost::train {

struct FileTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// The gradients times `factor`. Of a method that makes whole models they have the names, parts and
// orientation of the checkpoint's tensors (of what is fused only the parts that are trained are other than
// 0).
std::vector<FileTensor> gradient_files(const model::LoadedModel& model, const Method& method,
                                       const TrainingStack& stack, double factor);

}  // namespace llmhost::train
