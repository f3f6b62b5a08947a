#include "model/gguf_export.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "graph/adapter_sites.h"
#include "model/gguf_metadata.h"
#include "model/layout_steps.h"
#include "model/new_weights.h"
#include "model/tensor_encode.h"
#include "model/unlayout.h"
#include "model/weights.h"

namespace llmhost::model {
namespace {

constexpr uint32_t kQuantizationVersion = 2;  // of the block types' layouts

struct PlannedTensor {
  std::string name;
  std::vector<int64_t> shape;
  llmh_dtype dtype = LLMH_DTYPE_INVALID;
  const HubTensor* source = nullptr;
  std::vector<llmh_layout_step> steps;  // from the file's to the Hub's
};

std::string head_weight(const LoadedModel& model) {
  for (const graph::AdapterSite& site : graph::modules_of(model.graph()))
    if (site.is_head) return site.weight_name;
  return {};
}

class Exporter {
 public:
  Exporter(const LoadedModel& model, const plugin::Registry& registry, const GgufTypes& types,
           const GgufExportOptions& options)
      : model_(model), types_(types), options_(options), metadata_(gguf_metadata(model)), rules_(model) {
    read_names(model, registry, LLMH_FORMAT_GGUF, names_);
    plan();
  }

  std::vector<std::string> write(const std::filesystem::path& path) {
    GgufWriter writer(path);
    write_metadata(writer);
    for (const PlannedTensor& tensor : tensors_) writer.declare(tensor.name, tensor.dtype, tensor.shape);
    for (const GgufExtraTensor& tensor : metadata_.tensors)
      writer.declare(tensor.name, LLMH_DTYPE_F32,
                     std::vector<int64_t>{static_cast<int64_t>(tensor.values.size())});
    const TakeBytes take = [&](std::span<const std::byte> bytes) { writer.write(bytes); };
    for (const PlannedTensor& tensor : tensors_) write_tensor(tensor, take);
    for (const GgufExtraTensor& tensor : metadata_.tensors) take(std::as_bytes(std::span(tensor.values)));
    writer.finish();
    return metadata_.notes;
  }

 private:
  void plan() {
    const std::string head = head_weight(model_);
    for (const GraphWeight& weight : model_.weights_of(model_.graph())) {
      PlannedTensor tensor = place(weight);
      tensor.dtype = types_.type_of(tensor.name, tensor.shape, model_.info().n_layers, weight.name == head);
      tensors_.push_back(std::move(tensor));
    }
  }

  // Rules for GGUF files, which hold the text model alone, name its modules without what is before them in a
  // checkpoint with several parts.
  std::vector<NameMap::StoredForm> forms_of(const std::string& hub_name) const {
    std::vector<NameMap::StoredForm> forms = names_.stored_forms(hub_name);
    for (const std::string_view prefix : {"language_model.", "model.language_model."}) {
      const bool is_nested = prefix.starts_with("model.");
      if (!forms.empty() || !hub_name.starts_with(prefix)) continue;
      forms = names_.stored_forms((is_nested ? "model." : "") + hub_name.substr(prefix.size()));
    }
    return forms;
  }

  // Under the first of the architecture's rules that can be undone.
  PlannedTensor place(const GraphWeight& weight) const {
    for (const NameMap::StoredForm& form : forms_of(weight.name)) {
      const bool is_whole = std::none_of(form.steps.begin(), form.steps.end(), [](const auto& step) {
        return step.layout == LLMH_LAYOUT_ROWS || step.layout == LLMH_LAYOUT_STRIDED_ROWS;
      });
      if (!is_whole || form.stacks) continue;
      return {form.name, shape_before(form.steps, weight.source->shape), LLMH_DTYPE_INVALID, weight.source,
              form.steps};
    }
    throw_error(ErrorCode::kUnimplemented, "architecture '{}' has no name for '{}' in GGUF files",
                model_.arch_id(), weight.name);
  }

  void write_metadata(GgufWriter& writer) const {
    writer.set("general.architecture", metadata_.architecture);
    writer.set("general.file_type", types_.file_type());
    if (types_.is_quantised()) writer.set("general.quantization_version", kQuantizationVersion);
    for (const GgufMetadata::Entry& entry : metadata_.entries)
      std::visit([&](const auto& value) { writer.set(metadata_.architecture + "." + entry.key, value); },
                 entry.value);
    if (options_.add_metadata) options_.add_metadata(writer);
  }

