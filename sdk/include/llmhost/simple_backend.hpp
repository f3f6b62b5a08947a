// A whole backend from a list of ops: the quickest way to run models on something new. Header-only, C++20,
// standard library only.
//
// The backend keeps everything in host memory. Ops that it lists run in its own functions; every other op
// runs in the host's reference evaluator, so that any model works from the first op on. Weights are used in
// place where the host allows it and copied otherwise, in the checkpoint's layout; state has the evaluator's
// layout.
//
// How to go on from there: take the op that costs most, add it to the list, compare. A backend with memory of its
// own, or one that captures whole graphs, outgrows this header and fills the table of backend.h itself.
//
//     void my_scale(const llmh::OpCall& call) {
//       const float value = llmh::node_attrs<llmh_scalar_attrs>(call.node()).value;
//       for (int64_t i = 0; i < call.count(call.output()); ++i) call.out()[i] = call.in(0)[i] * value;
//     }
//     const llmh::SimpleBackend& backend() {
//       static const llmh::SimpleBackend simple("my device", {{LLMH_OP_SCALE, my_scale}});
//       return simple;
//     }
//     LLMH_DEFINE_SIMPLE_BACKEND(backend);
//
// An op that is to run some of its nodes says which in a third field:
//
//     bool is_silu(const llmh_graph&, const llmh_node& node) {
//       return llmh::node_attrs<llmh_activation_attrs>(node).kind == LLMH_ACT_SILU;
//     }
//     {LLMH_OP_ACTIVATION, my_silu, is_silu}
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llmhost/backend.h"
#include "llmhost/op.hpp"
#include "llmhost/plugin.hpp"

namespace llmh {

// One node in one step, given to a backend's own op. Tensors are dense and row-major.
//
// Made anew for each call: the object and every pointer that it gives are valid until `run` returns, and no longer.
// What is to be kept from step to step is keyed by the node, whose address stays the same until the program is
// released. Functions may be called from several threads at once (inside parallel_for).
class OpCall {
 public:
  OpCall(const llmh_graph& graph, const llmh_node& node, void* const* tensors, const llmh_step& step,
         const llmh_thread_pool* pool)
      : graph_(graph), node_(node), tensors_(tensors), step_(step), pool_(pool) {}

  // With the op's attributes: node_attrs<llmh_norm_attrs>(call.node()).
  const llmh_node& node() const { return node_; }
  // The ragged tokens: which sequence and position each of the T rows belongs to.
  const llmh_step& step() const { return step_; }
  const llmh_thread_pool* pool() const { return pool_; }  // null: run on this thread

  // Whether the optional input is there. The functions below are for inputs that are.
  bool has(uint32_t input) const { return input < node_.n_inputs && node_.inputs[input] != LLMH_NO_TENSOR; }
  // Type and shape; symbolic dimensions are resolved by size().
  const llmh_tensor_info& input(uint32_t index) const { return *graph_.tensors[node_.inputs[index]]; }
  const llmh_tensor_info& output(uint32_t index = 0) const { return *graph_.tensors[node_.outputs[index]]; }
  // The elements, count(input(index)) of them. Cast the pointer for other types than f32 (token ids are i32).
  const float* in(uint32_t index) const { return static_cast<const float*>(tensors_[node_.inputs[index]]); }
  // Where the op writes; never the memory of one of its inputs. Holds anything before.
  float* out(uint32_t index = 0) const { return static_cast<float*>(tensors_[node_.outputs[index]]); }

  // Elements along dimension `dim`, counted from 0 at the outermost, in this step.
  int64_t size(const llmh_tensor_info& tensor, int32_t dim) const {
    const llmh_dim& d = tensor.dims[dim];
    if (d.symbol == LLMH_DIM_TOKENS) return d.size * step_.n_tokens;
    if (d.symbol == LLMH_DIM_SEQUENCES) return d.size * step_.n_sequences;
    if (d.symbol == LLMH_DIM_OUTPUTS) return d.size * step_.n_outputs;
    if (d.symbol == LLMH_DIM_STATE) return d.size * step_.n_state;
    return d.size;
  }
  // Elements in all, in this step; 1 for a scalar, 0 when a dimension is empty.
  int64_t count(const llmh_tensor_info& tensor) const {
    int64_t count = 1;
    for (int32_t i = 0; i < tensor.rank; ++i) count *= size(tensor, i);
    return count;
  }

