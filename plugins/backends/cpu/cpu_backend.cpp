// The backend's table: each function checks its arguments and calls the part that does the work.
#include <sys/sysinfo.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "adapter.h"
#include "llmhost/plugin.hpp"
#include "llmhost/weight_layout.h"
#include "ops/state.h"
#include "program.h"

namespace llmhost::cpu {
namespace {

// --- Devices
// -----------------------------------------------------------------------------------------------------

// "model name" of /proc/cpuinfo and the best instruction set.
std::string device_name() {
  std::string name = "CPU";
  if (std::FILE* file = std::fopen("/proc/cpuinfo", "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, file) != nullptr) {
      if (std::strncmp(line, "model name", 10) != 0) continue;
      const char* colon = std::strchr(line, ':');
      if (colon == nullptr) break;
      name.assign(colon + 1);
      name.erase(0, name.find_first_not_of(" \t"));
      name.erase(name.find_last_not_of(" \t\n") + 1);
      break;
    }
    std::fclose(file);
  }
  return name + ", " + choose_kernels("auto").isa;
}

// What could be allocated now without swapping, the caches that the system would drop included; "MemFree"
// would count a model file that was just read as used.
uint64_t available_memory() {
  unsigned long long kilobytes = 0;
  if (std::FILE* file = std::fopen("/proc/meminfo", "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, file) != nullptr)
      if (std::sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1) break;
    std::fclose(file);
  }
  return uint64_t{kilobytes} * 1024;
}

void check_device(uint32_t index) {
  if (index != 0)
    throw llmh::Error(LLMH_NOT_FOUND, "[cpu] no device " + std::to_string(index) + "; there is only 0");
}

llmh_status* device_count(uint32_t* n) noexcept {
  *n = 1;
  return nullptr;
}

llmh_status* device_info(uint32_t index, llmh_device_info* out) noexcept {
  return llmh::guard([&] {
    check_device(index);
    static const std::string name = device_name();
    struct sysinfo memory {};
    sysinfo(&memory);
    out->host_visible = 1;
    out->name = llmh::str(name);
    out->memory_bytes = uint64_t{memory.totalram} * memory.mem_unit;
    out->memory_free = available_memory();
  });
}

Layout parse_layout(const std::string& name) {
  if (name == "auto") return Layout::kMeasured;
  if (name == "packed") return Layout::kPacked;
  if (name == "stored") return Layout::kStored;
  throw llmh::Error(LLMH_INVALID_ARGUMENT,
                    "[cpu] option layout: '" + name + "' is not one of auto, packed, stored");
}

llmh_status* open(const llmh_open_args* args, llmh_instance** out) noexcept {
  return llmh::guard([&] {
    std::string isa;
    Layout layout = Layout::kMeasured;
    for (uint32_t i = 0; i < args->n_options; ++i) {
      const std::string key(llmh::view(args->options[i].key));
      const std::string value(llmh::view(args->options[i].value));
      if (key == "isa")
        isa = value;
      else if (key == "layout")
        layout = parse_layout(value);
      else
        throw llmh::Error(LLMH_INVALID_ARGUMENT, "[cpu] unknown option '" + key + "'; known: isa, layout");
    }
    check_device(args->device);
    auto instance = std::make_unique<llmh_instance>();
    instance->kernels = choose_kernels(isa.c_str());
    instance->layouts = LayoutChoice(layout);
    instance->packed_layout = std::string("cpu packed 1 ") + instance->kernels.isa;
    instance->rounds_activations = args->precision == LLMH_PRECISION_NATIVE;
    instance->pool = args->thread_pool;
    instance->n_threads = args->thread_pool == nullptr ? 1 : args->thread_pool->n_threads;
    if (instance->n_threads < 1) instance->n_threads = 1;
    *out = instance.release();
  });
}

void close(llmh_instance* instance) noexcept {
  delete instance;
}

int32_t supports(llmh_instance*, const llmh_graph* graph, uint32_t node) noexcept {
  return supports_node(*graph, node) ? 1 : 0;
}

// --- Buffers
// -----------------------------------------------------------------------------------------------------

llmh_status* buffer_alloc(llmh_instance*, const llmh_buffer_args* args, llmh_buffer** out) noexcept {
  return llmh::guard([&] {
    auto buffer = std::make_unique<llmh_buffer>();
    *buffer = allocate_pages(args->bytes);
    *out = buffer.release();
  });
}

void buffer_free(llmh_instance*, llmh_buffer* buffer) noexcept {
  if (buffer == nullptr) return;
  free_pages(*buffer);
  delete buffer;
}

void* buffer_map(llmh_instance*, llmh_buffer* buffer) noexcept {
  return buffer->data;
}

void check_range(const llmh_buffer& buffer, uint64_t offset, uint64_t bytes) {
  if (offset > buffer.bytes || bytes > buffer.bytes - offset)
    throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] " + std::to_string(bytes) + " bytes at " +
                                             std::to_string(offset) + " lie outside the buffer of " +
                                             std::to_string(buffer.bytes));
}

llmh_status* buffer_write(llmh_instance*, llmh_buffer* buffer, uint64_t offset, const void* data,
                          uint64_t bytes) noexcept {
  return llmh::guard([&] {
    check_range(*buffer, offset, bytes);
    if (bytes != 0) std::memcpy(buffer->data + offset, data, bytes);
  });
}

llmh_status* buffer_read(llmh_instance*, llmh_buffer* buffer, uint64_t offset, void* data,
                         uint64_t bytes) noexcept {
  return llmh::guard([&] {
    check_range(*buffer, offset, bytes);
    if (bytes != 0) std::memcpy(data, buffer->data + offset, bytes);
  });
}

// --- Weights and state
// -------------------------------------------------------------------------------------------

llmh_status* weight_bytes(llmh_instance* instance, const llmh_weight_source* source, uint64_t* out) noexcept {
  return llmh::guard([&] { *out = taken_bytes(*instance, *source); });
}

llmh_status* prepare_weight(llmh_instance* instance, const llmh_weight_source* source,
                            llmh_weight** out) noexcept {
  return llmh::guard([&] {
    auto weight = std::make_unique<llmh_weight>();
    *weight = take_weight(*instance, *source);
    *out = weight.release();
  });
}

void release_weight(llmh_instance*, llmh_weight* weight) noexcept {
  if (weight == nullptr) return;
  free_pages(weight->copy);
  delete weight;
}

llmh_str layout_name(llmh_instance* instance, const llmh_weight_source* source) noexcept {
  return packed_layout_name(*instance, *source);
}

const void* layout_bytes(llmh_instance*, const llmh_weight* weight, uint64_t* n) noexcept {
  *n = weight->packed.bytes;
  return weight->packed.data;
}

llmh_status* adopt_weight(llmh_instance* instance, const llmh_weight_source* source, const void* bytes,
                          uint64_t n, llmh_weight** out) noexcept {
  return llmh::guard([&] {
    auto weight = std::make_unique<llmh_weight>();
    *weight = adopt_packed(*instance, *source, bytes, n);
    *out = weight.release();
  });
}

constexpr llmh_weight_layout kWeightLayout = {.struct_size = sizeof(llmh_weight_layout),
                                              .name = layout_name,
                                              .bytes = layout_bytes,
                                              .adopt = adopt_weight};

llmh_status* adapter_bytes(llmh_instance* instance, const llmh_site_delta* const* deltas, uint32_t n_deltas,
                           uint64_t* out) noexcept {
  return llmh::guard([&] { *out = adapter_memory_bytes(*instance, deltas, n_deltas); });
}

llmh_status* prepare_adapter(llmh_instance* instance, const llmh_site_delta* const* deltas, uint32_t n_deltas,
                             llmh_adapter** out) noexcept {
  return llmh::guard([&] { *out = make_adapter(*instance, deltas, n_deltas); });
}

void release_adapter(llmh_instance*, llmh_adapter* adapter) noexcept {
  free_adapter(adapter);
}

constexpr llmh_adapters kAdapters = {.struct_size = sizeof(llmh_adapters),
                                     .adapter_bytes = adapter_bytes,
                                     .prepare_adapter = prepare_adapter,
                                     .release_adapter = release_adapter};

const void* get_extension(llmh_str id) noexcept {
  if (llmh::view(id) == LLMH_ADAPTERS_EXTENSION) return &kAdapters;
  return llmh::view(id) == LLMH_WEIGHT_LAYOUT_EXTENSION ? &kWeightLayout : nullptr;
}

llmh_status* state_page_bytes(llmh_instance*, const llmh_state_spec* spec, llmh_dtype dtype,
                              int32_t page_tokens, uint64_t* out) noexcept {
  return llmh::guard([&] {
    constexpr int32_t kMost = 1 << 20;  // keeps every product far from overflow
    if (spec->kind != LLMH_STATE_PAGED_KV)
      throw llmh::Error(LLMH_UNIMPLEMENTED, "[cpu] state of slot " + std::to_string(spec->slot) + ": kind " +
                                                std::to_string(spec->kind) + " is not known");
    if (!is_state_dtype(dtype))
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "[cpu] the state's type must be f32, f16, bf16 or q8_0");
    for (const int32_t size : {spec->n_kv_heads, spec->k_head_dim, spec->v_head_dim, page_tokens})
      if (size < 1 || size > kMost)
        throw llmh::Error(LLMH_INVALID_ARGUMENT, "[cpu] state of slot " + std::to_string(spec->slot) +
                                                     ": size " + std::to_string(size) +
                                                     " is not between 1 and 1048576");
    *out = state_page_size(int64_t{spec->n_kv_heads} * spec->k_head_dim,
                           int64_t{spec->n_kv_heads} * spec->v_head_dim, dtype, page_tokens);
  });
}

