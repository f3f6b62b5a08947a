// The families of packed formats, each compiled by itself.
#pragma once

#include "kernels/packed.h"

namespace llmhost::cpu {

void add_packed_basic(PackedKernels& table);
void add_packed_five(PackedKernels& table);
void add_packed_k(PackedKernels& table);
void add_packed_small_k(PackedKernels& table);
void add_packed_table(PackedKernels& table);

}  // namespace llmhost::cpu
