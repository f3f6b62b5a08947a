#include "engine/runner.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "engine/pages.h"
#include "plugin/thread_tags.h"

namespace llmhost::engine {
namespace {

constexpr uint64_t kAlign = 256;

uint64_t checked_product(uint64_t a, uint64_t b, const char* what) {
  uint64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result))
    throw_error(ErrorCode::kResourceExhausted, "{}: {} x {} bytes is more than any memory holds", what, a, b);
  return result;
}

uint64_t checked_sum(uint64_t a, uint64_t b, const char* what) {
  uint64_t result = 0;
  if (__builtin_add_overflow(a, b, &result))
    throw_error(ErrorCode::kResourceExhausted, "{}: {} + {} bytes is more than any memory holds", what, a, b);
  return result;
}

void check_at_least(const char* field, int64_t value, int64_t least, const char* least_name) {
  if (value < least) throw_invalid("{}: got {}, expected at least {}{}", field, value, least_name, least);
}

// The shortest context at which a rotary scaling of the graph begins to go by the length.
int64_t length_dependence(const llmh_graph& graph) {
  int64_t from = INT64_MAX;
  for (uint32_t i = 0; i < graph.n_nodes; ++i) {
    const llmh_node& node = *graph.nodes[i];
    if (node.op != LLMH_OP_ROPE_ANGLES || node.attrs == nullptr) continue;
    const auto& attrs = *static_cast<const llmh_rope_angles_attrs*>(node.attrs);
    if (attrs.scaling == LLMH_ROPE_SCALING_DYNAMIC || attrs.scaling == LLMH_ROPE_SCALING_LONGROPE)
      from = std::min(from, static_cast<int64_t>(attrs.original_context));
  }
  return from;
}

}  // namespace

void RunnerOptions::validate() const {
  check_at_least("max_sequences", max_sequences, 1, "");
  check_at_least("max_tokens", max_tokens, max_sequences, "max_sequences, ");
  check_at_least("max_outputs", max_outputs, max_sequences, "max_sequences, ");
  check_at_least("page_tokens", page_tokens, 1, "");
  check_at_least("max_context", max_context, 1, "");
  check_at_least("max_adapter_rank", max_adapter_rank, 0, "");
  check_at_least("state_tokens", state_tokens, 0, "");
  if (max_context > INT32_MAX)
    throw_invalid("max_context: got {}, expected at most {}", max_context, INT32_MAX);
  const int64_t positions = state_tokens > 0 ? state_tokens : max_context * max_sequences;
  if (state_tokens > 0 && state_tokens < max_context)
    throw_invalid("state_tokens: got {}, expected at least max_context, {}", state_tokens, max_context);
  if (positions / page_tokens + max_sequences > INT32_MAX)
    throw_invalid("state_tokens: {} positions are more pages than can be numbered; raise page_tokens",
                  positions);
  if (kv_dtype != LLMH_DTYPE_F32 && kv_dtype != LLMH_DTYPE_F16 && kv_dtype != LLMH_DTYPE_BF16 &&
      kv_dtype != LLMH_DTYPE_Q8_0)
    throw_invalid(
        "kv_dtype: got {}, expected f32, f16, bf16 or q8_0",
        llmh_dtype_layout_of(kv_dtype).name ? llmh_dtype_layout_of(kv_dtype).name : "an unknown type");
}

llmh_limits RunnerOptions::limits() const {
  llmh_limits limits{};
  limits.struct_size = sizeof(limits);
  limits.max_tokens = max_tokens;
  limits.max_sequences = max_sequences;
  limits.max_outputs = max_outputs;
  limits.max_state = max_context;
  limits.max_adapter_rank = max_adapter_rank;
  return limits;
}

int32_t RunnerOptions::max_pages() const {
  return pages_for(max_context, page_tokens);
}

int32_t RunnerOptions::n_pages() const {
  return state_tokens > 0 ? pages_for(state_tokens, page_tokens) : max_sequences * max_pages();
}

ModelRunner::ModelRunner(const Device& device, const RunnerModel& model, const RunnerOptions& options)
    : device_(device), options_(options), identity_(model.identity) {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.compile");
  options_.validate();
  if (model.weights.size() != model.graph->n_tensors || model.arena_offsets.size() != model.graph->n_tensors)
    throw_error(ErrorCode::kInternal, "runner: {} weights and {} offsets for a graph of {} tensors",
                model.weights.size(), model.arena_offsets.size(), model.graph->n_tensors);
  length_dependent_from_ = length_dependence(*model.graph);
  reserve_state(model);
  arena_ = DeviceBuffer(device_, model.arena_bytes, LLMH_BUFFER_ARENA, "activations");
  find_logits(model);
  compile(model);
}

