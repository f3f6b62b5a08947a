#include "engine/fake_backend.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>

#include "engine/random.h"
#include "llmhost/plugin.hpp"
#include "plugin/status.h"

namespace llmhost::test {
namespace {

using engine::mix_bits;

constexpr int kSlots = 2;
// The pages of the slots differ in size, so that a mixed-up offset shows.
uint64_t entry_bytes(int32_t slot) {
  return slot == 0 ? 8 : 24;
}

struct Instance {
  bool host_visible = true;
  int32_t scaling_from = INT32_MAX;
};

struct Buffer {
  std::vector<uint8_t> bytes;
};

struct Program {
  Instance* instance = nullptr;
  llmh_limits limits{};
  llmh_range arena{};
  int64_t logits_offset = -1;  // in the arena; -1: not asked for
  int64_t hidden_offset = -1;
  std::vector<llmh_state_view> states;
};

Instance* of(llmh_instance* instance) {
  return reinterpret_cast<Instance*>(instance);
}
Buffer* of(llmh_buffer* buffer) {
  return reinterpret_cast<Buffer*>(buffer);
}
Program* of(llmh_program* program) {
  return reinterpret_cast<Program*>(program);
}

llmh_status* error(const char* message) {
  return plugin::new_status("fake", LLMH_INVALID_ARGUMENT, message);
}

llmh_status* device_count(uint32_t* n) {
  *n = 1;
  return nullptr;
}

llmh_status* device_info(uint32_t, llmh_device_info* out) {
  out->host_visible = 1;
  out->name = LLMH_STR("hash");
  return nullptr;
}

llmh_status* open(const llmh_open_args* args, llmh_instance** out) {
  auto* instance = new Instance;
  for (uint32_t i = 0; i < args->n_options; ++i) {
    const std::string key(args->options[i].key.ptr, args->options[i].key.len);
    const std::string value(args->options[i].value.ptr, args->options[i].value.len);
    if (key == "host_visible")
      instance->host_visible = value == "1";
    else if (key == "scaling_from")
      instance->scaling_from = std::stoi(value);
    else
      return delete instance, error("unknown option");
  }
  *out = reinterpret_cast<llmh_instance*>(instance);
  return nullptr;
}

void close(llmh_instance* instance) {
  delete of(instance);
}

int32_t supports(llmh_instance*, const llmh_graph*, uint32_t) {
  return 1;
}

llmh_status* buffer_alloc(llmh_instance*, const llmh_buffer_args* args, llmh_buffer** out) {
  constexpr uint32_t kUses[] = {LLMH_BUFFER_STATE, LLMH_BUFFER_ARENA, LLMH_BUFFER_SCRATCH};
  if (std::find(std::begin(kUses), std::end(kUses), args->uses) == std::end(kUses))
    return error("a buffer for state, arena or scratch");
  *out = reinterpret_cast<llmh_buffer*>(new Buffer{std::vector<uint8_t>(args->bytes, 0)});
  return nullptr;
}

void buffer_free(llmh_instance*, llmh_buffer* buffer) {
  delete of(buffer);
}

void* buffer_map(llmh_instance* instance, llmh_buffer* buffer) {
  return of(instance)->host_visible ? of(buffer)->bytes.data() : nullptr;
}

llmh_status* buffer_write(llmh_instance*, llmh_buffer* buffer, uint64_t offset, const void* data,
                          uint64_t bytes) {
  std::memcpy(of(buffer)->bytes.data() + offset, data, bytes);
  return nullptr;
}

llmh_status* buffer_read(llmh_instance*, llmh_buffer* buffer, uint64_t offset, void* data, uint64_t bytes) {
  std::memcpy(data, of(buffer)->bytes.data() + offset, bytes);
  return nullptr;
}

llmh_status* weight_bytes(llmh_instance*, const llmh_weight_source*, uint64_t* out) {
  *out = 0;
  return nullptr;
}

llmh_status* prepare_weight(llmh_instance*, const llmh_weight_source*, llmh_weight**) {
  return error("the fake model has no weights");
}

void release_weight(llmh_instance*, llmh_weight*) {}

llmh_status* state_page_bytes(llmh_instance*, const llmh_state_spec* spec, llmh_dtype, int32_t page_tokens,
                              uint64_t* out) {
  *out = entry_bytes(spec->slot) * static_cast<uint64_t>(page_tokens);
  return nullptr;
}

llmh_status* scratch_bytes(llmh_instance*, const llmh_graph*, const llmh_limits*, uint64_t* out) {
  *out = 0;
  return nullptr;
}

llmh_status* compile(llmh_instance* instance, const llmh_compile_args* args, llmh_program** out) {
  if (args->n_states != kSlots) return error("expected two slots");
  auto* program = new Program;
  program->instance = of(instance);
  program->limits = llmh::copy_struct(*args->limits);
  program->arena = args->arena;
  for (uint32_t i = 0; i < args->graph->n_outputs; ++i) {
    const llmh_graph_output& output = *args->graph->outputs[i];
    const auto offset = static_cast<int64_t>(args->arena.offset + args->arena_offsets[output.tensor]);
    (output.kind == LLMH_OUTPUT_LOGITS ? program->logits_offset : program->hidden_offset) = offset;
  }
  for (uint32_t i = 0; i < args->n_states; ++i)
    program->states.push_back(llmh::copy_struct(*args->states[i]));
  *out = reinterpret_cast<llmh_program*>(program);
  return nullptr;
}

void release_program(llmh_instance*, llmh_program* program) {
  delete of(program);
}

int32_t failure(llmh_call* call, const char* message) {
  call->message_len = std::min(static_cast<uint32_t>(std::strlen(message)), call->message_capacity);
  std::memcpy(call->message, message, call->message_len);
  return LLMH_INTERNAL;
}

uint64_t entry_of(int32_t token, int32_t position, int32_t rope_length, int32_t scaling_from) {
  const auto scaling = static_cast<uint64_t>(rope_length > scaling_from ? rope_length : 0);
  return mix_bits((static_cast<uint64_t>(token) << 40) ^ (scaling << 20) ^
                  static_cast<uint64_t>(position + 1));
}

// The tokens that break things are never chosen by the model itself.
float logit_of(uint64_t hash, int32_t v) {
  if (v == kPoisonToken || v == kFailToken) return -100;
  return static_cast<float>(mix_bits(hash + static_cast<uint64_t>(v)) >> 40) * 0x1p-24F * 8 - 4;
}

float hidden_of(uint64_t hash, int32_t i) {
  return logit_of(~hash, i);
}

// The place of a position in the state of slot `index`, or null when the step names no such page.
uint8_t* place(const Program& program, const llmh_step& step, int32_t sequence, int32_t position, int index) {
  const llmh_state_view& view = program.states[static_cast<size_t>(index)];
  const int32_t column = position / view.page_tokens;
  if (column >= step.page_table_stride) return nullptr;
  const auto page =
      static_cast<uint64_t>(step.page_table[int64_t{sequence} * step.page_table_stride + column]);
  const uint64_t begin = page * view.page_bytes;
  if (begin + view.page_bytes > view.range.bytes) return nullptr;
  return of(view.range.buffer)->bytes.data() + view.range.offset + begin +
         static_cast<uint64_t>(position % view.page_tokens) * entry_bytes(view.slot);
}

const char* broken_promise(const Program& program, const llmh_step& step) {
  if (step.n_tokens < 1 || step.n_tokens > program.limits.max_tokens) return "n_tokens";
  if (step.n_sequences < 1 || step.n_sequences > program.limits.max_sequences) return "n_sequences";
  if (step.n_outputs < 0 || step.n_outputs > program.limits.max_outputs) return "n_outputs";
  if (step.sequence_begin[0] != 0 || step.sequence_begin[step.n_sequences] != step.n_tokens)
    return "sequence_begin";
  int64_t n_state = 0;
  for (int32_t s = 0; s < step.n_sequences; ++s) {
    const int32_t begin = step.sequence_begin[s];
    const int32_t end = step.sequence_begin[s + 1];
    if (begin >= end) return "empty sequence";
    for (int32_t t = begin; t < end; ++t) {
      if (step.token_sequence[t] != s) return "token_sequence";
      if (step.positions[t] != step.positions[begin] + t - begin) return "positions";
      if (step.rope_lengths[t] <= step.positions[t]) return "rope_lengths";
    }
    if (step.state_lengths[s] != step.positions[end - 1] + 1) return "state_lengths";
    if (step.state_lengths[s] > program.limits.max_state) return "max_state";
    n_state += step.state_lengths[s];
  }
  if (n_state != step.n_state) return "n_state";
  for (int32_t r = 0; r < step.n_outputs; ++r) {
    if (step.output_rows[r] < 0 || step.output_rows[r] >= step.n_tokens) return "output_rows";
    if (r > 0 && step.output_rows[r] <= step.output_rows[r - 1]) return "output_rows order";
  }
  return nullptr;
}

int32_t run(llmh_program* handle, const llmh_step* step, llmh_call* call) {
  const Program& program = *of(handle);
  if (const char* what = broken_promise(program, *step)) return failure(call, what);
  for (int32_t t = 0; t < step->n_tokens; ++t) {
    if (step->token_ids[t] == kFailToken) return failure(call, "the device is gone");
    const uint64_t entry = entry_of(step->token_ids[t], step->positions[t], step->rope_lengths[t],
                                    program.instance->scaling_from);
    for (int slot = 0; slot < kSlots; ++slot) {
      uint8_t* target = place(program, *step, step->token_sequence[t], step->positions[t], slot);
      if (target == nullptr) return failure(call, "page_table");
      const uint64_t stored = slot == 0 ? entry : ~entry;
      std::memcpy(target, &stored, sizeof(stored));
    }
  }
  uint8_t* arena = of(program.arena.buffer)->bytes.data();
  float* logits =
      program.logits_offset < 0 ? nullptr : reinterpret_cast<float*>(arena + program.logits_offset);
  float* hidden =
      program.hidden_offset < 0 ? nullptr : reinterpret_cast<float*>(arena + program.hidden_offset);
  for (int32_t r = 0; r < step->n_outputs; ++r) {
    const int32_t t = step->output_rows[r];
    uint64_t hash = 0;
    for (int32_t position = 0; position <= step->positions[t]; ++position) {
      uint64_t keys = 0;
      uint64_t values = 0;
      std::memcpy(&keys, place(program, *step, step->token_sequence[t], position, 0), sizeof(keys));
      std::memcpy(&values, place(program, *step, step->token_sequence[t], position, 1), sizeof(values));
      if (keys != ~values) return failure(call, "the slots' states do not belong together");
      hash = mix_bits(hash ^ keys);
    }
    const bool is_poisoned = step->token_ids[t] == kPoisonToken;
    for (int32_t i = 0; hidden != nullptr && i < kFakeHidden; ++i) *hidden++ = hidden_of(hash, i);
    if (hidden != nullptr && is_poisoned) hidden[-1] = std::numeric_limits<float>::quiet_NaN();
    if (logits == nullptr) continue;
    for (int32_t v = 0; v < kFakeVocab; ++v) *logits++ = logit_of(hash, v);
    if (is_poisoned) logits[-1] = std::numeric_limits<float>::quiet_NaN();
  }
  return LLMH_OK;
}

}  // namespace

const llmh_backend& fake_backend() {
  static const llmh_backend backend = {sizeof(llmh_backend),
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
                                       nullptr};
  return backend;
}

FakeModel::FakeModel(const engine::RunnerOptions& options, const FakeOptions& fake) {
  logits_.struct_size = sizeof(logits_);
  logits_.role = LLMH_TENSOR_ACTIVATION;
  logits_.dtype = LLMH_DTYPE_F32;
  logits_.rank = 2;
  logits_.dims[0] = {1, LLMH_DIM_OUTPUTS, 0};
  logits_.dims[1] = {kFakeVocab, LLMH_DIM_CONST, 0};
  hidden_ = logits_;
  hidden_.dims[1].size = kFakeHidden;
  tensors_ = {&logits_, &hidden_};
  angles_.struct_size = sizeof(angles_);
  angles_.scaling = LLMH_ROPE_SCALING_DYNAMIC;
  angles_.original_context = static_cast<float>(fake.scaling_from);
  node_.struct_size = sizeof(node_);
  node_.op = LLMH_OP_ROPE_ANGLES;
  node_.attrs = &angles_;
  node_.attrs_size = sizeof(angles_);
  nodes_ = {&node_};
  output_ = {sizeof(output_), LLMH_OUTPUT_LOGITS, 0};
  hidden_output_ = {sizeof(hidden_output_), LLMH_OUTPUT_HIDDEN, 1};
  outputs_ = {&output_, &hidden_output_};
  graph_.struct_size = sizeof(graph_);
  graph_.n_tensors = 2;
  graph_.tensors = tensors_.data();
  graph_.nodes = nodes_.data();
  graph_.n_nodes = fake.scaling_from == INT32_MAX ? 0 : 1;
  graph_.outputs = outputs_.data();
  graph_.n_outputs = 2;
  engine::DeviceOptions device_options;
  device_options.options = {{"host_visible", fake.host_visible ? "1" : "0"},
                            {"scaling_from", std::to_string(fake.scaling_from)}};
  device_ = std::make_unique<engine::Device>(fake_backend(), "fake", device_options, nullptr);
  std::vector<llmh_state_spec> specs(kSlots);
  for (int slot = 0; slot < kSlots; ++slot) {
    specs[static_cast<size_t>(slot)].struct_size = sizeof(llmh_state_spec);
    specs[static_cast<size_t>(slot)].kind = LLMH_STATE_PAGED_KV;
    specs[static_cast<size_t>(slot)].slot = slot;
  }
  const std::vector<llmh_weight*> weights(2, nullptr);
  const uint64_t logits_bytes = static_cast<uint64_t>(options.max_outputs) * kFakeVocab * sizeof(float);
  const std::vector<uint64_t> offsets = {64, 64 + logits_bytes};
  engine::RunnerModel model;
  model.graph = &graph_;
  model.weights = weights;
  model.states = specs;
  model.arena_offsets = offsets;
  model.arena_bytes = offsets[1] + static_cast<uint64_t>(options.max_outputs) * kFakeHidden * sizeof(float);
  runner_ = std::make_unique<engine::ModelRunner>(*device_, model, options);
}

namespace {

uint64_t hash_of(const std::vector<int32_t>& tokens, int64_t prompt_length, int32_t scaling_from) {
  uint64_t hash = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto position = static_cast<int32_t>(i);
    const int32_t rope_length = std::max(static_cast<int32_t>(prompt_length), position + 1);
    hash = mix_bits(hash ^ entry_of(tokens[i], position, rope_length, scaling_from));
  }
  return hash;
}

}  // namespace

std::vector<float> fake_logits(const std::vector<int32_t>& tokens, int64_t prompt_length,
                               int32_t scaling_from) {
  const uint64_t hash = hash_of(tokens, prompt_length, scaling_from);
  std::vector<float> logits;
  for (int32_t v = 0; v < kFakeVocab; ++v) logits.push_back(logit_of(hash, v));
  return logits;
}

std::vector<float> fake_hidden(const std::vector<int32_t>& tokens, int64_t prompt_length) {
  const uint64_t hash = hash_of(tokens, prompt_length, INT32_MAX);
  std::vector<float> hidden;
  for (int32_t i = 0; i < kFakeHidden; ++i) hidden.push_back(hidden_of(hash, i));
  return hidden;
}

std::vector<int32_t> fake_greedy(std::vector<int32_t> prompt, int64_t n, int32_t scaling_from) {
  const auto prompt_length = static_cast<int64_t>(prompt.size());
  std::vector<int32_t> output;
  for (int64_t i = 0; i < n; ++i) {
    const std::vector<float> logits = fake_logits(prompt, prompt_length, scaling_from);
    output.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    prompt.push_back(output.back());
  }
  return output;
}

}  // namespace llmhost::test
