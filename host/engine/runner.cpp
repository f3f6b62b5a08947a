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
    : device_(device),
      options_(options),
      identity_(model.identity),
      graph_(*model.graph),
      weights_(model.weights.begin(), model.weights.end()),
      arena_offsets_(model.arena_offsets.begin(), model.arena_offsets.end()) {
  options_.validate();
  if (weights_.size() != graph_.n_tensors || arena_offsets_.size() != graph_.n_tensors)
    throw_error(ErrorCode::kInternal, "runner: {} weights and {} offsets for a graph of {} tensors",
                weights_.size(), arena_offsets_.size(), graph_.n_tensors);
  length_dependent_from_ = length_dependence(graph_);
  allocate(model);
  find_outputs();
  program_ = compile(graph_);
}

ModelRunner::~ModelRunner() {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.release_program");
  for (llmh_program* program : {headless_, program_})
    if (program != nullptr) device_.api().release_program(device_.instance(), program);
}

void ModelRunner::allocate(const RunnerModel& model) {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.buffer_alloc");
  reserve_state(model);
  arena_ = DeviceBuffer(device_, model.arena_bytes, LLMH_BUFFER_ARENA, "activations");
  const llmh_limits limits = options_.limits();
  uint64_t scratch = 0;
  plugin::check(device_.api().scratch_bytes(device_.instance(), &graph_, &limits, &scratch),
                "size of the scratch");
  scratch_ = DeviceBuffer(device_, scratch, LLMH_BUFFER_SCRATCH, "scratch");
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

void ModelRunner::find_outputs() {
  for (const llmh_graph_output* output : std::span(graph_.outputs, graph_.n_outputs)) {
    if (output->kind == LLMH_OUTPUT_LOGITS) logits_ = find_rows(*output, "logits");
    if (output->kind != LLMH_OUTPUT_HIDDEN) continue;
    hidden_ = find_rows(*output, "hidden states");
    hidden_output_ = output;
  }
  if (logits_.width == 0) throw_invalid("model: its graph has no logits output");
}

ModelRunner::Rows ModelRunner::find_rows(const llmh_graph_output& output, const char* what) const {
  const llmh_tensor_info& info = *graph_.tensors[output.tensor];
  Rows rows;
  rows.offset = arena_offsets_[static_cast<size_t>(output.tensor)];
  if (info.dtype != LLMH_DTYPE_F32 || info.rank != 2 || info.dims[0].symbol != LLMH_DIM_OUTPUTS ||
      info.dims[1].symbol != LLMH_DIM_CONST || info.dims[1].size < 1 || rows.offset == UINT64_MAX)
    throw_invalid("model: its {} are not f32 [R, N] made by a node", what);
  rows.width = info.dims[1].size;
  const auto values =
      checked_product(static_cast<uint64_t>(options_.max_outputs), static_cast<uint64_t>(rows.width), what);
  const uint64_t bytes = checked_product(values, sizeof(float), what);
  if (checked_sum(rows.offset, bytes, what) > arena_.bytes())
    throw_error(ErrorCode::kInternal, "runner: the {} end at byte {}, the arena has {}", what,
                rows.offset + bytes, arena_.bytes());
  if (const void* memory = arena_.map())
    rows.mapped = reinterpret_cast<const float*>(static_cast<const std::byte*>(memory) + rows.offset);
  else
    rows.copy.resize(static_cast<size_t>(values));
  return rows;
}

llmh_program* ModelRunner::compile(const llmh_graph& graph) const {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.compile");
  const llmh_limits limits = options_.limits();
  std::vector<const llmh_state_view*> states;
  for (const llmh_state_view& state : states_) states.push_back(&state);
  llmh_compile_args args{};
  args.struct_size = sizeof(args);
  args.n_states = static_cast<uint32_t>(states.size());
  args.graph = &graph;
  args.limits = &limits;
  args.weights = weights_.data();
  args.arena_offsets = arena_offsets_.data();
  args.arena = arena_.whole();
  args.scratch = scratch_.whole();
  args.states = states.data();
  llmh_program* program = nullptr;
  plugin::check(device_.api().compile(device_.instance(), &args, &program), "compiling the graph");
  return program;
}

void ModelRunner::run(llmh_program* program, StepBatch& batch) {
  const plugin::EngineScope scope(device_.instance(), "llmh_backend.run");
  n_outputs_ = 0;
  const llmh_step step = batch.step();
  const int32_t code = device_.api().run(program, &step, call_.get());
  if (code != LLMH_OK) call_.check(code, device_.plugin_id(), "running a step");
  n_outputs_ = step.n_outputs;
}

std::span<const float> ModelRunner::read(Rows& rows, const char* what) const {
  const size_t n = static_cast<size_t>(n_outputs_) * static_cast<size_t>(rows.width);
  if (rows.mapped != nullptr) return {rows.mapped, n};
  if (n > 0)
    plugin::check(device_.api().buffer_read(device_.instance(), arena_.get(), rows.offset, rows.copy.data(),
                                            n * sizeof(float)),
                  fmt::format("reading the {}", what));
  return {rows.copy.data(), n};
}

std::span<const float> ModelRunner::step(StepBatch& batch) {
  run(program_, batch);
  return read(logits_, "logits");
}

std::span<const float> ModelRunner::step_headless(StepBatch& batch) {
  if (headless_ == nullptr) {
    if (hidden_output_ == nullptr) throw_invalid("the model gives no hidden states");
    headless_graph_ = std::make_unique<HeadlessGraph>(graph_, *hidden_output_);
    headless_ = compile(headless_graph_->view());
  }
  run(headless_, batch);
  return hidden();
}

std::span<const float> ModelRunner::hidden() {
  return read(hidden_, "hidden states");
}

}  // namespace llmhost::engine
