#include "engine/device.h"

#include "core/error.h"
#include "graph/decompose.h"
#include "graph/fuse.h"
#include "graph/reference.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::engine {
namespace {

constexpr std::string_view kReference = "reference";

llmh_str to_str(std::string_view text) {
  return {text.data(), text.size()};
}

// Views into `options`, which must outlive the result.
std::vector<llmh_option> split_options(const std::vector<std::string>& options) {
  std::vector<llmh_option> split;
  for (const std::string_view option : options) {
    const size_t equals = option.find('=');
    if (equals == 0 || equals == std::string_view::npos)
      throw UsageError(fmt::format("backend.options: '{}' is not of the form key=value", option));
    split.push_back({to_str(option.substr(0, equals)), to_str(option.substr(equals + 1))});
  }
  return split;
}

}  // namespace

DeviceOptions device_options(const Settings& settings) {
  return {settings.get_string("backend.name"), static_cast<uint32_t>(settings.get_int("backend.device")),
          static_cast<int32_t>(settings.get_int("engine.threads")), settings.get_list("backend.options")};
}

Device::Device(const plugin::Registry& registry, const DeviceOptions& options)
    : id_(options.backend), pool_(std::make_unique<ThreadPool>(options.threads)) {
  plugin::register_host_extension(LLMH_REFERENCE_EXTENSION, graph::reference_extension());
  backend_ = id_ == kReference ? graph::reference_backend()
                               : &plugin::backend(registry.require(plugin::Kind::kBackend, id_));
  open(options);
}

void Device::open(const DeviceOptions& options) {
  uint32_t n_devices = 0;
  plugin::check(backend_->devices(nullptr, 0, &n_devices));
  if (options.device >= n_devices)
    throw_error(ErrorCode::kUnavailable, "backend '{}' has {} devices, there is no device {}", id_, n_devices,
                options.device);
  std::vector<llmh_device_info> infos(n_devices);
  for (llmh_device_info& info : infos) info.struct_size = sizeof info;
  plugin::check(backend_->devices(infos.data(), n_devices, &n_devices));
  const llmh_str device_name = infos[options.device].name;
  name_.assign(device_name.ptr, device_name.len);

  const std::vector<llmh_option> split = split_options(options.options);
  llmh_open_args args{};
  args.struct_size = sizeof args;
  args.device = options.device;
  args.options = split.data();
  args.n_options = static_cast<uint32_t>(split.size());
  args.thread_pool = pool_->api();
  const plugin::ControlScope scope(backend_, "llmh_backend.open");
  plugin::check(backend_->open(&args, &instance_));
}

Device::~Device() {
  const plugin::ControlScope scope(backend_, "llmh_backend.close");
  backend_->close(instance_);
}

bool Device::supports(const graph::Graph& graph, uint32_t node) const {
  return backend_->supports(instance_, &graph.view(), node) == 1;
}

graph::Graph lower_graph(const model::LoadedModel& model, const Device& device) {
  const auto supports = [&](const graph::Graph& graph, uint32_t node) {
    return device.supports(graph, node);
  };
  return graph::decompose(graph::fuse(model.graph(), supports), supports);
}

}  // namespace llmhost::engine
