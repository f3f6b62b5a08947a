// A model written as one GGUF file, a tensor at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "model/gguf_types.h"
#include "model/gguf_writer.h"
#include "model/loader.h"
#include "plugin/registry.h"

namespace llmhost::model {

struct GgufExportOptions {
  ThreadPool* threads = nullptr;                  // may be null
  std::function<void(uint64_t bytes)> progress;   // of the stored model, as they are done; may be empty
  std::function<void(GgufWriter&)> add_metadata;  // tokenizer, template, name; may be empty
};

// Of a Hub model. Returns what the format has no word for, one line each. Throws kUnimplemented for an
// architecture or settings that it does not have. The file is there only when all went well.
std::vector<std::string> export_gguf(const LoadedModel& model, const plugin::Registry& registry,
                                     const GgufTypes& types, const std::filesystem::path& path,
                                     const GgufExportOptions& options);

// Of a GGUF file: its metadata as they are, its tensors in other types. Tensors that are as small already, or
// whose type has no encoder, stay as they are.
void requantize_gguf(const Checkpoint& checkpoint, const GgufTypes& types, const std::filesystem::path& path,
                     const GgufExportOptions& options);

// What most of a model's weights are stored as, if that is f32, f16 or bf16; else f16.
llmh_dtype usual_dtype(const Checkpoint& checkpoint);

}  // namespace llmhost::model