 private:
  const llmh_graph& graph_;
  const llmh_node& node_;
  void* const* tensors_;
  const llmh_step& step_;
  const llmh_thread_pool* pool_;
};

// A line of the list: one op and how it is run. Several lines may share an op; the first that accepts a node has it.
struct SimpleOp {
  llmh_op op;  // LLMH_OP_*
  // Writes every element of every output. Allocates nothing after the first step; may throw llmh::Error before it
  // hands work to the pool, nothing may leave a body that runs there. [engine]
  void (*run)(const OpCall& call);
  // Whether this node is one for `run`; null: every node of the op whose tensors are all f32. An op whose attributes
  // hold an enum needs it, to leave values that `run` does not know to the host.
  bool (*accepts)(const llmh_graph& graph, const llmh_node& node) = nullptr;
};

// What the table below works from; immutable, alive as long as the plugin.
class SimpleBackend {
 public:
  // `device_name` is what users see ("my device, 16 cores"). `reference`: null for the host's extension, asked for when a
  // device is opened. `adapters`: null for a backend that serves none; else `reference` runs every site with them.
  SimpleBackend(std::string device_name, std::vector<SimpleOp> ops, const llmh_reference* reference = nullptr,
                const llmh_adapters* adapters = nullptr)
      : device_name_(std::move(device_name)), ops_(std::move(ops)), reference_(reference), adapters_(adapters) {}

  const std::string& device_name() const { return device_name_; }
  const llmh_reference* reference() const {
    return reference_ != nullptr ? reference_ : extension<llmh_reference>(LLMH_REFERENCE_EXTENSION);
  }
  const llmh_adapters* adapters() const { return adapters_; }
  // The line that runs this node; null: the reference evaluator does. [thread-safe]
  const SimpleOp* find(const llmh_graph& graph, const llmh_node& node) const {
    if (is_site(node)) return nullptr;
    for (const SimpleOp& op : ops_)
      if (op.op == node.op && (op.accepts != nullptr ? op.accepts(graph, node) : all_f32(graph, node))) return &op;
    return nullptr;
  }

 private:
  // Where rows may have weights of an adapter's, which the ops of the list do not look at.
  static bool is_site(const llmh_node& node) {
    if (node.op == LLMH_OP_LORA_LINEAR || node.op == LLMH_OP_LORA_EMBEDDING) return true;
    const bool is_norm =
        node.op == LLMH_OP_RMS_NORM || node.op == LLMH_OP_LAYER_NORM || node.op == LLMH_OP_ADD_RMS_NORM;
    return is_norm && node_attrs<llmh_norm_attrs>(node).adapter_site != 0;
  }

  // Absent inputs do not count.
  static bool all_f32(const llmh_graph& graph, const llmh_node& node) {
    const auto is_f32 = [&](llmh_tensor tensor) {
      return tensor == LLMH_NO_TENSOR || graph.tensors[tensor]->dtype == LLMH_DTYPE_F32;
    };
    return std::all_of(node.inputs, node.inputs + node.n_inputs, is_f32) &&
           std::all_of(node.outputs, node.outputs + node.n_outputs, is_f32);
  }

  std::string device_name_;
  std::vector<SimpleOp> ops_;
  const llmh_reference* reference_;
  const llmh_adapters* adapters_;
};

// The functions of the llmh_backend table for the SimpleBackend that `Get` returns. Each has the contract and the thread
// tag of the field of llmh_backend that it fills; comments here only say what this backend makes of it. The handles that
// the host keeps are the structs below, cast: what is made here is deleted here.
template <const SimpleBackend& (*Get)()>
class SimpleBackendTable {
 public:
  // Static lifetime; one table for each `Get`.
  static const llmh_backend* get() {
    static const llmh_backend table = {sizeof(llmh_backend),
                                       device_count,
                                       device_info,
                                       open,
                                       close,
                                       supports,
                                       buffer_alloc,
                                       buffer_free,
                                       buffer_map,
                                       buffer_write,
                                       buffer_read,
                                       weight_bytes,
                                       prepare_weight,
                                       release_weight,
                                       state_page_bytes,
                                       scratch_bytes,
                                       compile,
                                       release_program,
                                       run,
                                       get_extension};
    return &table;
  }

