// What an op is to this backend: a predicate, its need of scratch, and a function that runs one node of it.
//
// compile() makes one Call a node, with everything resolved that does not change from step to step; run()
// only fills in the symbolic dimensions. run functions [engine]: no allocation; they may throw llmh::Error
// before they start workers.
#pragma once

#include <cstdint>
#include <cstring>
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
  uint8_t* data = nullptr;  // never written for weights and constants
};

struct StateSlot {
  int32_t slot = 0;
  int32_t page_tokens = 0;
  llmh_dtype dtype = LLMH_DTYPE_INVALID;
  int64_t page_bytes = 0;
  int64_t n_pages = 0;
  uint8_t* data = nullptr;
};

// Pages hold values first, [page_tokens][width], and end with keys, [width][page_tokens rounded up to 16]: a
// row of keys is one element of many positions, so that scores need no horizontal sums. Either part is found
// from its own width alone.
int64_t state_key_stride(int32_t page_tokens);
uint64_t state_page_size(int64_t key_width, int64_t value_width, llmh_dtype dtype, int32_t page_tokens);
int64_t state_key_offset(const StateSlot& slot, int64_t key_width);

struct OpEntry;

struct Call {
  const OpEntry* entry = nullptr;
  const llmh_node* node = nullptr;
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  const StateSlot* state = nullptr;
  std::vector<float> prepared;  // the op's own, filled by prepare
};

class RunContext {
 public:
  RunContext(const llmh_instance& owner, const llmh_step& current, uint8_t* scratch, uint64_t per_thread)
      : kernels(owner.kernels), step(current), instance_(owner), scratch_(scratch), per_thread_(per_thread) {}

  const Kernels& kernels;
  const llmh_step& step;

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
    return reinterpret_cast<float*>(scratch_ + static_cast<uint64_t>(thread) * per_thread_);
  }
  uint8_t* shared_scratch() const { return scratch_ + static_cast<uint64_t>(n_threads()) * per_thread_; }

  // body(item, thread) for each item, on the host's threads.
  template <typename Body>
  void parallel(int64_t n_items, const Body& body) const {
    if (instance_.pool == nullptr || n_items < 2 || n_threads() < 2) {
      for (int64_t i = 0; i < n_items; ++i) body(i, 0);
      return;
    }
    instance_.pool->parallel_for(
        instance_.pool, n_items,
        [](void* context, int64_t item, int32_t thread) {
          (*static_cast<const Body*>(context))(item, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
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
  const llmh_instance& instance_;
  uint8_t* scratch_;
  uint64_t per_thread_;
};

// Elements of work below which another thread is not worth waking.
constexpr int64_t kGrain = 16384;

// --- The table
// ---------------------------------------------------------------------------------------------------

struct OpEntry {
  llmh_op op;
  bool (*supports)(const NodeView& view);
  void (*run)(const RunContext& context, const Call& call);
  ScratchNeed (*scratch)(const NodeView& view, const llmh_limits& limits) = nullptr;
  void (*prepare)(Call& call) = nullptr;
};

// Null for an op that this backend does not know.
const OpEntry* find_op(llmh_op op);

// Predicates that several ops share.
bool all_f32(const NodeView& view);                 // every present input and every output
bool is_decodable(const llmh_tensor_info& tensor);  // a type with a decoder, whole blocks a row
int64_t constant_size(const llmh_dim& dim);         // -1 for a symbolic dimension
int64_t largest_size(const llmh_dim& dim, const llmh_limits& limits);

// One list an ops/*.cpp; gathered by find_op.
struct OpList {
  const OpEntry* entries;
  size_t count;
};
OpList linear_ops();
OpList expert_ops();
OpList norm_ops();
OpList elementwise_ops();
OpList attention_ops();
OpList state_ops();
OpList rope_ops();
OpList shape_ops();
OpList table_ops();
OpList select_ops();

}  // namespace llmhost::cpu
