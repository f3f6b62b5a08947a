// A decoder of 135 million weights for benchmarks: 30 layers, width 576, vocabulary 49152, q4_1. Linears have
// the paths "0.q" to "29.down".
#pragma once

#include "graph/graph.h"

namespace llmhost::bench {

constexpr int32_t kDecoderLayers = 30;
constexpr int32_t kDecoderKvHeads = 3;
constexpr int32_t kDecoderHeadDim = 64;

graph::Graph decoder_graph();

}  // namespace llmhost::bench
