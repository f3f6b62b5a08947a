#include "train/training_program.h"

#include <utility>

#include "core/error.h"
#include "plugin/thread_tags.h"

namespace llmhost::train {

TrainingProgram::TrainingProgram(const engine::Device& device, const LoweredGraph& lowered, Memory memory)
    : device_(device), lowered_(lowered), memory_(std::move(memory)) {
  const plugin::ControlScope scope(device.instance(), "llmh_backend.compile");
  llmh_compile_args args{};
  args.struct_size = sizeof args;
  args.graph = &lowered.graph.view();
  args.limits = &lowered.limits;
  args.weights = memory_.weights.data();
  args.arena_offsets = lowered.arena.offsets.data();
  args.arena = memory_.arena.range(0, lowered.arena.bytes);
  args.scratch = memory_.scratch.range(0, lowered.scratch_bytes);
  args.parameters = memory_.parameters.data();
  plugin::check(device.api().compile(device.instance(), &args, &program_), "compiling the training graph");
}

TrainingProgram::~TrainingProgram() {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.release_program");
  if (program_ != nullptr) device_.api().release_program(device_.instance(), program_);
}

void TrainingProgram::run(const llmh_step& step) {
  const plugin::EngineScope scope(device_.instance(), "llmh_backend.run");
  n_outputs_ = 0;
  const int32_t code = device_.api().run(program_, &step, call_.get());
  if (code != LLMH_OK) call_.check(code, device_.plugin_id(), "running a step of training");
  n_outputs_ = step.n_outputs;
}

std::span<const float> TrainingProgram::output(int32_t kind) const {
  const llmh_graph& view = lowered_.graph.view();
  for (const llmh_graph_output* output : std::span(view.outputs, view.n_outputs)) {
    if (output->kind != kind) continue;
    const uint64_t offset = lowered_.arena.offsets[static_cast<size_t>(output->tensor)];
    const llmh_tensor_info& info = lowered_.graph.tensor(output->tensor);
    if (offset == graph::kNoOffset || info.dtype != LLMH_DTYPE_F32)
      throw_error(ErrorCode::kInternal, "output {} of a training graph is not made by a node in f32", kind);
    graph::SymbolValues values;
    values.outputs = n_outputs_;
    const auto n = static_cast<size_t>(graph::element_count(graph::dims_of(info), values));
    const auto* const bytes = static_cast<const std::byte*>(memory_.arena.map()) + offset;
    return {reinterpret_cast<const float*>(bytes), n};
  }
  return {};
}

}  // namespace llmhost::train