 private:
  // Memory is from aligned_alloc, which operator delete does not know.
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;

  // What llmh_instance stands for. Deleted by close().
  struct Instance {
    const llmh_reference* reference;  // the host's, static lifetime
    const llmh_thread_pool* pool;     // the host's, valid until close; may be null
  };
  // What llmh_buffer stands for. Deleted by buffer_free().
  struct Buffer {
    Memory memory;
    uint64_t bytes;
  };
  // What llmh_weight stands for. Deleted by release_weight().
  struct Weight {
    const void* data;  // in the checkpoint's layout: the host's memory, or `copy`
    Memory copy;       // null: used in place
  };
  // What llmh_program stands for. Deleted by release_program().
  struct Program {
    Instance* instance;
    const llmh_graph* graph;           // the host's, valid until release_program
    std::vector<const SimpleOp*> ops;  // by node; null: the reference
    std::vector<void*> tensors;        // weights, constants and activations in their places
    std::vector<llmh_state_view> states;
    std::vector<const llmh_state_view*> state_views;  // into `states`
    std::vector<void*> state_data;                    // page 0 of each
  };

  static Instance* self(llmh_instance* handle) { return reinterpret_cast<Instance*>(handle); }
  static Buffer* self(llmh_buffer* handle) { return reinterpret_cast<Buffer*>(handle); }

