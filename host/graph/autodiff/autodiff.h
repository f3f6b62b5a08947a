// Training graphs: passes from an architecture's graph to one that computes a loss and adds up its gradients.
// A vector-Jacobian product is written in ops, so a backend that runs the ops of the result can train.
//
//   Graph trained  = with_trained_weights(model graph, ...);   weights -> parameters
//   Graph rewritten = a fine-tuning method's rewrites
//   Graph with_loss = with_training_loss(rewritten);           attention over the step's own tokens, head ->
//   loss TrainingGraph t = differentiate(with_loss, options);
//
// All throw Error naming op and module path when a node has no gradient and one is asked for. [control]
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace llmhost::graph {

// Replaces ATTENTION (and its state) by ATTENTION_TRAIN, and the output LOGITS by LOSS f32 [R] against the
// step's labels: LINEAR_CROSS_ENTROPY where the logits are a linear of a frozen weight, optionally scaled and
// softcapped, else CROSS_ENTROPY. With `keep_logits` the logits stay an output too and are never fused away.
// An output HIDDEN is dropped. Throws kUnimplemented for a graph that reads or writes state by other ops.
Graph with_training_loss(const Graph& graph, bool keep_logits = false);

struct DifferentiateOptions {
  // What a layer's backward pass needs is computed again from the layer's input: same gradients bit for bit,
  // less memory.
  bool checkpoint_layers = false;
  // Type in which activations wait for the backward pass: f32, bf16 or f16.
  llmh_dtype saved_dtype = LLMH_DTYPE_F32;
};

struct TrainedTensor {
  std::string name;                       // of the parameter
  llmh_tensor value = LLMH_NO_TENSOR;     // role PARAMETER, in TrainingGraph::graph
  llmh_tensor gradient = LLMH_NO_TENSOR;  // role PARAMETER of the same shape: each run adds its gradient of
                                          // the sum of the output rows' losses to it; named "<name>.gradient"
};

struct TrainingGraph {
  Graph graph;                         // output LOSS; ACCUMULATE nodes for the gradients
  std::vector<TrainedTensor> trained;  // every PARAMETER of the graph that was given, in order of its tensors
};

// The gradient of sum(LOSS) with respect to every PARAMETER. What no gradient needs is not computed backward:
// layers below the lowest trained tensor have forward nodes only. A parameter that the loss does not depend
// on gets no ACCUMULATE (its sum stays 0).
TrainingGraph differentiate(const Graph& graph, const DifferentiateOptions& options);

}  // namespace llmhost::graph
