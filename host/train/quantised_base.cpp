#include "train/quantised_base.h"

#include <utility>

#include "core/dequantize.h"
#include "core/error.h"
#include "engine/base_model.h"
#include "graph/routers.h"
#include "model/quantize.h"

namespace llmhost::train {
namespace {

bool is_plain_float(llmh_dtype dtype) {
  return dtype == LLMH_DTYPE_F32 || dtype == LLMH_DTYPE_F16 || dtype == LLMH_DTYPE_BF16;
}

bool is_four_bit(llmh_dtype dtype) {
  return dtype == LLMH_DTYPE_NF4 || dtype == LLMH_DTYPE_FP4;
}

model::FourBitOptions options_of(const llmh_base_request& request) {
  model::FourBitOptions options;
  options.code = request.linear_dtype == LLMH_DTYPE_FP4 ? model::FourBitCode::kFp4 : model::FourBitCode::kNf4;
  options.is_nested = request.double_quant != 0;
  return options;
}

model::WeightData decoded(model::WeightData weight) {
  if (weight.dtype == LLMH_DTYPE_F32) return weight;
  const size_t n = model::element_count(weight.shape);
  std::vector<std::byte> values(n * sizeof(float));
  dequantize_row(weight.dtype, weight.bytes.data(), reinterpret_cast<float*>(values.data()), n);
  weight.keep(std::move(values));
  weight.dtype = LLMH_DTYPE_F32;
  return weight;
}

}  // namespace

QuantisedBase::QuantisedBase(const model::LoadedModel& model, const std::vector<graph::AdapterSite>& modules,
                             const llmh_base_request& request)
    : model_(model), request_(request) {
  const llmh_dtype dtype = request.linear_dtype;
  if (dtype != LLMH_DTYPE_INVALID && !is_four_bit(dtype))
    throw_error(ErrorCode::kUnimplemented, "the method asks for a base of {}: it can be nf4 or fp4",
                graph::dtype_name(dtype));
  const std::set<std::string> routers = graph::router_paths(modules);
  for (const graph::AdapterSite& module : modules) {
    if (routers.contains(module.path)) continue;
    const bool is_in_block = (engine::place_flags(module) & LLMH_MODULE_IN_BLOCK) != 0;
    if (module.kind != LLMH_MODULE_LINEAR || !is_in_block || module.is_head) continue;
    const model::HubTensor& stored = find(module.weight_name);
    const bool is_stored_so = !is_plain_float(stored.dtype) || stored.first().decoder != nullptr;
    if (is_stored_so)
      low_precision_.insert(module.weight_name);
    else if (dtype != LLMH_DTYPE_INVALID) {
      linears_.insert(module.weight_name);
      low_precision_.insert(module.weight_name);
    }
  }
}

const model::HubTensor& QuantisedBase::find(std::string_view weight) const {
  const auto found = model_.tensors().find(weight);
  if (found == model_.tensors().end())
    throw_error(ErrorCode::kInternal, "no stored tensor for weight '{}'", weight);
  return found->second;
}

bool QuantisedBase::is_quantised(std::string_view weight) const {
  return linears_.contains(weight);
}

bool QuantisedBase::is_low_precision(std::string_view weight) const {
  return low_precision_.contains(weight);
}

// Rows of blocks that are not whole are held in f32.
llmh_dtype QuantisedBase::dtype(std::string_view weight, uint32_t uses) const {
  const model::HubTensor& stored = find(weight);
  if (!is_quantised(weight)) return model::loaded_dtype(stored, uses);
  const bool is_whole = (uses & LLMH_USE_VECTOR) == 0 &&
                        stored.shape.back() % llmh_dtype_layout_of(request_.linear_dtype).block_elements == 0;
  return is_whole ? request_.linear_dtype : LLMH_DTYPE_F32;
}

model::WeightData QuantisedBase::load(std::string_view weight, uint32_t uses) const {
  const model::HubTensor& stored = find(weight);
  if (!is_quantised(weight)) return model::load_weight(stored, uses);
  model::WeightData quantised =
      model::quantized_weight(model::load_weight(stored, LLMH_USE_LINEAR), options_of(request_));
  if (dtype(weight, uses) == LLMH_DTYPE_F32) return decoded(std::move(quantised));
  return quantised;
}

uint64_t QuantisedBase::copied_bytes(std::string_view weight, uint32_t uses) const {
  const model::HubTensor& stored = find(weight);
  if (!is_quantised(weight)) return model::copied_bytes(stored, uses);
  return model::byte_count(dtype(weight, uses), stored.shape);
}

}  // namespace llmhost::train
