#include "program.h"

#include <algorithm>
#include <string>

#include "ops/sites.h"
#include "ops/state.h"

namespace llmhost::cpu {
namespace {

std::string node_name(const llmh_node& node) {
  return "op " + std::to_string(node.op) + " '" + std::string(llmh::view(node.path)) + "'";
}

ScratchNeed graph_scratch(const llmh_graph& graph, const llmh_limits& limits) {
  ScratchNeed most;
  for (uint32_t i = 0; i < graph.n_nodes; ++i) {
    const NodeView view{&graph, graph.nodes[i]};
    const OpEntry* entry = find_op(view.node->op);
    if (entry == nullptr || entry->scratch == nullptr) continue;
    const ScratchNeed need = entry->scratch(view, limits);
    most.per_thread = std::max(most.per_thread, need.per_thread);
    most.shared = std::max(most.shared, need.shared);
  }
  most.per_thread = (most.per_thread + 255) / 256 * 256;
  return most;
}

void find_rows(Operand& operand) {
  if (operand.rank < 1) return;
  int64_t elements = operand.dims[0].size;
  for (int32_t i = 1; i < operand.rank; ++i) {
    if (operand.dims[i].symbol != LLMH_DIM_CONST) return;
    elements *= operand.dims[i].size;
  }
  const llmh_dtype_layout layout = llmh_dtype_layout_of(operand.dtype);
  operand.row_symbol = operand.dims[0].symbol;
  operand.row_bytes = elements / layout.block_elements * layout.block_bytes;
}

uint8_t* parameter_data(const llmh_compile_args& args, llmh_tensor tensor) {
  const llmh_tensor_info& info = *args.graph->tensors[tensor];
  const std::string name = "[cpu] parameter '" + std::string(llmh::view(info.name)) + "'";
  uint64_t bytes = sizeof(float);
  for (int32_t i = 0; i < info.rank; ++i) {
    if (info.dims[i].symbol != LLMH_DIM_CONST || info.dtype != LLMH_DTYPE_F32)
      throw llmh::Error(LLMH_INVALID_ARGUMENT, name + ": must be f32 of constant size");
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(info.dims[i].size), &bytes))
      throw llmh::Error(LLMH_INVALID_ARGUMENT, name + ": the shape overflows");
  }
  const llmh_range range = args.parameters == nullptr ? llmh_range{} : args.parameters[tensor];
  if (range.buffer == nullptr || range.bytes < bytes || range.offset > range.buffer->bytes ||
      range.bytes > range.buffer->bytes - range.offset)
    throw llmh::Error(LLMH_INVALID_ARGUMENT,
                      name + ": no memory of " + std::to_string(bytes) + " bytes was given");
  return range.buffer->data + range.offset;
}

Operand resolve(const llmh_compile_args& args, llmh_tensor tensor) {
  Operand operand;
  if (tensor == LLMH_NO_TENSOR) return operand;
  const llmh_tensor_info& info = *args.graph->tensors[tensor];
  operand.present = true;
  operand.dtype = info.dtype;
  operand.rank = info.rank;
  std::copy_n(info.dims, info.rank, operand.dims);
  const llmh_weight* weight = args.weights == nullptr ? nullptr : args.weights[tensor];
  if (weight != nullptr) {
    operand.weight = weight;
    operand.dtype = weight->dtype;
    operand.data = const_cast<uint8_t*>(weight->data);
  } else if (info.role == LLMH_TENSOR_INPUT) {
    operand.input_kind = info.input_kind;
  } else if (info.role == LLMH_TENSOR_CONSTANT) {
    operand.data = const_cast<uint8_t*>(static_cast<const uint8_t*>(info.data));
  } else if (info.role == LLMH_TENSOR_PARAMETER) {
    operand.data = parameter_data(args, tensor);
  } else if (args.arena_offsets[tensor] != UINT64_MAX) {
    operand.data = args.arena.buffer->data + args.arena.offset + args.arena_offsets[tensor];
  } else {
    throw llmh::Error(LLMH_INVALID_ARGUMENT, "[cpu] tensor '" + std::string(llmh::view(info.name)) +
                                                 "' has neither a weight nor a place");
  }
  find_rows(operand);
  return operand;
}

int32_t slot_of(const llmh_node& node) {
  if (node.op == LLMH_OP_ATTENTION) return llmh::node_attrs<llmh_attention_attrs>(node).slot;
  return llmh::node_attrs<llmh_state_attrs>(node).slot;
}

bool uses_state(llmh_op op) {
  return op == LLMH_OP_ATTENTION || op == LLMH_OP_STATE_WRITE || op == LLMH_OP_STATE_READ;
}

const StateSlot* find_state(const std::vector<StateSlot>& states, const llmh_node& node) {
  const int32_t slot = slot_of(node);
  for (const StateSlot& state : states)
    if (state.slot == slot) return &state;
  throw llmh::Error(LLMH_INVALID_ARGUMENT,
                    "[cpu] " + node_name(node) + ": no state was given for slot " + std::to_string(slot));
}

StateSlot state_slot(const llmh_state_view& view) {
  if (!is_state_dtype(view.dtype) || view.page_tokens < 1 || view.page_bytes < 1)
    throw llmh::Error(LLMH_INVALID_ARGUMENT,
                      "[cpu] state of slot " + std::to_string(view.slot) +
                          ": needs f32, f16, bf16 or q8_0 and at least one token a page");
  return {.slot = view.slot,
          .page_tokens = view.page_tokens,
          .dtype = view.dtype,
          .page_bytes = static_cast<int64_t>(view.page_bytes),
          .n_pages = static_cast<int64_t>(view.range.bytes / view.page_bytes),
          .data = view.range.buffer->data + view.range.offset};
}

