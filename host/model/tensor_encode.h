// Values on their way into a file: encoded in another element type, a piece at a time, by all threads.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

#include "core/thread_pool.h"
#include "model/checkpoint.h"

namespace llmhost::model {

using TakeBytes = std::function<void(std::span<const std::byte>)>;

// Whether values in rows of this shape can be encoded: whole blocks a row, a type that is encoded at all.
bool fits_rows(llmh_dtype dtype, std::span<const int64_t> shape);

// Gives the bytes to `take` in order. Throws kInvalidArgument that names the tensor when a value is not
// finite or beyond what the type holds; kUnimplemented for other types.
void encode_values(std::string_view name, std::span<const float> values, llmh_dtype dtype,
                   ThreadPool* threads, const TakeBytes& take);

// The same of a stored tensor, which is decoded a piece at a time where that is possible. Its own type goes
// through as it is.
void recode(const CheckpointTensor& stored, llmh_dtype dtype, ThreadPool* threads, const TakeBytes& take);

}  // namespace llmhost::model
