// GPTQ: qweight [in * bits / 32, out] packed along the input, qzeros [groups, out * bits / 32] packed along
// the output, scales [groups, out], g_idx [in]. The first version of the format stores zero points less one.
#include <utility>

#include "core/error.h"
#include "model/quantised_grouped.h"

namespace llmhost::model {
namespace {

struct Scheme {
  int32_t bits;
  int64_t group_size;  // -1: the whole row
  bool symmetric;
  int32_t stored_zero_offset;
};

Scheme read_scheme(QuantisationConfig& config) {
  Scheme scheme{};
  const int64_t bits = config.integer("bits", 4);
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
    config.refuse("bits", "only 2, 3, 4 and 8 are supported");
  scheme.bits = static_cast<int32_t>(bits);
  scheme.group_size = config.integer("group_size", 128);
  if (scheme.group_size < 1 && scheme.group_size != -1)
    config.refuse("group_size", "it must be -1 or above 0");
  scheme.symmetric = config.flag("sym", true);
  const std::string_view key = config.has("checkpoint_format") ? "checkpoint_format" : "format";
  const bool is_second = config.one_of(key, {"gptq", "gptq_v2"}) == "gptq_v2";
  scheme.stored_zero_offset = is_second ? 0 : 1;
  if (config.flag("is_marlin_format", false)) config.refuse("is_marlin_format", "convert the model to gptq");
  config.one_of("pack_dtype", {"int32"});
  // How the quants were found, and settings of other engines; g_idx says what desc_act led to.
  config.understood({"format",
                     "desc_act",
                     "act_group_aware",
                     "damp_percent",
                     "damp_auto_increment",
                     "static_groups",
                     "true_sequential",
                     "model_name_or_path",
                     "model_file_base_name",
                     "tokenizer",
                     "dataset",
                     "batch_size",
                     "backend",
                     "max_input_length",
                     "model_seqlen",
                     "block_name_to_quantize",
                     "module_name_preceding_first_block",
                     "pad_token_id",
                     "cache_block_outputs",
                     "modules_in_block_to_quantize",
                     "modules_to_not_convert",
                     "meta",
                     "lm_head",
                     "mse",
                     "offload_to_disk",
                     "quantizer"});
  config.understood_like({"use_", "disable_"}, {"_config"});  // kernels of other engines
  return scheme;
}

std::vector<int16_t> read_zeros(const CheckpointTensor& qzeros, int64_t rows, int64_t groups,
                                const Scheme& scheme) {
  const int64_t words = qzeros.shape[1];
  std::vector<int16_t> zeros(static_cast<size_t>(rows * groups));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t g = 0; g < groups; ++g) {
      const uint32_t stored = packed_value(qzeros, g * words, 1, r, scheme.bits);
      zeros[static_cast<size_t>(r * groups + g)] =
          static_cast<int16_t>(static_cast<int32_t>(stored) + scheme.stored_zero_offset);
    }
  return zeros;
}

// [count][columns] of the rows from `first`.
void read_quants(const CheckpointTensor& qweight, int64_t columns, int32_t bits, int64_t first, int64_t count,
                 int16_t* quants) {
  const int64_t rows = qweight.shape[1];
  if (bits == 3) {
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t r = 0; r < count; ++r)
        quants[r * columns + c] = static_cast<int16_t>(packed_value(qweight, first + r, rows, c, bits));
    return;
  }
  const int64_t per_word = 32 / bits;
  for (int64_t w = 0; w < qweight.shape[0]; ++w)
    for (int64_t r = 0; r < count; ++r)
      unpack_word(word_at(qweight, w * rows + first + r), bits, quants + r * columns + w * per_word);
}

// The range of quant - zero: from what the zero points can be, or from those there are when all should be the
// middle.
void set_range(const Scheme& scheme, GroupedWeight& weight) {
  const int32_t largest = (1 << scheme.bits) - 1;
  weight.low = -(largest + scheme.stored_zero_offset);
  weight.high = largest - scheme.stored_zero_offset;
  if (!scheme.symmetric) return;
  const int32_t middle = 1 << (scheme.bits - 1);
  for (const int16_t zero : weight.zeros())
    if (zero != middle) return;
  weight.low = -middle;
  weight.high = middle - 1;
}

void add_module(PartTable& parts, const std::string& module, const Scheme& scheme) {
  const CheckpointTensor& qweight = parts.require(module, ".qweight");
  const CheckpointTensor& qzeros = parts.require(module, ".qzeros");
  const CheckpointTensor& scales = parts.require(module, ".scales");
  const CheckpointTensor* g_idx = parts.part(module, ".g_idx");
  expect_type(qweight, {"I32"});
  expect_rank(qweight, 2);
  const int64_t words = qweight.shape[0];
  if (words * 32 % scheme.bits != 0)
    refuse_part(qweight, fmt::format("its rows are no whole number of {}-bit integers", scheme.bits));

  GroupedWeight weight;
  weight.rows = qweight.shape[1];
  weight.columns = words * 32 / scheme.bits;
  weight.group_size = scheme.group_size == -1 ? weight.columns : scheme.group_size;
  weight.groups = (weight.columns - 1) / weight.group_size + 1;
  expect_type(scales, {"F16", "BF16", "F32"});
  expect_shape(scales, {weight.groups, weight.rows});
  expect_type(qzeros, {"I32"});
  expect_shape(qzeros, {weight.groups, packed_words(weight.rows, scheme.bits)});
  if (g_idx != nullptr)
    weight.group_of = groups_of_columns(*g_idx, weight.columns, weight.groups, weight.group_size);
  weight.has_f16_scales = scales.stored_type == "F16";
  weight.scales = [scales, rows = weight.rows, groups = weight.groups] {
    return by_row(floats_of(scales), rows, groups);
  };
  weight.zeros = [qzeros, rows = weight.rows, groups = weight.groups, scheme] {
    return read_zeros(qzeros, rows, groups, scheme);
  };
  weight.quants = [qweight, columns = weight.columns, bits = scheme.bits](int64_t first, int64_t count,
                                                                          int16_t* quants) {
    read_quants(qweight, columns, bits, first, count, quants);
  };
  set_range(scheme, weight);
  parts.replace(module + ".weight",
                grouped_weight(fmt::format("gptq {}-bit", scheme.bits), std::move(weight)),
                {&qweight, &qzeros, &scales, g_idx});
}

}  // namespace

void read_gptq(PartTable& parts, QuantisationConfig& config) {
  const Scheme scheme = read_scheme(config);
  for (const std::string& module : parts.modules_with(".qweight")) add_module(parts, module, scheme);
}

}  // namespace llmhost::model
