// What an op is to this backend: a predicate, its need of scratch, and a function that runs one node of it.
//
// compile() makes one Call a node, with everything resolved that does not change from step to step; run()
// only fills in the symbolic dimensions. run functions [engine]: no allocation; they may throw llmh::Error
// before they start workers.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "instance.h"
#include "llmhost/backend.h"
#include "llmhost/op.hpp"
#include "llmhost/plugin.hpp"

namespace llmhost::cpu {

// --- Graphs as they are looked at before a step
// ------------------------------------------------------------------

struct NodeView {
  const llmh_graph* graph;
  const llmh_node* node;

  bool has_input(uint32_t i) const { return i < node->n_inputs && node->inputs[i] != LLMH_NO_TENSOR; }
  const llmh_tensor_info& input(uint32_t i) const { return *graph->tensors[node->inputs[i]]; }
  const llmh_tensor_info& output(uint32_t i) const { return *graph->tensors[node->outputs[i]]; }
};

struct ScratchNeed {
  uint64_t per_thread = 0;  // bytes
  uint64_t shared = 0;
};

// --- Tensors of a step
// -------------------------------------------------------------------------------------------

struct Shape {
  int32_t rank = 0;
  int64_t dims[LLMH_MAX_RANK] = {};

  int64_t count() const {
    int64_t n = 1;
    for (int32_t i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  int64_t last() const { return rank == 0 ? 1 : dims[rank - 1]; }
  int64_t rows() const {
    int64_t n = 1;
    for (int32_t i = 0; i + 1 < rank; ++i) n *= dims[i];
    return n;
  }
};

struct Operand {
  bool present = false;
  int32_t input_kind = 0;  // LLMH_INPUT_*: data comes with the step
  llmh_dtype dtype = LLMH_DTYPE_INVALID;
  int32_t rank = 0;
  llmh_dim dims[LLMH_MAX_RANK] = {};
  uint8_t* data = nullptr;              // never written for weights and constants
  const llmh_weight* weight = nullptr;  // null for what is no weight
  // When only the first dimension is symbolic: that symbol, and the bytes between its units; else
  // LLMH_DIM_CONST.
  int32_t row_symbol = LLMH_DIM_CONST;
  int64_t row_bytes = 0;
};

struct StateSlot {
  int32_t slot = 0;
  int32_t page_tokens = 0;
  llmh_dtype dtype = LLMH_DTYPE_INVALID;
  int64_t page_bytes = 0;
  int64_t n_pages = 0;
  uint8_t* data = nullptr;
};

// Bytes of a page, for a dtype of state that is_state_dtype (ops/state.h) holds for.
uint64_t state_page_size(int64_t key_width, int64_t value_width, llmh_dtype dtype, int32_t page_tokens);

struct OpEntry;
class RoundedInput;

// How the kernel of a product reads its input. The blocked ones are those of training (gemm.h).
enum class Form { kF32, kInt8, kBf16, kBlocked, kBlockedBf16 };

constexpr bool is_blocked(Form form) {
  return form == Form::kBlocked || form == Form::kBlockedBf16;
}

// Of a node that adapters may change.
struct Site {
  int32_t number = 0;    // 0: none
  int64_t stride = 0;    // of a product's u: floats a row
  uint64_t scratch = 0;  // where u lies in the shared scratch
};

struct Call {
  const OpEntry* entry = nullptr;
  const llmh_node* node = nullptr;
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  const StateSlot* state = nullptr;
  Form form = Form::kF32;  // of a product
  Site site;
  std::vector<float> prepared;  // the op's own, filled by prepare
};

// Some of the rows of a step, of tensors whose first dimension is the symbol's: an op that is row-wise does
// the same to them in a window as in the whole.
struct Window {
  int32_t symbol = LLMH_DIM_CONST;
  int64_t begin = 0;
  int64_t count = 0;
  int32_t thread = 0;  // that runs the window
};

class RunContext {
 public:
  // `scratch` has per_thread bytes for each thread, then those that are shared.
  RunContext(const llmh_instance& owner, const llmh_step& current, uint8_t* scratch, const ScratchNeed& need)
      : kernels(owner.kernels), step(current), instance_(owner), scratch_(scratch), need_(need) {}

  const Kernels& kernels;
  const llmh_step& step;

  // The same step through a window; work on it stays on its thread.
  RunContext through(const Window& window) const {
    RunContext context = *this;
    context.window_ = window;
    return context;
  }
  const Window& window() const { return window_; }
  int64_t units(int32_t symbol) const;  // of a dimension of size 1, window or not

  int32_t n_threads() const { return instance_.n_threads; }
  Shape shape(const Operand& operand) const;
  uint8_t* data(const Operand& operand) const;
  const float* floats(const Operand& operand) const { return reinterpret_cast<const float*>(data(operand)); }
  float* out(const Operand& operand) const { return reinterpret_cast<float*>(data(operand)); }
  const int32_t* ints(const Operand& operand) const {
    return reinterpret_cast<const int32_t*>(data(operand));
  }
  const float* floats_or_null(const Call& call, size_t i) const {
    return i < call.inputs.size() && call.inputs[i].present ? floats(call.inputs[i]) : nullptr;
  }

  float* thread_scratch(int32_t thread) const {
    return reinterpret_cast<float*>(scratch_ + static_cast<uint64_t>(thread) * need_.per_thread);
  }
  uint8_t* shared_scratch() const { return scratch_ + static_cast<uint64_t>(n_threads()) * need_.per_thread; }
  uint64_t shared_bytes() const { return need_.shared; }

  // body(item, thread) for each item, on the host's threads; in a window on its own.
  template <typename Body>
  void parallel(int64_t n_items, const Body& body) const {
    if (window_.symbol == LLMH_DIM_CONST) return run_parallel(instance_, n_items, body);
    for (int64_t i = 0; i < n_items; ++i) body(i, window_.thread);
  }

  // body(begin, end, thread) over [0, n) in pieces of at least `grain`; for work whose pieces do not matter.
  template <typename Body>
  void parallel_ranges(int64_t n, int64_t grain, const Body& body) const {
    const int64_t most = int64_t{4} * n_threads();
    int64_t pieces = n / (grain < 1 ? 1 : grain);
    pieces = pieces > most ? most : (pieces < 1 ? 1 : pieces);
    const int64_t size = (n + pieces - 1) / pieces;
    parallel(pieces, [&](int64_t piece, int32_t thread) {
      const int64_t begin = piece * size;
      const int64_t end = begin + size < n ? begin + size : n;
      if (begin < end) body(begin, end, thread);
    });
  }

 private:
  int64_t window_offset(const Operand& operand) const {
    const bool is_windowed = window_.symbol != LLMH_DIM_CONST && operand.row_symbol == window_.symbol;
    return is_windowed ? window_.begin * operand.row_bytes : 0;
  }

  const llmh_instance& instance_;
  uint8_t* scratch_;
  ScratchNeed need_;
  Window window_;
};

// Elements of work below which another thread is not worth waking.
constexpr int64_t kGrain = 16384;

// --- The table
// ---------------------------------------------------------------------------------------------------

struct OpEntry {
  llmh_op op;
  bool (*supports)(const NodeView& view);
  void (*run)(const RunContext& context, const Call& call) = nullptr;
  ScratchNeed (*scratch)(const NodeView& view, const llmh_limits& limits) = nullptr;
  void (*prepare)(Call& call) = nullptr;
  // Whether a row of the outputs depends on the same row of the inputs alone.
  bool is_row_wise = false;
  // For ops that multiply their first input with a weight, their second: whether this call does, and how
  // several such calls with the same first (and third, for routed ones) input run as one; `run` is for the
  // other calls.
  bool (*is_product)(const Call& call) = nullptr;
  void (*run_products)(const RunContext& context, std::span<const Call* const> calls,
                       const RoundedInput& rounded) = nullptr;
  // Multiplies with its second input in blocks: the form of the call says how.
  bool multiplies_blocks = false;
};

// Null for an op that this backend does not know.
const OpEntry* find_op(llmh_op op);

// Predicates that several ops share.
bool all_f32(const NodeView& view);                 // every present input and every output
bool is_decodable(const llmh_tensor_info& tensor);  // a type with a decoder, whole blocks a row
int64_t constant_size(const llmh_dim& dim);         // -1 for a symbolic dimension
inline std::span<const llmh_dim> dims_of(const llmh_tensor_info& tensor) {
  return {tensor.dims, static_cast<size_t>(tensor.rank)};
}
int64_t largest_size(const llmh_dim& dim, const llmh_limits& limits);
int64_t largest_rows(std::span<const llmh_dim> dims, const llmh_limits& limits);  // of the last dimension
bool has_parameters(const llmh_graph& graph);                                     // is for training
bool is_always_product(const Call& call);                                         // OpEntry::is_product

// One list an ops/*.cpp; gathered by find_op.
struct OpList {
  const OpEntry* entries;
  size_t count;
};
OpList linear_ops();
OpList product_gradient_ops();
OpList loss_ops();
OpList head_loss_ops();
OpList sum_ops();
OpList expert_gradient_ops();
OpList expert_ops();
OpList norm_ops();
OpList elementwise_ops();
OpList attention_ops();
OpList train_attention_ops();
OpList gradient_ops();
OpList reduce_ops();
OpList state_ops();
OpList rope_ops();
OpList shape_ops();
OpList table_ops();
OpList select_ops();

}  // namespace llmhost::cpu
