// The changes on the way from a stored tensor to the Hub's (LLMH_LAYOUT_*): what each does to the shape,
// whether blocks can stay whole, and to the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "llmhost/arch.h"
#include "llmhost/dtype.h"

namespace llmhost::model {

// The shape after the step. What is wrong when the step does not fit, else an empty string.
std::string change_shape(const llmh_layout_step& step, std::vector<int64_t>& shape);

// Whether the step takes blocks of quantised elements apart. `shape` is the one before it.
bool splits_blocks(const llmh_layout_step& step, const std::vector<int64_t>& shape, llmh_dtype dtype);

// Whether the result is a consecutive part of what was there (or all of it), so that nothing is copied.
bool stays_in_place(const llmh_layout_step& step, const std::vector<int64_t>& shape);

// A tensor's bytes, somewhere else or its own.
struct WeightData {
  llmh_dtype dtype = LLMH_DTYPE_INVALID;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // into the mapping, or into `owned`
  std::vector<std::byte> owned;      // empty when the mapping is used in place

  void keep(std::vector<std::byte> made);
};

// Applies a step that fits the shape and splits no blocks. Of a copy only what is needed stays in memory.
void apply_step(const llmh_layout_step& step, WeightData& weight);

// Sizes of what fits into memory or a file; a row of blocks is whole.
uint64_t element_count(std::span<const int64_t> shape);
uint64_t byte_count(llmh_dtype dtype, std::span<const int64_t> shape);

}  // namespace llmhost::model
