// The way back from Hub tensors to what is stored: the inverse of the layout steps, of fused and of stacked
// tensors.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "llmhost/arch.h"
#include "model/checkpoint.h"
#include "model/name_map.h"

namespace llmhost::model {

// Writes what the steps make of a stored tensor back into it; what they leave out of it stays. The steps fit
// the shape; `stored` and `made` are dense, of elements of `element_bytes` (1, 2, 4 or 8).
void put_back(const std::vector<llmh_layout_step>& steps, const std::vector<int64_t>& stored_shape,
              size_t element_bytes, std::span<const std::byte> made, std::span<std::byte> stored);

// The shape of a tensor of which the steps make `shape`. Throws kUnimplemented for steps that leave something
// out, from which there is no way back.
std::vector<int64_t> shape_before(const std::vector<llmh_layout_step>& steps, std::vector<int64_t> shape);

// A Hub tensor that a stored one serves: alone, as one of several that are stacked, or with a part of it.
struct StoredUse {
  std::string hub_name;
  const HubTensor* tensor = nullptr;
  size_t part = 0;  // index in tensor->parts

  // Elements of the Hub tensor that this part makes: [first, first + count).
  size_t first() const { return part * count(); }
  size_t count() const;
};

using StoredUses = std::map<const CheckpointTensor*, std::vector<StoredUse>>;
StoredUses stored_uses(const std::map<std::string, HubTensor, std::less<>>& tensors);

// A tensor's values as stored, but in f32. Throws kUnimplemented where its type has no conversion.
std::vector<float> stored_values(const CheckpointTensor& stored);

// Puts the values of whole Hub tensors into those of a stored one. `values` gives the Hub tensor of a name;
// an empty span leaves its part as it is.
void put_back(std::span<const StoredUse> uses,
              const std::function<std::span<const float>(const std::string&)>& values,
              const CheckpointTensor& stored, std::span<float> stored_values);

}  // namespace llmhost::model
