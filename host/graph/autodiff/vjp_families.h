// The rules by op, one file a family; see vjp.h.
#pragma once

#include "graph/autodiff/vjp.h"

namespace llmhost::graph::vjp {

// vjp_arithmetic.cpp
void add(VjpCall& call);
void sub(VjpCall& call);
void mul(VjpCall& call);
void div(VjpCall& call);
void scale(VjpCall& call);
void softcap(VjpCall& call);
void clamp(VjpCall& call);
void reduce(VjpCall& call);
void softmax(VjpCall& call);

// vjp_activations.cpp
void unary(VjpCall& call);
void activation(VjpCall& call);
void gated_activation(VjpCall& call);
void dropout(VjpCall& call);

// vjp_norms.cpp
void rms_norm(VjpCall& call);
void layer_norm(VjpCall& call);

// vjp_products.cpp
void linear(VjpCall& call);
void linear_input_grad(VjpCall& call);
void linear_weight_grad(VjpCall& call);
void expert_linear(VjpCall& call);
void matmul(VjpCall& call);

// vjp_movement.cpp
void reshape(VjpCall& call);
void permute(VjpCall& call);
void slice(VjpCall& call);
void pad(VjpCall& call);
void concat(VjpCall& call);
void broadcast(VjpCall& call);
void reduce_to(VjpCall& call);
void gather(VjpCall& call);
void scatter_add(VjpCall& call);
void embedding(VjpCall& call);
void cast(VjpCall& call);
void top_k(VjpCall& call);
void take(VjpCall& call);
void scatter_last(VjpCall& call);

// vjp_attention.cpp
void rope(VjpCall& call);
void attention(VjpCall& call);

// vjp_loss.cpp
void cross_entropy(VjpCall& call);
void linear_cross_entropy(VjpCall& call);

}  // namespace llmhost::graph::vjp
