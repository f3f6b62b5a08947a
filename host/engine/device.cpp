#include "engine/device.h"

#include <fmt/format.h>

#include "core/error.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::engine {
namespace {

llmh_device_info describe_device(const llmh_backend& api, const std::string& plugin_id, uint32_t index) {
  uint32_t n = 0;
  plugin::check(api.device_count(&n), "counting devices");
  if (index >= n)
    throw_error(ErrorCode::kNotFound,
                "backend {}: it has no device {}; set backend.device to a number below {}", plugin_id, index,
                n);
  llmh_device_info info{};
  info.struct_size = sizeof(info);
  plugin::check(api.device_info(index, &info), "describing the device");
  return info;
}

llmh_str to_str(const std::string& text) {
  return {text.data(), text.size()};
}

}  // namespace

Device::Device(const llmh_backend& api, std::string plugin_id, const DeviceOptions& options,
               const llmh_thread_pool* pool)
    : api_(api), plugin_id_(std::move(plugin_id)), pool_(pool), weight_cache_(options.weight_cache) {
  const plugin::ControlScope scope(&api, "llmh_backend.open");
  const llmh_device_info info = describe_device(api, plugin_id_, options.device);
  if (info.name.ptr != nullptr) name_.assign(info.name.ptr, static_cast<size_t>(info.name.len));
  host_visible_ = info.host_visible != 0;
  memory_free_ = info.memory_free;
  std::vector<llmh_option> list;
  for (const auto& [key, value] : options.options) list.push_back({to_str(key), to_str(value)});
  llmh_open_args args{};
  args.struct_size = sizeof(args);
  args.device = options.device;
  args.options = list.data();
  args.n_options = static_cast<uint32_t>(list.size());
  args.precision = options.precision;
  args.thread_pool = pool;
  plugin::check(api_.open(&args, &instance_), "opening the device");
}

Device::~Device() {
  const plugin::ControlScope scope(instance_, "llmh_backend.close");
  api_.close(instance_);
}

const llmh_adapters& require_adapters(const Device& device) {
  const void* const table =
      device.api().get_extension == nullptr
          ? nullptr
          : device.api().get_extension({LLMH_ADAPTERS_EXTENSION, sizeof LLMH_ADAPTERS_EXTENSION - 1});
  if (table == nullptr)
    throw_error(ErrorCode::kUnimplemented, "backend '{}' runs no adapters; choose another with backend.name",
                device.plugin_id());
  const auto& api = *static_cast<const llmh_adapters*>(table);
  const bool is_whole = LLMH_HAS(&api, release_adapter) && api.adapter_bytes != nullptr &&
                        api.prepare_adapter != nullptr && api.release_adapter != nullptr;
  if (!is_whole)
    throw_error(ErrorCode::kInternal, "backend '{}': its table for adapters is incomplete",
                device.plugin_id());
  return api;
}

DeviceBuffer::DeviceBuffer(const Device& device, uint64_t bytes, uint32_t uses, const char* what)
    : device_(&device), bytes_(bytes) {
  const plugin::ControlScope scope(device.instance(), "llmh_backend.buffer_alloc");
  const llmh_buffer_args args{sizeof(args), uses, bytes};
  plugin::check(device.api().buffer_alloc(device.instance(), &args, &buffer_),
                fmt::format("allocating {} bytes for the {}", bytes, what));
}

DeviceBuffer::~DeviceBuffer() {
  if (buffer_ == nullptr) return;
  const plugin::ControlScope scope(device_->instance(), "llmh_backend.buffer_free");
  device_->api().buffer_free(device_->instance(), buffer_);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : device_(other.device_), buffer_(std::exchange(other.buffer_, nullptr)), bytes_(other.bytes_) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(buffer_, other.buffer_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void* DeviceBuffer::map() const {
  return device_->api().buffer_map(device_->instance(), buffer_);
}

void DeviceBuffer::make_resident() const {
  auto* bytes = static_cast<volatile char*>(map());
  if (bytes == nullptr) return;
  constexpr uint64_t kPage = 4096;
  for (uint64_t offset = 0; offset < bytes_; offset += kPage) bytes[offset] = 0;  // zeroed memory stays zero
}

}  // namespace llmhost::engine
