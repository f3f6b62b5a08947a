// AWQ: 4-bit integers, eight a word. "gemm": qweight [in, out / 8], qzeros [groups, out / 8], scales [groups,
// out], the eight outputs of a word in an order of their own. "gemv": qweight [out, in / 8], qzeros and
// scales by row, padded.
#include <array>
#include <utility>

#include "core/error.h"
#include "model/quantised_grouped.h"

namespace llmhost::model {
namespace {

constexpr int32_t kBits = 4;
constexpr int64_t kPerWord = 8;
// The nibble of a word that holds output 8 i + j.
constexpr std::array<int64_t, 8> kNibbleOf = {0, 4, 1, 5, 2, 6, 3, 7};

uint32_t gemm_value(const CheckpointTensor& part, int64_t row, int64_t output) {
  const uint32_t word = word_at(part, row * part.shape[1] + output / kPerWord);
  return (word >> (kBits * kNibbleOf[static_cast<size_t>(output % kPerWord)])) & 15U;
}

void set_groups(GroupedWeight& weight, int64_t group_size) {
  weight.group_size = group_size == -1 ? weight.columns : group_size;
  weight.groups = (weight.columns - 1) / weight.group_size + 1;
  weight.low = -15;
  weight.high = 15;
}

GroupedWeight gemm_weight(const CheckpointTensor& qweight, const CheckpointTensor& qzeros,
                          const CheckpointTensor& scales, int64_t group_size) {
  GroupedWeight weight;
  weight.rows = checked_product(qweight, qweight.shape[1], kPerWord);
  weight.columns = qweight.shape[0];
  set_groups(weight, group_size);
  expect_shape(qzeros, {weight.groups, qweight.shape[1]});
  expect_shape(scales, {weight.groups, weight.rows});
  weight.scales = [scales, rows = weight.rows, groups = weight.groups] {
    return by_row(floats_of(scales), rows, groups);
  };
  weight.zeros = [qzeros, rows = weight.rows, groups = weight.groups] {
    std::vector<int16_t> zeros(static_cast<size_t>(rows * groups));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t g = 0; g < groups; ++g)
        zeros[static_cast<size_t>(r * groups + g)] = static_cast<int16_t>(gemm_value(qzeros, g, r));
    return zeros;
  };
  weight.quants = [qweight, columns = weight.columns](int64_t first, int64_t count, int16_t* quants) {
    // `first` and `count` are whole words.
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t r = 0; r < count; r += kPerWord) {
        const uint32_t word = word_at(qweight, c * qweight.shape[1] + (first + r) / kPerWord);
        for (size_t i = 0; i < kNibbleOf.size(); ++i)
          quants[(r + static_cast<int64_t>(i)) * columns + c] =
              static_cast<int16_t>((word >> (kBits * kNibbleOf[i])) & 15U);
      }
  };
  return weight;
}

GroupedWeight gemv_weight(const CheckpointTensor& qweight, const CheckpointTensor& qzeros,
                          const CheckpointTensor& scales, int64_t group_size) {
  GroupedWeight weight;
  weight.rows = qweight.shape[0];
  weight.columns = checked_product(qweight, qweight.shape[1], kPerWord);
  set_groups(weight, group_size);
  expect_rank(qzeros, 2);
  const int64_t words = qzeros.shape[1];
  if (words < packed_words(weight.groups, kBits))
    refuse_part(qzeros, fmt::format("it has no room for {} groups", weight.groups));
  expect_shape(qzeros, {weight.rows, words});
  expect_shape(scales, {weight.rows, checked_product(qzeros, words, kPerWord)});
  weight.scales = [scales, rows = weight.rows, groups = weight.groups, stride = words * kPerWord] {
    const std::vector<float> padded = floats_of(scales);
    std::vector<float> result(static_cast<size_t>(rows * groups));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t g = 0; g < groups; ++g)
        result[static_cast<size_t>(r * groups + g)] = padded[static_cast<size_t>(r * stride + g)];
    return result;
  };
  weight.zeros = [qzeros, rows = weight.rows, groups = weight.groups, words] {
    std::vector<int16_t> zeros(static_cast<size_t>(rows * groups));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t g = 0; g < groups; ++g)
        zeros[static_cast<size_t>(r * groups + g)] =
            static_cast<int16_t>(packed_value(qzeros, r * words, 1, g, kBits));
    return zeros;
  };
  weight.quants = [qweight, columns = weight.columns](int64_t first, int64_t count, int16_t* quants) {
    for (int64_t r = 0; r < count; ++r)
      for (int64_t w = 0; w < qweight.shape[1]; ++w)
        unpack_word<kBits>(word_at(qweight, (first + r) * qweight.shape[1] + w),
                           quants + r * columns + w * kPerWord);
  };
  return weight;
}

}  // namespace

void read_awq(PartTable& parts, QuantisationConfig& config) {
  for (const std::string_view key : {"bits", "w_bit"})
    if (config.integer(key, kBits) != kBits) config.refuse(key, "only 4 is supported");
  const int64_t group_size = config.integer(config.has("group_size") ? "group_size" : "q_group_size", 128);
  if (group_size < 1 && group_size != -1) config.refuse("group_size", "it must be -1 or above 0");
  const std::string_view key = config.has("version") ? "version" : "format";
  const bool is_gemv = config.one_of(key, {"gemm", "gemv"}) == "gemv";
  if (config.text("backend", "") == "llm-awq")
    config.refuse("backend", "its layout is not known; convert the model");
  if (!config.flag("zero_point", true))
    config.refuse("zero_point", "only models with zero points are supported");
  config.understood({"group_size", "q_group_size", "version", "format", "modules_to_not_convert", "do_fuse",
                     "fuse_max_seq_len", "modules_to_fuse", "desc_act", "sym", "damp_percent",
                     "true_sequential", "act_group_aware", "meta"});
  config.understood_like({}, {"_config"});  // kernels of other engines
  for (const std::string& module : parts.modules_with(".qweight")) {
    const CheckpointTensor& qweight = parts.require(module, ".qweight");
    const CheckpointTensor& qzeros = parts.require(module, ".qzeros");
    const CheckpointTensor& scales = parts.require(module, ".scales");
    expect_type(qweight, {"I32"});
    expect_rank(qweight, 2);
    expect_type(qzeros, {"I32"});
    expect_type(scales, {"F16", "BF16", "F32"});
    GroupedWeight weight = is_gemv ? gemv_weight(qweight, qzeros, scales, group_size)
                                   : gemm_weight(qweight, qzeros, scales, group_size);
    weight.has_f16_scales = scales.stored_type == "F16";
    parts.replace(module + ".weight", grouped_weight(is_gemv ? "awq gemv" : "awq gemm", std::move(weight)),
                  {&qweight, &qzeros, &scales});
  }
}

}  // namespace llmhost::model
