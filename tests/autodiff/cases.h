// The lists of cases by family of ops; see vjp_case.h.
#pragma once

#include <vector>

#include "vjp_case.h"

namespace llmhost::graph::vjp_test {

using Cases = std::vector<VjpCase>;

void add_elementwise_cases(Cases& cases);
void add_product_cases(Cases& cases);
void add_movement_cases(Cases& cases);
void add_attention_cases(Cases& cases);
void add_loss_cases(Cases& cases);
// Where a gradient has several parts, or ends.
void add_composed_cases(Cases& cases);

}  // namespace llmhost::graph::vjp_test
