#include "backend_bench.h"

#include <dlfcn.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string_view>

#include "core/error.h"
#include "graph/lifetimes.h"
#include "graph/types.h"
#include "plugin/host_table.h"
#include "plugin/status.h"

namespace llmhost::bench {
namespace {

bool uses_cpu_clock = false;

const llmh_backend& cpu_backend() {
  static plugin::HostTable host("cpu", 0);
  void* library = dlopen(LLMHOST_CPU_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw_error(ErrorCode::kUnavailable, "{}", dlerror());
  const auto* entry = static_cast<const llmh_plugin*>(dlsym(library, LLMH_PLUGIN_SYMBOL));
  plugin::check(entry->init(&host));
  return *static_cast<const llmh_backend*>(entry->get_extension(LLMH_STR(LLMH_BACKEND_INTERFACE)));
}

// Bytes whose 16-bit words are small finite halves, which is what scales have to be.
std::unique_ptr<std::byte[]> random_bytes(size_t n) {
  auto data = std::make_unique<std::byte[]>(n);
  std::minstd_rand engine(1);
  for (size_t i = 0; i < n; ++i) data[i] = static_cast<std::byte>(engine() & (i % 2 == 0 ? 0xFFU : 0x23U));
  return data;
}

// LLMH_USE_* of each tensor, which decides how a weight is laid out.
std::vector<uint32_t> uses_of(const graph::Graph& graph) {
  std::vector<uint32_t> uses(graph.tensor_count(), 0);
  for (uint32_t n = 0; n < graph.node_count(); ++n) {
    const llmh_node& node = graph.node(n);
    const bool is_product =
        node.op == LLMH_OP_LINEAR || node.op == LLMH_OP_LORA_LINEAR || node.op == LLMH_OP_MATMUL;
    const bool is_lookup = node.op == LLMH_OP_EMBEDDING || node.op == LLMH_OP_GATHER;
    for (uint32_t i = 0; i < node.n_inputs; ++i)
      if (node.inputs[i] != LLMH_NO_TENSOR)
        uses[static_cast<size_t>(node.inputs[i])] |= is_product && i == 1  ? LLMH_USE_LINEAR
                                                     : is_lookup && i == 0 ? LLMH_USE_TABLE
                                                                           : LLMH_USE_VECTOR;
  }
  return uses;
}

}  // namespace

double now_seconds() {
  if (uses_cpu_clock) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view key = argv[i];
    if (key == "--clock") uses_cpu_clock = std::string_view(argv[i + 1]) == "cpu";
    if (key == "--precision" && std::string_view(argv[i + 1]) == "native")
      options.precision = LLMH_PRECISION_NATIVE;
    if (key == "--isa") options.isa = argv[i + 1];
    if (key == "--threads") options.threads = std::atoi(argv[i + 1]);
    if (key == "--seconds") options.seconds = std::atof(argv[i + 1]);
  }
  return options;
}

Model::Model(const Options& options, const graph::Graph& graph, const llmh_limits& limits,
             const StateShape& state)
    : backend_(&cpu_backend()), pool_(options.threads) {
  const llmh_option isa = {LLMH_STR("isa"), graph::to_str(options.isa)};
  llmh_open_args args{};
  args.struct_size = sizeof args;
  args.options = &isa;
  args.n_options = 1;
  args.precision = options.precision;
  args.thread_pool = pool_.api();
  plugin::check(backend_->open(&args, &instance_));
  load_weights(graph);
  compile(graph, limits, state);
}

Model::~Model() {
  if (program_ != nullptr) backend_->release_program(instance_, program_);
  for (llmh_weight* weight : weights_)
    if (weight != nullptr) backend_->release_weight(instance_, weight);
  for (llmh_buffer* buffer : buffers_) backend_->buffer_free(instance_, buffer);
  backend_->close(instance_);
}

void Model::load_weights(const graph::Graph& graph) {
  weights_.resize(graph.tensor_count(), nullptr);
  const auto uses = uses_of(graph);
  for (uint32_t i = 0; i < graph.tensor_count(); ++i) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(i));
    if (info.role != LLMH_TENSOR_WEIGHT) continue;
    llmh_weight_source source{};
    source.struct_size = sizeof source;
    source.dtype = info.dtype;
    source.rank = info.rank;
    for (int32_t d = 0; d < info.rank; ++d) source.shape[d] = info.dims[d].size;
    source.name = info.name;
    source.uses = uses[i];
    source.bytes = graph::byte_count(info.dtype, graph::dims_of(info), {});
    memory_.push_back(random_bytes(source.bytes));
    source.data = memory_.back().get();
    source.data_outlives = 1;
    weight_bytes_ += source.bytes;
    plugin::check(backend_->prepare_weight(instance_, &source, &weights_[i]));
  }
}

