// A Hub model with the linear layers of its blocks in 4 bits, as bitsandbytes' checkpoints hold them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "core/thread_pool.h"
#include "model/loader.h"
#include "model/quantize.h"

namespace llmhost::model {

struct WriteFourBitOptions {
  FourBitOptions four_bit;
  std::string compute_dtype;                     // torch's name, for the config; empty: by what is stored
  ThreadPool* threads = nullptr;                 // may be null
  std::function<void(uint64_t bytes)> progress;  // of the stored model, as they are done; may be empty
};

// Into the empty folder. Returns how many tensors were quantised. Throws kUnimplemented for GGUF files, for
// what is quantised already, and for layers that are stored transposed.
size_t write_four_bit_model(const LoadedModel& model, const std::filesystem::path& folder,
                            const WriteFourBitOptions& options);

}  // namespace llmhost::model
