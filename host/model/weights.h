// The bytes of a weight as the architecture wants them: straight from the mapping where the stored layout
// allows it, otherwise a converted copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "llmhost/backend.h"
#include "model/layout_steps.h"
#include "model/name_map.h"

namespace llmhost::model {

// The element type that a weight has once loaded: vectors (LLMH_USE_VECTOR) become f32, others stay as
// they are after the steps.
llmh_dtype loaded_dtype(const HubTensor& tensor, uint32_t uses);

// Bytes of the copy that load_weight makes; 0 when the mapping is used in place.
uint64_t copied_bytes(const HubTensor& tensor, uint32_t uses);

// Applies the layout steps, stacks the parts, and decodes to f32 where loaded_dtype says so. `uses` are
// LLMH_USE_* bits.
WeightData load_weight(const HubTensor& tensor, uint32_t uses);

// Hints for the mapping: the stored tensor is wanted soon; it was copied elsewhere. Tensors that are put
// together from parts of a quantised checkpoint are left alone.
void expect_stored(const HubTensor& tensor);
void drop_stored(const HubTensor& tensor);

// The weight as a backend is told of it, for planning and for loading alike. `data` is null while only sizes
// are asked for; name, tensor and data must outlive the result.
llmh_weight_source weight_source(std::string_view name, const HubTensor& tensor, uint32_t uses,
                                 const std::byte* data, uint64_t bytes);

}  // namespace llmhost::model