void Model::compile(const graph::Graph& graph, const llmh_limits& limits, const StateShape& state) {
  const graph::ArenaPlan plan = graph::plan_arena(graph, limits);
  const auto allocate = [&](uint64_t bytes, uint32_t uses) {
    const llmh_buffer_args args{sizeof(llmh_buffer_args), uses, bytes};
    llmh_buffer* buffer = nullptr;
    plugin::check(backend_->buffer_alloc(instance_, &args, &buffer));
    buffers_.push_back(buffer);
    return llmh_range{buffer, 0, bytes};
  };
  std::vector<llmh_state_view> states;
  for (int32_t slot = 0; slot < state.slots; ++slot) {
    const llmh_state_spec spec{sizeof(llmh_state_spec), LLMH_STATE_PAGED_KV, slot, state.n_kv_heads,
                               state.head_dim,          state.head_dim,      0};
    llmh_state_view view{sizeof(llmh_state_view), slot, kPageTokens, LLMH_DTYPE_F16, 0, {}};
    plugin::check(backend_->state_page_bytes(instance_, &spec, view.dtype, kPageTokens, &view.page_bytes));
    const auto pages = static_cast<uint64_t>(limits.max_state / kPageTokens + 1);
    view.range =
        allocate(view.page_bytes * pages * static_cast<uint64_t>(limits.max_sequences), LLMH_BUFFER_STATE);
    states.push_back(view);
  }
  llmh_compile_args args{};
  args.struct_size = sizeof args;
  args.n_states = static_cast<uint32_t>(states.size());
  args.graph = &graph.view();
  args.limits = &limits;
  args.weights = weights_.data();
  args.arena_offsets = plan.offsets.data();
  args.arena = allocate(plan.bytes, LLMH_BUFFER_ARENA);
  uint64_t scratch = 0;
  plugin::check(backend_->scratch_bytes(instance_, &graph.view(), &limits, &scratch));
  args.scratch = allocate(scratch, LLMH_BUFFER_SCRATCH);
  std::vector<const llmh_state_view*> views;
  for (const llmh_state_view& view : states) views.push_back(&view);
  args.states = views.data();
  plugin::check(backend_->compile(instance_, &args, &program_));
}

void Model::run(int32_t begin, int32_t n_tokens) {
  std::vector<int32_t> ids(static_cast<size_t>(n_tokens), 1);
  std::vector<int32_t> positions(ids.size());
  std::vector<int32_t> lengths(ids.size(), begin + n_tokens);
  const std::vector<int32_t> sequence(ids.size(), 0);
  for (int32_t i = 0; i < n_tokens; ++i) positions[static_cast<size_t>(i)] = begin + i;
  std::vector<int32_t> pages(static_cast<size_t>((begin + n_tokens) / kPageTokens + 1));
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
  const int32_t sequence_begin[2] = {0, n_tokens};
  const int32_t last = n_tokens - 1;
  llmh_step step{};
  step.struct_size = sizeof step;
  step.n_tokens = n_tokens;
  step.n_sequences = 1;
  step.n_outputs = 1;
  step.page_table_stride = static_cast<int32_t>(pages.size());
  step.n_state = begin + n_tokens;
  const int32_t state_length = begin + n_tokens;
  step.token_ids = ids.data();
  step.positions = positions.data();
  step.rope_lengths = lengths.data();
  step.token_sequence = sequence.data();
  step.output_rows = &last;
  step.sequence_begin = sequence_begin;
  step.state_lengths = &state_length;
  step.page_table = pages.data();
  run(step);
}

void Model::run(const llmh_step& step) {
  plugin::Call call;
  call.check(backend_->run(program_, &step, call.get()), "cpu", "benchmark");
}

}  // namespace llmhost::bench
