#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/gguf_writer.h"
#include "model/layout_steps.h"
#include "model/model_folder.h"
#include "model/new_weights.h"
#include "model/safetensors.h"
#include "model/tensor_encode.h"
#include "model/unlayout.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_plain_float(llmh_dtype dtype) {
  return dtype == LLMH_DTYPE_F32 || dtype == LLMH_DTYPE_F16 || dtype == LLMH_DTYPE_BF16 ||
         dtype == LLMH_DTYPE_F64;
}

// What both formats share: which tensors have other values, and their bytes.
class ModelWriter {
 public:
  ModelWriter(const LoadedModel& model, const NameMap& names, const NewWeights& weights,
              const WriteModelOptions& options)
      : model_(model),
        names_(names),
        weights_(weights),
        options_(options),
        uses_(stored_uses(model.tensors())) {}

  void write(const fs::path& folder) {
    if (model_.checkpoint().format() == CheckpointFormat::kGguf)
      write_gguf(folder / "model.gguf");
    else
      write_hub(folder);
  }

 private:
  struct Head {
    std::string stored_name;
    std::vector<float> values;
    std::vector<int64_t> shape;
    llmh_dtype dtype = LLMH_DTYPE_INVALID;
  };

  bool has_new_values(const CheckpointTensor& tensor) const {
    const auto found = uses_.find(&tensor);
    return found != uses_.end() &&
           std::any_of(found->second.begin(), found->second.end(),
                       [&](const StoredUse& use) { return weights_.has(use.hub_name); });
  }

  void write_values(const CheckpointTensor& tensor, llmh_dtype dtype, const TakeBytes& take) const {
    if (!has_new_values(tensor)) {
      recode(tensor, dtype, options_.threads, take);
    } else {
      std::vector<float> values = stored_values(tensor);
      std::vector<float> whole;
      const auto of_hub = [&](const std::string& name) -> std::span<const float> {
        if (!weights_.has(name)) return {};
        whole = weights_.get(name);
        return whole;
      };
      put_back(uses_.at(&tensor), of_hub, tensor, values);
      encode_values(tensor.name, values, dtype, options_.threads, take);
    }
    if (tensor.decoder == nullptr) drop_mapped(tensor.bytes);
    if (options_.progress) options_.progress(tensor.stored_bytes());
  }

  // A head of its own is like the embedding that was it.
  std::optional<Head> untied_head() const {
    const std::string name = weights_.untied_head();
    if (name.empty()) return std::nullopt;
    Head head{names_.stored_name(name), weights_.get(name), {}, LLMH_DTYPE_INVALID};
    const int64_t rows = model_.info().vocab_size;
    head.shape = {rows, static_cast<int64_t>(head.values.size()) / rows};
    return head;
  }

  void write_hub(const fs::path& folder);
  void write_shard(const fs::path& path, const std::vector<const CheckpointTensor*>& tensors,
                   const std::optional<Head>& head, std::map<std::string, std::string>& weight_map);
  llmh_dtype hub_dtype(const CheckpointTensor& tensor) const;
  void write_gguf(const fs::path& path);
  llmh_dtype gguf_type(const CheckpointTensor& tensor) const;

  const LoadedModel& model_;
  const NameMap& names_;
  const NewWeights& weights_;
  const WriteModelOptions& options_;
  StoredUses uses_;
  uint64_t written_ = 0;
};

llmh_dtype ModelWriter::hub_dtype(const CheckpointTensor& tensor) const {
  const bool is_quantised =
      tensor.decoder != nullptr || llmh_dtype_layout_of(tensor.dtype).block_elements > 1;
  const bool is_float = is_quantised || is_plain_float(tensor.dtype);
  if (is_float && options_.dtype != LLMH_DTYPE_INVALID) return options_.dtype;
  if (!is_quantised) return tensor.dtype;
  const llmh_dtype named = config_dtype(model_.checkpoint());
  return named == LLMH_DTYPE_INVALID ? LLMH_DTYPE_BF16 : named;
}

void ModelWriter::write_shard(const fs::path& path, const std::vector<const CheckpointTensor*>& tensors,
                              const std::optional<Head>& head,
                              std::map<std::string, std::string>& weight_map) {
  SafetensorsWriter writer(path);
  writer.set_metadata("format", "pt");
  const auto declare = [&](const std::string& name, llmh_dtype dtype, std::span<const int64_t> shape) {
    writer.declare(name, dtype, shape);
    weight_map[name] = path.filename().string();
    written_ += byte_count(dtype, shape);
  };
  for (const CheckpointTensor* tensor : tensors)
    declare(std::string(tensor->name), hub_dtype(*tensor), tensor->shape);
  if (head) declare(head->stored_name, head->dtype, head->shape);
  const TakeBytes take = [&](std::span<const std::byte> bytes) { writer.write(bytes); };
  for (const CheckpointTensor* tensor : tensors) write_values(*tensor, hub_dtype(*tensor), take);
  if (head) encode_values(head->stored_name, head->values, head->dtype, options_.threads, take);
  writer.finish();
}

