// Runs a graph on a backend through its plugin table, as the engine does: weights, state, arena, compile,
// run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "graph/graph.h"
#include "llmhost/backend.h"

namespace llmhost::test {

// The table of the built cpu.so; loaded once.
const llmh_backend& cpu_backend();
// Names that option isa takes on this machine, "auto" left out.
std::vector<std::string> usable_isas();

class Instance {
 public:
  // An empty isa gives no option; n_threads 0 gives no pool.
  explicit Instance(const llmh_backend& backend, std::string_view isa = {}, int32_t n_threads = 0,
                    uint32_t precision = LLMH_PRECISION_F32);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const llmh_backend& backend;
  llmh_instance* handle = nullptr;

 private:
  std::unique_ptr<ThreadPool> pool_;
};

// The tokens of one sequence in a step.
struct Piece {
  int32_t begin = 0;  // position of the first
  int32_t count = 0;
  int32_t sequence = 0;  // index over the whole test: which pages it owns
  int32_t prompt = 0;    // prompt length, for rope lengths
};

struct StateShape {
  int32_t slot = 0;
  int32_t n_kv_heads = 1;
  int32_t k_head_dim = 8;
  int32_t v_head_dim = 8;
  int32_t page_tokens = 32;
  llmh_dtype dtype = LLMH_DTYPE_F32;
};

constexpr int32_t kPagesPerSequence = 16;
constexpr int32_t kMaxSequences = 4;
constexpr int32_t kMaxTokens = 600;
constexpr int32_t kMaxOutputs = kMaxTokens;
constexpr int32_t kMaxAdapterRank = 64;

// Step arrays for some pieces; sequence s of the test owns pages s * kPagesPerSequence and on, in descending
// order.
struct StepArrays {
  explicit StepArrays(const std::vector<Piece>& pieces, std::vector<int32_t> ids = {});
  llmh_step step{};
  std::vector<int32_t> token_ids, positions, rope_lengths, token_sequence, output_rows, sequence_begin,
      state_lengths, page_table;
  // Every token has an output, and these are its labels.
  void set_labels(std::vector<int32_t> values);
  std::vector<int32_t> labels;
};

// A graph compiled on one instance. Graph and weights must outlive it: weights are used in place.
class Model {
 public:
  using Weights = std::map<llmh_tensor, std::vector<std::byte>>;
  Model(Instance& instance, const graph::Graph& graph, const Weights& weights,
        std::vector<StateShape> states = {});
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Placeholders and parameters are given here before a run.
  void write(llmh_tensor tensor, const void* data, size_t bytes);
  int32_t try_run(const StepArrays& arrays, std::string* message = nullptr);
  void run(const StepArrays& arrays);  // requires LLMH_OK
  std::vector<float> read(llmh_tensor tensor, const StepArrays& arrays);
  llmh_program* program() { return program_; }

 private:
  llmh_buffer* allocate(uint64_t bytes, uint32_t uses);  // given back at the end
  void place_tensors();
  llmh_range place_of(llmh_tensor tensor) const;
  void compile(std::vector<StateShape> states);

  Instance& instance_;
  const graph::Graph& graph_;
  llmh_limits limits_{};
  std::vector<llmh_weight*> weights_;
  std::vector<uint64_t> offsets_;
  std::vector<llmh_buffer*> buffers_;
  llmh_range arena_{};
  std::vector<llmh_range> parameters_;
  llmh_program* program_ = nullptr;
};

std::vector<float> random_floats(size_t n, uint32_t seed, float low = -1.0F, float high = 1.0F);
std::vector<std::byte> bytes_of(const std::vector<float>& values);
std::vector<std::byte> random_blocks(llmh_dtype dtype, int64_t rows, int64_t width, uint32_t seed);

}  // namespace llmhost::test
