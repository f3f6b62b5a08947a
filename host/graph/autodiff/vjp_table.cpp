#include "graph/autodiff/vjp_families.h"

namespace llmhost::graph {
namespace {

constexpr std::string_view kServing = "it serves adapters; what is trained is written in other ops";
constexpr std::string_view kState =
    "it works on the state of sequences; training attends over the step's own tokens";
constexpr std::string_view kSecond = "second derivatives are not computed";
constexpr std::string_view kSum = "it is no part of a forward pass";

constexpr VjpRule has(llmh_op op, void (*rule)(VjpCall&)) {
  return {op, VjpKind::kRule, rule, {}};
}
constexpr VjpRule constant(llmh_op op) {
  return {op, VjpKind::kNone, nullptr, {}};
}
constexpr VjpRule refused(llmh_op op, std::string_view why) {
  return {op, VjpKind::kRefused, nullptr, why};
}

constexpr VjpRule kRules[] = {
    has(LLMH_OP_EMBEDDING, vjp::embedding),
    has(LLMH_OP_LINEAR, vjp::linear),
    has(LLMH_OP_RMS_NORM, vjp::rms_norm),
    has(LLMH_OP_LAYER_NORM, vjp::layer_norm),
    has(LLMH_OP_ROPE, vjp::rope),
    refused(LLMH_OP_ATTENTION, kState),
    has(LLMH_OP_ACTIVATION, vjp::activation),
    has(LLMH_OP_GATED_ACTIVATION, vjp::gated_activation),
    has(LLMH_OP_SOFTCAP, vjp::softcap),
    has(LLMH_OP_SCALE, vjp::scale),
    has(LLMH_OP_SOFTMAX, vjp::softmax),
    // So that the norm can be computed again from the sum, which waits anyway.
    {LLMH_OP_ADD_RMS_NORM, VjpKind::kParts, nullptr, {}},
    has(LLMH_OP_EXPERT_LINEAR, vjp::expert_linear),
    refused(LLMH_OP_LORA_LINEAR, kServing),
    refused(LLMH_OP_LORA_EMBEDDING, kServing),
    has(LLMH_OP_ADD, vjp::add),
    has(LLMH_OP_SUB, vjp::sub),
    has(LLMH_OP_MUL, vjp::mul),
    has(LLMH_OP_DIV, vjp::div),
    has(LLMH_OP_UNARY, vjp::unary),
    has(LLMH_OP_REDUCE, vjp::reduce),
    has(LLMH_OP_MATMUL, vjp::matmul),
    has(LLMH_OP_RESHAPE, vjp::reshape),
    has(LLMH_OP_PERMUTE, vjp::permute),
    has(LLMH_OP_SLICE, vjp::slice),
    has(LLMH_OP_CONCAT, vjp::concat),
    has(LLMH_OP_BROADCAST, vjp::broadcast),
    has(LLMH_OP_GATHER, vjp::gather),
    has(LLMH_OP_CAST, vjp::cast),
    constant(LLMH_OP_ROPE_ANGLES),
    refused(LLMH_OP_STATE_WRITE, kState),
    refused(LLMH_OP_STATE_READ, kState),
    constant(LLMH_OP_ATTENTION_MASK),
    constant(LLMH_OP_ATTENTION_DISTANCE),
    has(LLMH_OP_TOP_K, vjp::top_k),
    constant(LLMH_OP_TOP_K_MASK),
    has(LLMH_OP_TAKE, vjp::take),
    has(LLMH_OP_CLAMP, vjp::clamp),
    has(LLMH_OP_REDUCE_TO, vjp::reduce_to),
    has(LLMH_OP_PAD, vjp::pad),
    has(LLMH_OP_SCATTER_ADD, vjp::scatter_add),
    has(LLMH_OP_SCATTER_LAST, vjp::scatter_last),
    constant(LLMH_OP_DETACH),
    has(LLMH_OP_DROPOUT, vjp::dropout),
    constant(LLMH_OP_LOW_RANK_ROW_NORMS),
    refused(LLMH_OP_ACCUMULATE, kSum),
    has(LLMH_OP_ATTENTION_TRAIN, vjp::attention),
    refused(LLMH_OP_ATTENTION_GRAD, kSecond),
    has(LLMH_OP_CROSS_ENTROPY, vjp::cross_entropy),
    refused(LLMH_OP_CROSS_ENTROPY_GRAD, kSecond),
    has(LLMH_OP_LINEAR_CROSS_ENTROPY, vjp::linear_cross_entropy),
    has(LLMH_OP_LINEAR_INPUT_GRAD, vjp::linear_input_grad),
    has(LLMH_OP_LINEAR_WEIGHT_GRAD, vjp::linear_weight_grad),
    refused(LLMH_OP_EXPERT_LINEAR_INPUT_GRAD, kSecond),
    refused(LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, kSecond),
    refused(LLMH_OP_RMS_NORM_GRAD, kSecond),
    refused(LLMH_OP_RMS_NORM_WEIGHT_GRAD, kSecond),
    refused(LLMH_OP_LAYER_NORM_GRAD, kSecond),
    refused(LLMH_OP_LAYER_NORM_WEIGHT_GRAD, kSecond),
    refused(LLMH_OP_ACTIVATION_GRAD, kSecond),
    refused(LLMH_OP_GATED_ACTIVATION_GRAD, kSecond),
    refused(LLMH_OP_SOFTMAX_GRAD, kSecond),
};

}  // namespace

std::span<const VjpRule> vjp_rules() {
  return kRules;
}

}  // namespace llmhost::graph