  void write_tensor(const PlannedTensor& tensor, const TakeBytes& take) const {
    const HubTensor& source = *tensor.source;
    const bool is_plain = source.parts.size() == 1 && source.steps.empty() && tensor.steps.empty();
    if (is_plain && !rules_.changes(tensor.name))
      recode(source.first(), tensor.dtype, options_.threads, take);
    else
      write_changed(tensor, take);
    drop_stored(source);
    if (options_.progress) options_.progress(source.stored_bytes());
  }

  void write_changed(const PlannedTensor& tensor, const TakeBytes& take) const {
    const WeightData loaded = load_weight(*tensor.source, LLMH_USE_VECTOR);
    std::vector<float> values(element_count(loaded.shape));
    put_back(tensor.steps, tensor.shape, sizeof(float), loaded.bytes,
             std::as_writable_bytes(std::span(values)));
    rules_.apply(tensor.name, tensor.shape, values);
    encode_values(tensor.name, values, tensor.dtype, options_.threads, take);
  }

  const LoadedModel& model_;
  const GgufTypes& types_;
  const GgufExportOptions& options_;
  GgufMetadata metadata_;
  GgufTensorRules rules_;
  NameMap names_;
  std::vector<PlannedTensor> tensors_;
};

bool is_smaller(llmh_dtype a, llmh_dtype b) {
  const llmh_dtype_layout x = llmh_dtype_layout_of(a), y = llmh_dtype_layout_of(b);
  return uint64_t{x.block_bytes} * y.block_elements < uint64_t{y.block_bytes} * x.block_elements;
}

}  // namespace

std::vector<std::string> export_gguf(const LoadedModel& model, const plugin::Registry& registry,
                                     const GgufTypes& types, const std::filesystem::path& path,
                                     const GgufExportOptions& options) {
  return Exporter(model, registry, types, options).write(path);
}

void requantize_gguf(const Checkpoint& checkpoint, const GgufTypes& types, const std::filesystem::path& path,
                     const GgufExportOptions& options) {
  const GgufFile& source = *checkpoint.gguf();
  const bool has_head = checkpoint.find("output.weight") != nullptr;
  const auto n_layers = checkpoint.config().value("num_hidden_layers", int64_t{0});
  const auto type_of = [&](const CheckpointTensor& tensor) {
    const bool is_head = tensor.name == (has_head ? "output.weight" : "token_embd.weight");
    const llmh_dtype wanted = types.type_of(tensor.name, tensor.shape, n_layers, is_head);
    // Values that went through fewer bits have no more to give; vectors stay as they are.
    const bool stays =
        tensor.shape.size() < 2 || !can_dequantize(tensor.dtype) || is_smaller(tensor.dtype, wanted);
    return stays ? tensor.dtype : wanted;
  };
  GgufWriter writer(path);
  for (const GgufValue& value : source.metadata()) {
    const bool is_replaced =
        value.key() == "general.file_type" || value.key() == "general.quantization_version";
    const bool is_of_file = value.key().starts_with("split.") || value.key() == "general.alignment";
    if (!is_replaced && !is_of_file) writer.copy(value);
  }
  writer.set("general.file_type", types.file_type());
  if (types.is_quantised()) writer.set("general.quantization_version", kQuantizationVersion);
  for (const CheckpointTensor& tensor : checkpoint.tensors())
    writer.declare(tensor.name, type_of(tensor), tensor.shape);
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    recode(tensor, type_of(tensor), options.threads,
           [&](std::span<const std::byte> bytes) { writer.write(bytes); });
    drop_mapped(tensor.bytes);
    if (options.progress) options.progress(tensor.stored_bytes());
  }
  writer.finish();
}

llmh_dtype usual_dtype(const Checkpoint& checkpoint) {
  std::map<llmh_dtype, uint64_t> bytes;
  for (const CheckpointTensor& tensor : checkpoint.tensors())
    if (tensor.shape.size() > 1) bytes[tensor.dtype] += tensor.stored_bytes();
  const auto most = std::max_element(bytes.begin(), bytes.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const llmh_dtype dtype = most == bytes.end() ? LLMH_DTYPE_INVALID : most->first;
  const bool is_plain = dtype == LLMH_DTYPE_F32 || dtype == LLMH_DTYPE_F16 || dtype == LLMH_DTYPE_BF16;
  return is_plain ? dtype : LLMH_DTYPE_F16;
}

}  // namespace llmhost::model