void ModelWriter::write_hub(const fs::path& folder) {
  const Checkpoint& checkpoint = model_.checkpoint();
  std::map<std::string, std::vector<const CheckpointTensor*>> shards;
  const bool is_sharded = checkpoint.files().size() > 1;
  for (const CheckpointTensor& tensor : checkpoint.tensors())
    shards[is_sharded ? fs::path(tensor.file).filename().string() : kWeights].push_back(&tensor);
  std::optional<Head> head = untied_head();
  if (head) {
    const auto first = std::find_if(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                                    [&](const auto& t) { return t.shape == head->shape; });
    head->dtype = first == checkpoint.tensors().end() ? LLMH_DTYPE_F32 : hub_dtype(*first);
  }
  std::map<std::string, std::string> weight_map;
  size_t left = shards.size();
  for (const auto& [name, tensors] : shards)
    write_shard(folder / name, tensors, --left == 0 ? head : std::nullopt, weight_map);
  if (is_sharded) {
    const OrderedJson index = {{"metadata", {{"total_size", written_}}}, {"weight_map", weight_map}};
    write_file_atomically(folder / kIndex, index.dump(2) + "\n");
  }
  ConfigChanges changes;
  if (options_.dtype != LLMH_DTYPE_INVALID) changes.dtype = torch_dtype_name(options_.dtype);
  changes.drops_quantisation = true;
  changes.unties_head = head.has_value();
  write_file_atomically(folder / "config.json", changed_config(checkpoint, changes));
  copy_companions(checkpoint.folder(), folder);
}

llmh_dtype ModelWriter::gguf_type(const CheckpointTensor& tensor) const {
  const bool is_matrix = tensor.shape.size() > 1 && fits_rows(options_.dtype, tensor.shape);
  if (options_.dtype != LLMH_DTYPE_INVALID && is_matrix) return options_.dtype;
  if (has_new_values(tensor) && !fits_rows(tensor.dtype, tensor.shape))
    throw_error(ErrorCode::kUnimplemented,
                "tensor '{}' is stored as {}, which is not written here; name a type with --dtype",
                tensor.name, tensor.stored_type);
  return tensor.dtype;
}

void ModelWriter::write_gguf(const fs::path& path) {
  const Checkpoint& checkpoint = model_.checkpoint();
  GgufWriter writer(path);
  for (const GgufValue& value : checkpoint.gguf()->metadata()) {
    const bool is_of_parts = value.key().starts_with("split.");
    // The most frequent type is another one now; readers do not need to be told.
    const bool is_wrong = options_.dtype != LLMH_DTYPE_INVALID && value.key() == "general.file_type";
    const bool is_ours = value.key() == "general.alignment";
    if (!is_of_parts && !is_wrong && !is_ours) writer.copy(value);
  }
  for (const CheckpointTensor& tensor : checkpoint.tensors())
    writer.declare(tensor.name, gguf_type(tensor), tensor.shape);
  std::optional<Head> head = untied_head();
  if (head) {
    head->dtype = options_.dtype != LLMH_DTYPE_INVALID && fits_rows(options_.dtype, head->shape)
                      ? options_.dtype
                      : LLMH_DTYPE_F16;
    writer.declare(head->stored_name, head->dtype, head->shape);
  }
  const TakeBytes take = [&](std::span<const std::byte> bytes) { writer.write(bytes); };
  for (const CheckpointTensor& tensor : checkpoint.tensors()) write_values(tensor, gguf_type(tensor), take);
  if (head) encode_values(head->stored_name, head->values, head->dtype, options_.threads, take);
  writer.finish();
}

}  // namespace

uint64_t bytes_to_write(const LoadedModel& model) {
  uint64_t bytes = 0;
  for (const CheckpointTensor& tensor : model.checkpoint().tensors()) bytes += tensor.stored_bytes();
  return bytes;
}

void write_model(const LoadedModel& model, const NameMap& names, const NewWeights& weights,
                 const std::filesystem::path& folder, const WriteModelOptions& options) {
  ModelWriter(model, names, weights, options).write(folder);
}

}  // namespace llmhost::model