// Results of few columns are dot products of rows in any case.
bool is_wide(const Operand& weight) {
  constexpr int64_t kNarrow = 32;
  return weight.dims[weight.rank - 2].size >= kNarrow || weight.dims[weight.rank - 1].size < 2 * kNarrow;
}

// Weights of training programs are multiplied in blocks; those that were packed for serving are read so.
Form product_form(const llmh_instance& instance, const Call& call, bool is_training) {
  const Operand& weight = call.inputs[1];
  const bool is_packed = weight.weight != nullptr && weight.weight->packed.data != nullptr;
  if (is_training && !is_packed && call.site.number == 0 && is_wide(weight))
    return blocked_form_for(instance, weight);
  return form_for(instance, weight);
}

Call make_call(const llmh_instance& instance, const llmh_compile_args& args,
               const std::vector<StateSlot>& states, uint32_t index, bool is_training) {
  const NodeView view{args.graph, args.graph->nodes[index]};
  Call call;
  call.node = view.node;
  call.entry = find_op(view.node->op);
  if (call.entry == nullptr || !call.entry->supports(view))
    throw llmh::Error(LLMH_UNIMPLEMENTED,
                      "[cpu] " + node_name(*view.node) + " is not supported with these inputs");
  for (uint32_t i = 0; i < view.node->n_inputs; ++i)
    call.inputs.push_back(resolve(args, view.node->inputs[i]));
  for (uint32_t i = 0; i < view.node->n_outputs; ++i)
    call.outputs.push_back(resolve(args, view.node->outputs[i]));
  if (uses_state(view.node->op)) call.state = find_state(states, *view.node);
  if (call.entry->prepare != nullptr) call.entry->prepare(call);
  if (call.entry->is_product != nullptr && call.entry->is_product(call))
    call.form = product_form(instance, call, is_training);
  if (call.entry->multiplies_blocks) call.form = blocked_form_for(instance, call.inputs[1]);
  return call;
}

void check_limit(const char* what, int64_t value, int64_t most) {
  if (value < 0 || value > most)
    throw llmh::Error(LLMH_OUT_OF_RANGE, std::string("[cpu] a step of ") + std::to_string(value) + " " +
                                             what + "; the program was compiled for " + std::to_string(most));
}

}  // namespace

bool supports_node(const llmh_graph& graph, uint32_t node) {
  if (node >= graph.n_nodes) return false;
  const OpEntry* entry = find_op(graph.nodes[node]->op);
  return entry != nullptr && entry->supports({&graph, graph.nodes[node]});
}

uint64_t program_scratch_bytes(const llmh_instance& instance, const llmh_graph& graph,
                               const llmh_limits& limits) {
  const ScratchNeed need = graph_scratch(graph, llmh::copy_struct(limits));
  return need.per_thread * static_cast<uint64_t>(instance.n_threads) + need.shared;
}

void compile_program(const llmh_instance& instance, const llmh_compile_args& args, llmh_program& program) {
  program.instance = &instance;
  constexpr size_t kCheckedAdapters = 1024;
  program.limits = llmh::copy_struct(*args.limits);
  program.checked_adapters.assign(kCheckedAdapters, 0);
  for (uint32_t i = 0; i < args.n_states; ++i) program.states.push_back(state_slot(*args.states[i]));
  const bool is_training = has_parameters(*args.graph);
  for (uint32_t i = 0; i < args.graph->n_nodes; ++i)
    program.calls.push_back(make_call(instance, args, program.states, i, is_training));
  for (const Call& call : program.calls)
    program.reads_labels |= std::ranges::any_of(
        call.inputs, [](const Operand& input) { return input.input_kind == LLMH_INPUT_LABELS; });
  program.regions = make_regions(program.calls, program.limits);
  const uint64_t needed = program_scratch_bytes(instance, *args.graph, *args.limits);
  if (needed == 0) return;
  if (args.scratch.buffer == nullptr || args.scratch.bytes < needed)
    throw llmh::Error(LLMH_INVALID_ARGUMENT, "[cpu] scratch of " + std::to_string(args.scratch.bytes) +
                                                 " bytes; scratch_bytes asked for " + std::to_string(needed));
  program.scratch = args.scratch.buffer->data + args.scratch.offset;
  program.scratch_need = graph_scratch(*args.graph, program.limits);
}

void run_program(llmh_program& program, const llmh_step& step, const llmh_call* call) {
  check_limit("tokens", step.n_tokens, program.limits.max_tokens);
  check_limit("sequences", step.n_sequences, program.limits.max_sequences);
  check_limit("output rows", step.n_outputs, program.limits.max_outputs);
  if (program.reads_labels && step.labels == nullptr && step.n_outputs > 0)
    throw llmh::Error(LLMH_INVALID_ARGUMENT, "[cpu] the program reads labels and the step has none");
  check_segments(step, program.limits, program.calls, program.checked_adapters);
  const RunContext context(*program.instance, step, program.scratch, program.scratch_need);
  for (const Region& region : program.regions) {
    if (llmh::is_cancelled(call)) throw llmh::Error(LLMH_CANCELLED, "[cpu] cancelled");
    run_region(context, region);
  }
}

}  // namespace llmhost::cpu