  // Zeroed and aligned to 256 bytes; never null.
  static Memory allocate(uint64_t bytes) {
    constexpr size_t kAlignment = 256;
    if (bytes > std::numeric_limits<size_t>::max() / 2) throw std::bad_alloc();
    const size_t rounded = (static_cast<size_t>(bytes) / kAlignment + 1) * kAlignment;
    Memory memory(static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded)));
    if (!memory) throw Error(LLMH_RESOURCE_EXHAUSTED, "no memory for " + std::to_string(bytes) + " bytes");
    std::memset(memory.get(), 0, rounded);
    return memory;
  }

  // The address of a place in a buffer; device memory is host memory here.
  static std::byte* at(const llmh_range& range, uint64_t offset) {
    return self(range.buffer)->memory.get() + range.offset + offset;
  }

  static void check_device(uint32_t index) {
    if (index != 0) throw Error(LLMH_NOT_FOUND, "there is one device, 0");
  }
  static llmh_status* device_count(uint32_t* n) noexcept {
    *n = 1;
    return nullptr;
  }
  // How much memory there is stays unknown.
  static llmh_status* device_info(uint32_t index, llmh_device_info* out) noexcept {
    return guard([&] {
      check_device(index);
      out->host_visible = 1;
      out->name = str(Get().device_name());
    });
  }

  // Without the reference evaluator most graphs could not run: that is said here, not in the middle of one.
  static llmh_status* open(const llmh_open_args* args, llmh_instance** out) noexcept {
    return guard([&] {
      check_device(args->device);
      if (args->n_options > 0)
        throw Error(LLMH_INVALID_ARGUMENT,
                    "unknown option '" + std::string(view(args->options[0].key)) + "': this backend has none");
      const llmh_reference* reference = Get().reference();
      if (reference == nullptr) throw Error(LLMH_FAILED_PRECONDITION, "the host has no " LLMH_REFERENCE_EXTENSION);
      *out = reinterpret_cast<llmh_instance*>(new Instance{reference, args->thread_pool});
    });
  }
  static void close(llmh_instance* instance) noexcept { delete self(instance); }

  // Ops that neither the list nor the evaluator runs come decomposed.
  static int32_t supports(llmh_instance* instance, const llmh_graph* graph, uint32_t node) noexcept {
    const llmh_node& n = *graph->nodes[node];
    return Get().find(*graph, n) != nullptr || self(instance)->reference->supports(n.op) == 1 ? 1 : 0;
  }

  // What a buffer is for makes no difference: there is one kind of memory.
  static llmh_status* buffer_alloc(llmh_instance*, const llmh_buffer_args* args, llmh_buffer** out) noexcept {
    return guard([&] {
      auto buffer = std::make_unique<Buffer>(Buffer{allocate(args->bytes), args->bytes});
      *out = reinterpret_cast<llmh_buffer*>(buffer.release());
    });
  }
  static void buffer_free(llmh_instance*, llmh_buffer* buffer) noexcept { delete self(buffer); }
  static void* buffer_map(llmh_instance*, llmh_buffer* buffer) noexcept { return self(buffer)->memory.get(); }

  // Throws unless the bytes [offset, offset + bytes) lie in the buffer.
  static void check_range(const Buffer& buffer, uint64_t offset, uint64_t bytes) {
    if (offset > buffer.bytes || bytes > buffer.bytes - offset)
      throw Error(LLMH_OUT_OF_RANGE, "bytes [" + std::to_string(offset) + ", +" + std::to_string(bytes) +
                                         ") are outside a buffer of " + std::to_string(buffer.bytes));
  }
  // Host and device share their memory: both copies are done on return.
  static llmh_status* buffer_write(llmh_instance*, llmh_buffer* buffer, uint64_t offset, const void* data,
                                   uint64_t bytes) noexcept {
    return guard([&] {
      check_range(*self(buffer), offset, bytes);
      if (bytes > 0) std::memcpy(self(buffer)->memory.get() + offset, data, bytes);
    });
  }
  static llmh_status* buffer_read(llmh_instance*, llmh_buffer* buffer, uint64_t offset, void* data,
                                  uint64_t bytes) noexcept {
    return guard([&] {
      check_range(*self(buffer), offset, bytes);
      if (bytes > 0) std::memcpy(data, self(buffer)->memory.get() + offset, bytes);
    });
  }

  // A weight is used where it lies when it stays there and its elements are aligned.
  static bool in_place(const llmh_weight_source& source) {
    return source.data_outlives != 0 && reinterpret_cast<uintptr_t>(source.data) % sizeof(double) == 0;
  }
  static llmh_status* weight_bytes(llmh_instance*, const llmh_weight_source* source, uint64_t* out) noexcept {
    *out = in_place(*source) ? 0 : source->bytes;
    return nullptr;
  }
  // In the checkpoint's own layout and type, which is what the evaluator reads.
  static llmh_status* prepare_weight(llmh_instance*, const llmh_weight_source* source, llmh_weight** out) noexcept {
    return guard([&] {
      auto weight = std::make_unique<Weight>();
      weight->data = source->data;
      if (!in_place(*source)) {
        weight->copy = allocate(source->bytes);
        if (source->bytes > 0) std::memcpy(weight->copy.get(), source->data, source->bytes);
        weight->data = weight->copy.get();
      }
      *out = reinterpret_cast<llmh_weight*>(weight.release());
    });
  }
  static void release_weight(llmh_instance*, llmh_weight* weight) noexcept { delete reinterpret_cast<Weight*>(weight); }

  // The evaluator stores f32 whatever type is asked for.
  static llmh_status* state_page_bytes(llmh_instance* instance, const llmh_state_spec* spec, llmh_dtype,
                                       int32_t page_tokens, uint64_t* out) noexcept {
    *out = self(instance)->reference->state_page_bytes(spec, page_tokens);
    return nullptr;
  }
  // An op that needs scratch keeps it itself.
  static llmh_status* scratch_bytes(llmh_instance*, const llmh_graph*, const llmh_limits*, uint64_t* out) noexcept {
    *out = 0;
    return nullptr;
  }

  // Where each tensor lies in every step; null for step inputs, which differ.
  static void* place_of(const llmh_compile_args& args, uint32_t tensor) {
    const llmh_tensor_info& info = *args.graph->tensors[tensor];
    if (info.role == LLMH_TENSOR_CONSTANT) return const_cast<void*>(info.data);
    if (args.weights[tensor] != nullptr)
      return const_cast<void*>(reinterpret_cast<Weight*>(args.weights[tensor])->data);
    if (args.arena_offsets[tensor] != UINT64_MAX) return at(args.arena, args.arena_offsets[tensor]);
    if (info.role == LLMH_TENSOR_INPUT && info.input_kind >= LLMH_INPUT_TOKEN_IDS &&
        info.input_kind <= LLMH_INPUT_LABELS)
      return nullptr;
    if (info.role == LLMH_TENSOR_PARAMETER && args.parameters != nullptr) return at(args.parameters[tensor], 0);
    throw Error(LLMH_INTERNAL, "tensor '" + std::string(view(info.name)) + "' has no place");
  }

  // Everything that stays from step to step is looked up once, here.
  static llmh_status* compile(llmh_instance* instance, const llmh_compile_args* args, llmh_program** out) noexcept {
    return guard([&] {
      auto program = std::make_unique<Program>();
      program->instance = self(instance);
      program->graph = args->graph;
      for (uint32_t i = 0; i < args->graph->n_nodes; ++i)
        program->ops.push_back(Get().find(*args->graph, *args->graph->nodes[i]));
      for (uint32_t i = 0; i < args->graph->n_tensors; ++i) program->tensors.push_back(place_of(*args, i));
      for (uint32_t i = 0; i < args->n_states; ++i) {
        program->states.push_back(copy_struct(*args->states[i]));
        program->state_data.push_back(at(args->states[i]->range, 0));
      }
      // Only now: while `states` grew, its elements moved.
      for (const llmh_state_view& state : program->states) program->state_views.push_back(&state);
      *out = reinterpret_cast<llmh_program*>(program.release());
    });
  }
  static void release_program(llmh_instance*, llmh_program* program) noexcept {
    delete reinterpret_cast<Program*>(program);
  }

  // place_of() has refused every other kind of step input.
  static void bind_inputs(Program& program, const llmh_step& step) {
    for (uint32_t i = 0; i < program.graph->n_tensors; ++i) {
      const llmh_tensor_info& info = *program.graph->tensors[i];
      if (info.role != LLMH_TENSOR_INPUT) continue;
      const int32_t* data = info.input_kind == LLMH_INPUT_TOKEN_IDS     ? step.token_ids
                            : info.input_kind == LLMH_INPUT_POSITIONS   ? step.positions
                            : info.input_kind == LLMH_INPUT_OUTPUT_ROWS ? step.output_rows
                            : info.input_kind == LLMH_INPUT_LABELS      ? step.labels
                                                                        : step.rope_lengths;
      program.tensors[i] = const_cast<int32_t*>(data);
    }
  }

  static const void* get_extension(llmh_str id) noexcept {
    return view(id) == LLMH_ADAPTERS_EXTENSION ? Get().adapters() : nullptr;
  }

  // One node after the other, in the graph's order. Cancellation is looked at between nodes.
  static int32_t run(llmh_program* handle, const llmh_step* step, llmh_call* call) noexcept {
    auto& program = *reinterpret_cast<Program*>(handle);
    const Instance& instance = *program.instance;
    if (step->n_adapter_segments > 0 && Get().adapters() == nullptr)
      return fail(call, LLMH_UNIMPLEMENTED, "this backend has no " LLMH_ADAPTERS_EXTENSION);
    bind_inputs(program, *step);
    for (uint32_t i = 0; i < program.graph->n_nodes; ++i) {
      if (is_cancelled(call)) return fail(call, LLMH_CANCELLED, "cancelled");
      int32_t code = LLMH_OK;
      if (program.ops[i] != nullptr)
        code = guard_code(call, [&] {
          program.ops[i]->run(
              OpCall(*program.graph, *program.graph->nodes[i], program.tensors.data(), *step, instance.pool));
        });
      else
        code = instance.reference->eval(program.graph, i, program.tensors.data(), step, program.state_views.data(),
                                        static_cast<uint32_t>(program.state_views.size()), program.state_data.data(),
                                        call);
      if (code != LLMH_OK) return code;
    }
    return LLMH_OK;
  }
};

}  // namespace llmh

// Defines the plugin of the SimpleBackend that `backend`, a function without arguments, returns. At file scope.
#define LLMH_DEFINE_SIMPLE_BACKEND(backend) \
  LLMH_DEFINE_PLUGIN(LLMH_KIND_BACKEND, LLMH_BACKEND_INTERFACE, ::llmh::SimpleBackendTable<backend>::get())
