#include "backend_fixture.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "graph/types.h"
#include "plugin/host_table.h"
#include "plugin/status.h"

namespace llmhost::test {

const llmh_backend& cpu_backend() {
  static const llmh_backend* table = [] {
    void* library = dlopen(LLMHOST_CPU_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw_error(ErrorCode::kUnavailable, "{}", dlerror());
    const auto* entry = static_cast<const llmh_plugin*>(dlsym(library, LLMH_PLUGIN_SYMBOL));
    static plugin::HostTable host("cpu", 0);
    plugin::check(entry->init(&host));
    return static_cast<const llmh_backend*>(entry->get_extension(LLMH_STR(LLMH_BACKEND_INTERFACE)));
  }();
  return *table;
}

std::vector<std::string> usable_isas() {
  std::vector<std::string> result;
  for (const char* name : {"avx3_dl", "avx3", "avx2", "sse4", "emu128", "scalar"}) {
    try {
      const Instance probe(cpu_backend(), name);
      result.emplace_back(name);
    } catch (const Error&) {
    }
  }
  return result;
}

Instance::Instance(const llmh_backend& table, std::string_view isa, int32_t n_threads, uint32_t precision)
    : backend(table) {
  if (n_threads > 0) pool_ = std::make_unique<ThreadPool>(n_threads);
  const llmh_option option = {LLMH_STR("isa"), graph::to_str(isa)};
  llmh_open_args args{};
  args.struct_size = sizeof args;
  args.options = &option;
  args.n_options = isa.empty() ? 0 : 1;
  args.precision = precision;
  args.thread_pool = pool_ == nullptr ? nullptr : pool_->api();
  plugin::check(backend.open(&args, &handle));
}

Instance::~Instance() {
  if (handle != nullptr) backend.close(handle);
}

StepArrays::StepArrays(const std::vector<Piece>& pieces, std::vector<int32_t> ids)
    : token_ids(std::move(ids)) {
  sequence_begin.push_back(0);
  int32_t n_state = 0;
  for (size_t s = 0; s < pieces.size(); ++s) {
    const Piece& piece = pieces[s];
    for (int32_t i = 0; i < piece.count; ++i) {
      positions.push_back(piece.begin + i);
      rope_lengths.push_back(std::max(piece.prompt, piece.begin + i + 1));
      token_sequence.push_back(static_cast<int32_t>(s));
    }
    output_rows.push_back(static_cast<int32_t>(positions.size()) - 1);
    sequence_begin.push_back(static_cast<int32_t>(positions.size()));
    state_lengths.push_back(piece.begin + piece.count);
    n_state += state_lengths.back();
    for (int32_t i = 0; i < kPagesPerSequence; ++i)
      page_table.push_back((piece.sequence + 1) * kPagesPerSequence - 1 - i);
  }
  token_ids.resize(positions.size());
  step.struct_size = sizeof step;
  step.n_tokens = static_cast<int32_t>(positions.size());
  step.n_sequences = static_cast<int32_t>(pieces.size());
  step.n_outputs = step.n_sequences;
  step.page_table_stride = kPagesPerSequence;
  step.n_state = n_state;
  step.token_ids = token_ids.data();
  step.positions = positions.data();
  step.rope_lengths = rope_lengths.data();
  step.token_sequence = token_sequence.data();
  step.output_rows = output_rows.data();
  step.sequence_begin = sequence_begin.data();
  step.state_lengths = state_lengths.data();
  step.page_table = page_table.data();
}

void StepArrays::set_labels(std::vector<int32_t> values) {
  labels = std::move(values);
  output_rows.resize(labels.size());
  for (size_t i = 0; i < labels.size(); ++i) output_rows[i] = static_cast<int32_t>(i);
  step.n_outputs = static_cast<int32_t>(labels.size());
  step.output_rows = output_rows.data();
  step.labels = labels.data();
}

Model::Model(Instance& instance, const graph::Graph& graph, const Weights& weights,
             std::vector<StateShape> states)
    : instance_(instance), graph_(graph) {
  limits_ = {sizeof(llmh_limits), kMaxTokens, kMaxSequences, kMaxOutputs, 512, kMaxAdapterRank, 0};
  weights_.resize(graph.tensor_count(), nullptr);
  for (const auto& [tensor, data] : weights) {
    const llmh_tensor_info& info = graph.tensor(tensor);
    llmh_weight_source source{};
    source.struct_size = sizeof source;
    source.dtype = info.dtype;
    source.rank = info.rank;
    for (int32_t i = 0; i < info.rank; ++i) source.shape[i] = info.dims[i].size;
    source.name = info.name;
    source.data = data.data();
    source.bytes = data.size();
    source.data_outlives = 1;
    plugin::check(
        instance.backend.prepare_weight(instance.handle, &source, &weights_[static_cast<size_t>(tensor)]));
  }
  place_tensors();
  compile(std::move(states));
}

Model::~Model() {
  const llmh_backend& backend = instance_.backend;
  if (program_ != nullptr) backend.release_program(instance_.handle, program_);
  for (llmh_weight* weight : weights_)
    if (weight != nullptr) backend.release_weight(instance_.handle, weight);
  for (llmh_buffer* buffer : buffers_) backend.buffer_free(instance_.handle, buffer);
}

llmh_buffer* Model::allocate(uint64_t bytes, uint32_t uses) {
  const llmh_buffer_args args{sizeof(llmh_buffer_args), uses, bytes};
  llmh_buffer* buffer = nullptr;
  plugin::check(instance_.backend.buffer_alloc(instance_.handle, &args, &buffer));
  buffers_.push_back(buffer);
  return buffer;
}

// Every activation gets a place of its own, so that all of them can be read after a run.
void Model::place_tensors() {
  const graph::SymbolValues most{kMaxTokens, kMaxSequences, kMaxOutputs, kMaxTokens + 512};
  offsets_.resize(graph_.tensor_count(), UINT64_MAX);
  for (uint32_t i = 0; i < graph_.tensor_count(); ++i) {
    const llmh_tensor_info& info = graph_.tensor(static_cast<llmh_tensor>(i));
    if (info.role != LLMH_TENSOR_ACTIVATION) continue;
    offsets_[i] = arena_.bytes;
    arena_.bytes += (graph::byte_count(info.dtype, graph::dims_of(info), most) + 63) / 64 * 64;
  }
  arena_.buffer = allocate(arena_.bytes, LLMH_BUFFER_ARENA);
  parameters_.resize(graph_.tensor_count());
  for (uint32_t i = 0; i < graph_.tensor_count(); ++i) {
    const llmh_tensor_info& info = graph_.tensor(static_cast<llmh_tensor>(i));
    if (info.role != LLMH_TENSOR_PARAMETER) continue;
    const uint64_t bytes = graph::byte_count(info.dtype, graph::dims_of(info), most);
    parameters_[i] = {allocate(bytes, LLMH_BUFFER_WEIGHTS), 0, bytes};
  }
}

llmh_range Model::place_of(llmh_tensor tensor) const {
  const auto i = static_cast<size_t>(tensor);
  if (graph_.tensor(tensor).role == LLMH_TENSOR_PARAMETER) return parameters_[i];
  return {arena_.buffer, offsets_[i], 0};
}

void Model::compile(std::vector<StateShape> states) {
  const llmh_backend& backend = instance_.backend;
  const llmh_graph& view = graph_.view();
  for (uint32_t i = 0; i < view.n_nodes; ++i)
    if (&backend == &cpu_backend()) REQUIRE(backend.supports(instance_.handle, &view, i) == 1);
  std::vector<llmh_state_view> views;
  for (const StateShape& shape : states) {
    llmh_state_spec spec{sizeof(llmh_state_spec), LLMH_STATE_PAGED_KV, shape.slot, shape.n_kv_heads,
                         shape.k_head_dim,        shape.v_head_dim,    0};
    llmh_state_view state{sizeof(llmh_state_view), shape.slot, shape.page_tokens, shape.dtype, 0, {}};
    plugin::check(
        backend.state_page_bytes(instance_.handle, &spec, shape.dtype, shape.page_tokens, &state.page_bytes));
    state.range.bytes = state.page_bytes * kPagesPerSequence * kMaxSequences;
    state.range.buffer = allocate(state.range.bytes, LLMH_BUFFER_STATE);
    // What was in a page before must not matter, not even NaN.
    std::memset(backend.buffer_map(instance_.handle, state.range.buffer), 0xFF, state.range.bytes);
    views.push_back(state);
  }
  llmh_compile_args args{};
  args.struct_size = sizeof args;
  args.n_states = static_cast<uint32_t>(views.size());
  args.graph = &view;
  args.limits = &limits_;
  args.weights = weights_.data();
  args.arena_offsets = offsets_.data();
  args.arena = arena_;
  args.parameters = parameters_.data();
  plugin::check(backend.scratch_bytes(instance_.handle, &view, &limits_, &args.scratch.bytes));
  args.scratch.buffer = allocate(args.scratch.bytes, LLMH_BUFFER_SCRATCH);
  std::vector<const llmh_state_view*> pointers;
  for (const llmh_state_view& state : views) pointers.push_back(&state);
  args.states = pointers.data();
  plugin::check(backend.compile(instance_.handle, &args, &program_));
}

void Model::write(llmh_tensor tensor, const void* data, size_t bytes) {
  const llmh_range place = place_of(tensor);
  plugin::check(instance_.backend.buffer_write(instance_.handle, place.buffer, place.offset, data, bytes));
}

int32_t Model::try_run(const StepArrays& arrays, std::string* message) {
  char text[256];
  llmh_call call{sizeof(llmh_call), sizeof text, 0, 0, text, nullptr};
  const int32_t code = instance_.backend.run(program_, &arrays.step, &call);
  if (message != nullptr) message->assign(text, call.message_len);
  return code;
}

void Model::run(const StepArrays& arrays) {
  std::string message;
  const int32_t code = try_run(arrays, &message);
  CAPTURE(message);
  REQUIRE(code == LLMH_OK);
}

std::vector<float> Model::read(llmh_tensor tensor, const StepArrays& arrays) {
  const llmh_tensor_info& info = graph_.tensor(tensor);
  const auto values = graph::values_of(arrays.step);
  std::vector<float> result(static_cast<size_t>(graph::element_count(graph::dims_of(info), values)));
  const llmh_range place = place_of(tensor);
  plugin::check(instance_.backend.buffer_read(instance_.handle, place.buffer, place.offset, result.data(),
                                              result.size() * sizeof(float)));
  return result;
}

std::vector<float> random_floats(size_t n, uint32_t seed, float low, float high) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> result(n);
  for (float& value : result) value = distribution(engine);
  return result;
}

std::vector<std::byte> bytes_of(const std::vector<float>& values) {
  std::vector<std::byte> result(values.size() * sizeof(float));
  if (!values.empty()) std::memcpy(result.data(), values.data(), result.size());
  return result;
}

namespace {

// Byte offsets of a block's f16 fields; they get small finite values, all other bits are random.
std::vector<size_t> half_fields(llmh_dtype dtype) {
  switch (dtype) {
    case LLMH_DTYPE_Q4_1:
    case LLMH_DTYPE_Q5_1:
    case LLMH_DTYPE_Q4_K:
    case LLMH_DTYPE_Q5_K:
      return {0, 2};
    case LLMH_DTYPE_Q2_K:
      return {80, 82};
    case LLMH_DTYPE_Q3_K:
      return {108};
    case LLMH_DTYPE_Q6_K:
      return {208};
    case LLMH_DTYPE_TQ1_0:
      return {52};
    case LLMH_DTYPE_TQ2_0:
      return {64};
    case LLMH_DTYPE_IQ1_M:
    case LLMH_DTYPE_MXFP4:
    case LLMH_DTYPE_NVFP4:
    case LLMH_DTYPE_NF4:
    case LLMH_DTYPE_FP4:
    case LLMH_DTYPE_E4M3_32:
    case LLMH_DTYPE_I8_32:
      return {};
    default:
      return {0};
  }
}

bool has_f32_scale(llmh_dtype dtype) {
  return dtype >= LLMH_DTYPE_NF4 && dtype <= LLMH_DTYPE_I8_32;
}

// Scales that are no f16 field: some small ones; no NaN among 8-bit floats.
void tame_scales(llmh_dtype dtype, std::byte* block) {
  if (has_f32_scale(dtype)) block[3] = (block[3] & std::byte{0x80}) | std::byte{0x3C};
  if (dtype == LLMH_DTYPE_E4M3_32)
    for (int i = 4; i < 36; ++i) block[i] &= std::byte{0xF7};
  if (dtype == LLMH_DTYPE_MXFP4) block[0] = (block[0] & std::byte{7}) | std::byte{120};
  if (dtype == LLMH_DTYPE_IQ1_M) {  // exponent 2^-7 in the top nibble of the last but one word and below
    block[55] = (block[55] & std::byte{0x8F}) | std::byte{0x20};
    block[53] = block[53] & std::byte{0x3F};
  }
}

}  // namespace

std::vector<std::byte> random_blocks(llmh_dtype dtype, int64_t rows, int64_t width, uint32_t seed) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  const auto elements = static_cast<size_t>(rows * width);
  if (dtype == LLMH_DTYPE_F32) return bytes_of(random_floats(elements, seed));
  std::vector<std::byte> data(elements / layout.block_elements * layout.block_bytes);
  std::mt19937 engine(seed);
  for (std::byte& byte : data) byte = static_cast<std::byte>(engine() & 0xFF);
  if (dtype == LLMH_DTYPE_F64) {
    std::vector<double> values(elements);
    for (double& value : values) value = std::uniform_real_distribution<double>(-1, 1)(engine);
    std::memcpy(data.data(), values.data(), data.size());
    return data;
  }
  for (size_t block = 0; block < data.size(); block += layout.block_bytes) {
    if (layout.block_elements == 1) {  // f16, bf16: an exponent below that of 1
      const auto mask = dtype == LLMH_DTYPE_F16 ? std::byte{0xBB} : std::byte{0xBF};
      data[block + 1] &= mask;
      continue;
    }
    // Exponent 2^-8 to 2^-4, any sign and mantissa.
    tame_scales(dtype, data.data() + block);
    for (const size_t field : half_fields(dtype))
      data[block + field + 1] = static_cast<std::byte>((engine() & 0x83U) | ((7U + engine() % 5U) << 2));
  }
  return data;
}

}  // namespace llmhost::test