ModelRunner::~ModelRunner() {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.release_program");
  if (program_ != nullptr) device_.api().release_program(device_.instance(), program_);
}

void ModelRunner::reserve_state(const RunnerModel& model) {
  const auto n_pages = static_cast<uint64_t>(options_.n_pages());
  uint64_t total = 0;
  for (const llmh_state_spec& spec : model.states) {
    llmh_state_view view{};
    view.struct_size = sizeof(view);
    view.slot = spec.slot;
    view.page_tokens = options_.page_tokens;
    view.dtype = options_.kv_dtype;
    plugin::check(device_.api().state_page_bytes(device_.instance(), &spec, options_.kv_dtype,
                                                 options_.page_tokens, &view.page_bytes),
                  fmt::format("size of the state of slot {}", spec.slot));
    view.range.offset = total;
    view.range.bytes = checked_product(n_pages, view.page_bytes, "state");
    total = checked_sum(checked_sum(total, view.range.bytes, "state"), kAlign - 1, "state") / kAlign * kAlign;
    states_.push_back(view);
  }
  state_ = DeviceBuffer(device_, total, LLMH_BUFFER_STATE, "state");
  state_.make_resident();
  for (llmh_state_view& view : states_) view.range.buffer = state_.get();
}

void ModelRunner::find_logits(const RunnerModel& model) {
  const llmh_graph& graph = *model.graph;
  const auto* const end = graph.outputs + graph.n_outputs;
  const auto* const found = std::find_if(
      graph.outputs, end, [](const llmh_graph_output* output) { return output->kind == LLMH_OUTPUT_LOGITS; });
  if (found == end) throw_invalid("model: its graph has no logits output");
  const llmh_tensor_info& info = *graph.tensors[(*found)->tensor];
  logits_offset_ = model.arena_offsets[static_cast<size_t>((*found)->tensor)];
  if (info.dtype != LLMH_DTYPE_F32 || info.rank != 2 || info.dims[0].symbol != LLMH_DIM_OUTPUTS ||
      info.dims[1].symbol != LLMH_DIM_CONST || logits_offset_ == UINT64_MAX)
    throw_invalid("model: its logits are not f32 [R, V] made by a node");
  vocab_size_ = info.dims[1].size;
  const auto values = checked_product(static_cast<uint64_t>(options_.max_outputs),
                                      static_cast<uint64_t>(vocab_size_), "logits");
  const uint64_t bytes = checked_product(values, sizeof(float), "logits");
  if (checked_sum(logits_offset_, bytes, "logits") > arena_.bytes())
    throw_error(ErrorCode::kInternal, "runner: the logits end at byte {}, the arena has {}",
                logits_offset_ + bytes, arena_.bytes());
  if (const void* memory = arena_.map())
    mapped_logits_ = reinterpret_cast<const float*>(static_cast<const std::byte*>(memory) + logits_offset_);
  else
    logits_.resize(static_cast<size_t>(values));
}

void ModelRunner::compile(const RunnerModel& model) {
  const llmh_limits limits = options_.limits();
  uint64_t scratch = 0;
  plugin::check(device_.api().scratch_bytes(device_.instance(), model.graph, &limits, &scratch),
                "size of the scratch");
  scratch_ = DeviceBuffer(device_, scratch, LLMH_BUFFER_SCRATCH, "scratch");
  std::vector<const llmh_state_view*> states;
  for (const llmh_state_view& state : states_) states.push_back(&state);
  llmh_compile_args args{};
  args.struct_size = sizeof(args);
  args.n_states = static_cast<uint32_t>(states.size());
  args.graph = model.graph;
  args.limits = &limits;
  args.weights = model.weights.data();
  args.arena_offsets = model.arena_offsets.data();
  args.arena = arena_.whole();
  args.scratch = scratch_.whole();
  args.states = states.data();
  plugin::check(device_.api().compile(device_.instance(), &args, &program_), "compiling the graph");
}

std::span<const float> ModelRunner::step(StepBatch& batch) {
  const plugin::EngineScope scope(device_.instance(), "llmh_backend.run");
  const llmh_step step = batch.step();
  const int32_t code = device_.api().run(program_, &step, call_.get());
  if (code != LLMH_OK) call_.check(code, device_.plugin_id(), "running a step");
  const size_t n = static_cast<size_t>(step.n_outputs) * static_cast<size_t>(vocab_size_);
  if (mapped_logits_ != nullptr) return {mapped_logits_, n};
  plugin::check(device_.api().buffer_read(device_.instance(), arena_.get(), logits_offset_, logits_.data(),
                                          n * sizeof(float)),
                "reading the logits");
  return {logits_.data(), n};
}

}  // namespace llmhost::engine
