// The families of packed formats, each compiled by itself.
#pragma once

#include "kernels/packed.h"

namespace llmhost::cpu {

void add_packed_basic(PackedKernels& table);

}  // namespace llmhost::cpu
