#include "model/write_four_bit.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "graph/adapter_sites.h"
#include "graph/routers.h"
#include "model/layout_steps.h"
#include "model/model_folder.h"
#include "model/safetensors.h"
#include "model/tensor_encode.h"
#include "model/unlayout.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

// A component of digits: the number of a layer.
bool is_in_block(std::string_view path) {
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('.'));
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos) return true;
    path.remove_prefix(std::min(path.size(), part.size() + 1));
  }
  return false;
}

class FourBitWriter {
 public:
  FourBitWriter(const LoadedModel& model, const WriteFourBitOptions& options)
      : model_(model), options_(options) {
    const Checkpoint& checkpoint = model.checkpoint();
    if (checkpoint.format() == CheckpointFormat::kGguf)
      throw_error(ErrorCode::kUnimplemented,
                  "{}: {} is a form of model folders; from a GGUF file only GGUF types are made",
                  checkpoint.path().string(), to_text(options.four_bit.code));
    if (!checkpoint.quantisation_key().empty())
      throw_error(ErrorCode::kUnimplemented, "{}: is quantised already", checkpoint.path().string());
    choose();
  }

  size_t write(const fs::path& folder) {
    const Checkpoint& checkpoint = model_.checkpoint();
    std::map<std::string, std::vector<const CheckpointTensor*>> shards;
    const bool is_sharded = checkpoint.files().size() > 1;
    for (const CheckpointTensor& tensor : checkpoint.tensors())
      shards[is_sharded ? fs::path(tensor.file).filename().string() : "model.safetensors"].push_back(&tensor);
    for (const auto& [name, tensors] : shards) write_shard(folder / name, tensors);
    if (is_sharded) {
      const OrderedJson index = {{"metadata", {{"total_size", written_}}}, {"weight_map", weight_map_}};
      write_file_atomically(folder / "model.safetensors.index.json", index.dump(2) + "\n");
    }
    ConfigChanges changes;
    changes.quantisation = quantisation_config();
    write_file_atomically(folder / "config.json", changed_config(checkpoint, changes));
    copy_companions(checkpoint.folder(), folder);
    return chosen_.size();
  }

 private:
  // Stored tensors that hold nothing but weights of linear layers in blocks.
  void choose() {
    std::set<std::string> weights;
    const std::vector<graph::AdapterSite> modules = graph::modules_of(model_.graph());
    const std::set<std::string> routers = graph::router_paths(modules);
    for (const graph::AdapterSite& site : modules)
      if (site.kind == LLMH_MODULE_LINEAR && !site.is_head && is_in_block(site.path) &&
          !routers.contains(site.path))
        weights.insert(site.weight_name);
    for (const auto& [stored, uses] : stored_uses(model_.tensors())) {
      const bool is_linear = stored->shape.size() == 2 &&
                             std::all_of(uses.begin(), uses.end(),
                                         [&](const auto& use) { return weights.contains(use.hub_name); });
      if (!is_linear) continue;
      for (const StoredUse& use : uses)
        for (const llmh_layout_step& step : use.tensor->steps)
          if (step.layout == LLMH_LAYOUT_TRANSPOSED)
            throw_error(ErrorCode::kUnimplemented,
                        "{}: '{}' is stored transposed, which checkpoints in 4 bits are not", stored->file,
                        stored->name);
      chosen_.insert(stored);
    }
    if (chosen_.empty())
      throw_error(ErrorCode::kUnimplemented, "{}: no linear layer in a block that could be quantised",
                  model_.checkpoint().path().string());
  }

  FourBitTensor quantised(const CheckpointTensor& tensor) const {
    try {
      return quantize_four_bit(stored_values(tensor), tensor.shape, options_.four_bit, options_.threads);
    } catch (const Error& error) {
      throw_error(error.code(), "{}: tensor '{}': {}", tensor.file, tensor.name, error.what());
    }
  }

  std::string state_of(const CheckpointTensor& tensor, const FourBitTensor& made) const {
    return four_bit_state(made, torch_dtype_name(tensor.dtype));
  }

  void declare(SafetensorsWriter& writer, const fs::path& path, const std::string& name, llmh_dtype dtype,
               const std::vector<int64_t>& shape) {
    writer.declare(name, dtype, shape);
    weight_map_[name] = path.filename().string();
    written_ += byte_count(dtype, shape);
  }

