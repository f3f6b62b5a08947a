#include "engine/device.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::engine {
namespace {

std::vector<llmh_device_info> list_devices(const llmh_backend& api, const std::string& plugin_id) {
  uint32_t n = 0;
  plugin::check(api.devices(nullptr, 0, &n), "listing devices");
  constexpr uint32_t kMost = 1024;
  if (n > kMost) throw_error(ErrorCode::kInternal, "plugin {}: says it has {} devices", plugin_id, n);
  std::vector<llmh_device_info> devices(n);
  for (llmh_device_info& device : devices) device.struct_size = sizeof(llmh_device_info);
  uint32_t now = n;
  if (n > 0) plugin::check(api.devices(devices.data(), n, &now), "listing devices");
  devices.resize(std::min(n, now));
  return devices;
}

llmh_str to_str(const std::string& text) {
  return {text.data(), text.size()};
}

}  // namespace

Device::Device(const llmh_backend& api, std::string plugin_id, const DeviceOptions& options,
               const llmh_thread_pool* pool)
    : api_(api), plugin_id_(std::move(plugin_id)) {
  const plugin::ControlScope scope(&api, "llmh_backend.open");
  const std::vector<llmh_device_info> devices = list_devices(api, plugin_id_);
  if (options.device >= devices.size())
    throw_error(ErrorCode::kNotFound,
                "backend {}: it has no device {}; set backend.device to a number below {}", plugin_id_,
                options.device, devices.size());
  const llmh_device_info& info = devices[options.device];
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
  args.thread_pool = pool;
  plugin::check(api_.open(&args, &instance_), "opening the device");
}

Device::~Device() {
  const plugin::ControlScope scope(instance_, "llmh_backend.close");
  api_.close(instance_);
}

DeviceBuffer::DeviceBuffer(const Device& device, uint64_t bytes, const char* what)
    : device_(&device), bytes_(bytes) {
  const plugin::ControlScope scope(device.instance(), "llmh_backend.buffer_alloc");
  plugin::check(device.api().buffer_alloc(device.instance(), bytes, &buffer_),
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
