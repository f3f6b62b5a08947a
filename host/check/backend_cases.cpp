// A backend without a model: devices, buffers, what it must refuse.
#include <algorithm>
#include <cstring>

#include "check/cases.h"
#include "check/child.h"
#include "check/op_suite.h"
#include "check/training_suite.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "graph/graph.h"
#include "graph/reference.h"
#include "plugin/status.h"

namespace llmhost::check {
namespace {

const llmh_backend& backend_of(const Subject& subject) {
  static const auto registry = own_registry(subject);
  plugin::register_host_extension(LLMH_REFERENCE_EXTENSION, graph::reference_extension());
  return plugin::backend(registry->require(plugin::Kind::kBackend, subject.manifest.id));
}

uint32_t devices(const llmh_backend& backend) {
  at("device_count");
  uint32_t n = 0;
  plugin::check(backend.device_count(&n), "device_count");
  return n;
}

void want_device(const llmh_backend& backend) {
  if (devices(backend) == 0) throw Skipped{"no device of this backend is there"};
}

// An opened device; without a pool, on the calling thread.
class Opened {
 public:
  Opened(const llmh_backend& backend, const llmh_option* options, uint32_t n_options) : backend_(backend) {
    at("open");
    llmh_open_args args{};
    args.struct_size = sizeof args;
    args.options = options;
    args.n_options = n_options;
    plugin::check(backend.open(&args, &instance_), "open");
  }
  ~Opened() {
    at("close");
    backend_.close(instance_);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  llmh_instance* get() const { return instance_; }

 private:
  const llmh_backend& backend_;
  llmh_instance* instance_ = nullptr;
};

std::string device_info(const Subject& subject) {
  const llmh_backend& backend = backend_of(subject);
  const uint32_t n = devices(backend);
  std::string first;
  for (uint32_t i = 0; i < n; ++i) {
    struct {
      llmh_device_info info{};
      char canary[64] = {};
    } room;
    room.info.struct_size = sizeof room.info;
    at(fmt::format("device_info of {}", i));
    plugin::check(backend.device_info(i, &room.info), "device_info");
    if (room.info.name.len == 0) throw_error(ErrorCode::kInternal, "device {} has no name", i);
    if (std::any_of(std::begin(room.canary), std::end(room.canary), [](char c) { return c != 0; }))
      throw_error(ErrorCode::kInternal, "device_info wrote beyond the struct_size that it was given");
    if (i == 0) first = std::string(room.info.name.ptr, room.info.name.len);
  }
  llmh_device_info info{};
  info.struct_size = sizeof info;
  at("device_info of a device that is not there");
  llmh_status* status = backend.device_info(n + 7, &info);
  if (status == nullptr) throw_error(ErrorCode::kInternal, "device_info describes device {} of {}", n + 7, n);
  plugin::take_error(status);
  return fmt::format("{} devices {}", n, first);
}

std::string open_close(const Subject& subject) {
  const llmh_backend& backend = backend_of(subject);
  want_device(backend);
  {
    const Opened first(backend, nullptr, 0);
    const Opened second(backend, nullptr, 0);
  }
  const llmh_option option{LLMH_STR("no_such_option_of_any_backend"), LLMH_STR("1")};
  bool refused = false;
  try {
    const Opened third(backend, &option, 1);
  } catch (const Error&) {
    refused = true;
  }
  if (!refused) throw_error(ErrorCode::kInternal, "open takes an option that it cannot know");
  return {};
}

void check_buffer(const llmh_backend& backend, llmh_instance* instance, uint64_t bytes) {
  llmh_buffer_args args{sizeof(llmh_buffer_args), LLMH_BUFFER_STATE, bytes};
  llmh_buffer* buffer = nullptr;
  at(fmt::format("buffer_alloc of {} bytes", bytes));
  plugin::check(backend.buffer_alloc(instance, &args, &buffer), "buffer_alloc");
  std::vector<char> data(bytes, 'x');
  at("buffer_read");
  if (bytes > 0) plugin::check(backend.buffer_read(instance, buffer, 0, data.data(), bytes), "buffer_read");
  if (std::any_of(data.begin(), data.end(), [](char c) { return c != 0; }))
    throw_error(ErrorCode::kInternal, "a new buffer of {} bytes is not zeroed", bytes);
  if (bytes >= 4) {
    const char some[3] = {'a', 'b', 'c'};
    char back[3] = {};
    at("buffer_write");
    plugin::check(backend.buffer_write(instance, buffer, bytes - 3, some, 3), "buffer_write");
    plugin::check(backend.buffer_read(instance, buffer, bytes - 3, back, 3), "buffer_read");
    if (std::memcmp(some, back, 3) != 0)
      throw_error(ErrorCode::kInternal, "a buffer gives back other bytes than were written");
  }
  const void* mapped = backend.buffer_map(instance, buffer);
  if (bytes > 0 && mapped != nullptr && reinterpret_cast<uintptr_t>(mapped) % 256 != 0)
    throw_error(ErrorCode::kInternal, "a buffer is not aligned to 256 bytes");
  at("buffer_free");
  backend.buffer_free(instance, buffer);
}

std::string buffers(const Subject& subject) {
  const llmh_backend& backend = backend_of(subject);
  want_device(backend);
  const Opened device(backend, nullptr, 0);
  for (const uint64_t bytes : std::initializer_list<uint64_t>{0, 1, 3, 4, 256, 4097, 1 << 20})
    check_buffer(backend, device.get(), bytes);
  return {};
}

// An op and an attribute value of a newer host, whose evaluator leaves everything to the backend.
std::string unknown_nodes(const Subject& subject) {
  const llmh_backend& backend = backend_of(subject);
  static const llmh_reference kRunsNothing{sizeof(llmh_reference), [](llmh_op) { return int32_t{0}; },
                                           graph::reference_extension()->eval,
                                           graph::reference_extension()->state_page_bytes};
  plugin::register_host_extension(LLMH_REFERENCE_EXTENSION, &kRunsNothing);
  want_device(backend);
  const Opened device(backend, nullptr, 0);
  graph::Graph graph;
  const llmh_tensor x =
      graph.add_placeholder({LLMH_DTYPE_F32, {graph::symbol_dim(LLMH_DIM_TOKENS), graph::constant_dim(8)}});
  auto attrs = graph::make_attrs<llmh_activation_attrs>();
  attrs.kind = LLMH_ACT_SILU;
  graph.add_node(LLMH_OP_ACTIVATION, "", std::vector{x}, &attrs, sizeof attrs);
  llmh_node node = graph.node(0);
  const llmh_node* const nodes[] = {&node};
  llmh_graph view = graph.view();
  view.nodes = nodes;
  at("supports, of a known op");
  const int32_t known = backend.supports(device.get(), &view, 0);
  if (known != 0 && known != 1) throw_error(ErrorCode::kInternal, "supports gives {}, not 0 or 1", known);
  llmh_activation_attrs other = attrs;
  other.kind = 30'000;
  node.attrs = &other;
  at("supports, of an activation of a newer host");
  if (backend.supports(device.get(), &view, 0) != 0)
    throw_error(ErrorCode::kInternal, "supports accepts an activation that it cannot know");
  node.attrs = &attrs;
  for (const llmh_op op : {30'000, -1, 0}) {
    node.op = op;
    at(fmt::format("supports, of op {}", op));
    if (backend.supports(device.get(), &view, 0) != 0)
      throw_error(ErrorCode::kInternal, "supports accepts op {}, which it cannot know", op);
  }
  return {};
}

}  // namespace

void add_backend_cases(const Subject& subject, Cases& cases) {
  const auto add = [&](const char* name, std::string (*run)(const Subject&)) {
    cases.push_back({name, [&subject, run] { return run(subject); }});
  };
  add("backend.devices", &device_info);
  add("backend.open", &open_close);
  add("backend.buffers", &buffers);
  add("backend.unknown_nodes", &unknown_nodes);
  for (const OpCase& op : all_op_cases())
    cases.push_back({std::string("op.") + op.name, [&subject, &op] {
                       want_device(backend_of(subject));
                       return run_op_case(op, backend_of(subject), subject.manifest.id);
                     }});
  for (const TrainingCase& op : all_training_cases())
    cases.push_back({std::string("training.") + op.name, [&subject, &op] {
                       want_device(backend_of(subject));
                       return run_training_case(op, backend_of(subject), subject.manifest.id);
                     }});
}

}  // namespace llmhost::check