  // The parts of a tensor: all but the state have sizes that follow from its shape.
  void declare_parts(SafetensorsWriter& writer, const fs::path& path, const CheckpointTensor& tensor) {
    const std::string name(tensor.name);
    const FourBitTensor made = quantised(tensor);
    const auto size = [](const auto& values) { return static_cast<int64_t>(values.size()); };
    declare(writer, path, name, LLMH_DTYPE_U8, {size(made.packed), 1});
    if (options_.four_bit.is_nested) {
      declare(writer, path, name + ".absmax", LLMH_DTYPE_U8, {size(made.absmax_codes)});
      declare(writer, path, name + ".nested_absmax", LLMH_DTYPE_F32, {size(made.nested_absmax)});
      declare(writer, path, name + ".nested_quant_map", LLMH_DTYPE_F32, {256});
    } else {
      declare(writer, path, name + ".absmax", LLMH_DTYPE_F32, {size(made.absmax)});
    }
    declare(writer, path, name + ".quant_map", LLMH_DTYPE_F32, {16});
    declare(writer, path,
            fmt::format("{}.quant_state.bitsandbytes__{}", name, to_text(options_.four_bit.code)),
            LLMH_DTYPE_U8, {size(state_of(tensor, made))});
  }

  void write_parts(SafetensorsWriter& writer, const CheckpointTensor& tensor) const {
    const FourBitTensor made = quantised(tensor);
    writer.write(made.packed);
    if (options_.four_bit.is_nested) {
      writer.write(made.absmax_codes);
      writer.write(std::as_bytes(std::span(made.nested_absmax)));
      writer.write(std::as_bytes(nested_values()));
    } else {
      writer.write(std::as_bytes(std::span(made.absmax)));
    }
    writer.write(std::as_bytes(four_bit_values(options_.four_bit.code)));
    const std::string state = state_of(tensor, made);
    writer.write(std::as_bytes(std::span(state)));
  }

  void write_shard(const fs::path& path, const std::vector<const CheckpointTensor*>& tensors) {
    SafetensorsWriter writer(path);
    writer.set_metadata("format", "pt");
    for (const CheckpointTensor* tensor : tensors)
      if (chosen_.contains(tensor))
        declare_parts(writer, path, *tensor);
      else
        declare(writer, path, std::string(tensor->name), tensor->dtype, tensor->shape);
    for (const CheckpointTensor* tensor : tensors) {
      if (chosen_.contains(tensor))
        write_parts(writer, *tensor);
      else
        recode(*tensor, tensor->dtype, options_.threads,
               [&](std::span<const std::byte> bytes) { writer.write(bytes); });
      drop_mapped(tensor->bytes);
      if (options_.progress) options_.progress(tensor->stored_bytes());
    }
    writer.finish();
  }

  std::string quantisation_config() const {
    const llmh_dtype stored = (*chosen_.begin())->dtype;
    const std::string compute = !options_.compute_dtype.empty() ? options_.compute_dtype
                                : stored == LLMH_DTYPE_F32      ? "float32"
                                                                : "bfloat16";
    const OrderedJson config = {{"_load_in_4bit", true},
                                {"_load_in_8bit", false},
                                {"bnb_4bit_compute_dtype", compute},
                                {"bnb_4bit_quant_storage", "uint8"},
                                {"bnb_4bit_quant_type", to_text(options_.four_bit.code)},
                                {"bnb_4bit_use_double_quant", options_.four_bit.is_nested},
                                {"llm_int8_enable_fp32_cpu_offload", false},
                                {"llm_int8_has_fp16_weight", false},
                                {"llm_int8_skip_modules", nullptr},
                                {"llm_int8_threshold", 6.0},
                                {"load_in_4bit", true},
                                {"load_in_8bit", false},
                                {"quant_method", "bitsandbytes"}};
    return config.dump();
  }

  const LoadedModel& model_;
  const WriteFourBitOptions& options_;
  std::set<const CheckpointTensor*> chosen_;
  std::map<std::string, std::string> weight_map_;
  uint64_t written_ = 0;
};

}  // namespace

size_t write_four_bit_model(const LoadedModel& model, const fs::path& folder,
                            const WriteFourBitOptions& options) {
  return FourBitWriter(model, options).write(folder);
}

}  // namespace llmhost::model