// --- Programs
// ----------------------------------------------------------------------------------------------------

llmh_status* scratch_bytes(llmh_instance* instance, const llmh_graph* graph, const llmh_limits* limits,
                           uint64_t* out) noexcept {
  return llmh::guard([&] { *out = program_scratch_bytes(*instance, *graph, *limits); });
}

llmh_status* compile(llmh_instance* instance, const llmh_compile_args* args, llmh_program** out) noexcept {
  return llmh::guard([&] {
    auto program = std::make_unique<llmh_program>();
    compile_program(*instance, llmh::copy_struct(*args), *program);
    *out = program.release();
  });
}

void release_program(llmh_instance*, llmh_program* program) noexcept {
  delete program;
}

int32_t run(llmh_program* program, const llmh_step* step, llmh_call* call) noexcept {
  return llmh::guard_code(call, [&] { run_program(*program, llmh::copy_struct(*step), call); });
}

constexpr llmh_backend kBackend = {
    .struct_size = sizeof(llmh_backend),
    .device_count = device_count,
    .device_info = device_info,
    .open = open,
    .close = close,
    .supports = supports,
    .buffer_alloc = buffer_alloc,
    .buffer_free = buffer_free,
    .buffer_map = buffer_map,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .weight_bytes = weight_bytes,
    .prepare_weight = prepare_weight,
    .release_weight = release_weight,
    .state_page_bytes = state_page_bytes,
    .scratch_bytes = scratch_bytes,
    .compile = compile,
    .release_program = release_program,
    .run = run,
    .get_extension = get_extension,
};

}  // namespace
}  // namespace llmhost::cpu

LLMH_DEFINE_PLUGIN(LLMH_KIND_BACKEND, LLMH_BACKEND_INTERFACE, &llmhost::cpu::kBackend);
