// An opened device of a backend plugin, and what is made on it: owners that give everything back in the right
// order. Functions [control] unless they say otherwise.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "llmhost/backend.h"

namespace llmhost::engine {

struct DeviceOptions {
  uint32_t device = 0;
  uint32_t precision = LLMH_PRECISION_F32;
  std::vector<std::pair<std::string, std::string>> options;  // the backend's own, from the config
  std::string weight_cache;  // folder for weights in the device's layout; empty: none is kept
};

class Device {
 public:
  // `pool` may be null (the backend runs on the caller) and must outlive the device. Throws when the backend
  // has no such device or refuses an option.
  Device(const llmh_backend& api, std::string plugin_id, const DeviceOptions& options,
         const llmh_thread_pool* pool);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const llmh_backend& api() const { return api_; }
  llmh_instance* instance() const { return instance_; }
  const std::string& plugin_id() const { return plugin_id_; }
  const std::string& name() const { return name_; }  // of the device, as the backend calls it
  const llmh_thread_pool* pool() const { return pool_; }
  const std::string& weight_cache() const { return weight_cache_; }  // as in the options
  bool host_visible() const { return host_visible_; }
  uint64_t memory_free() const { return memory_free_; }  // when it was opened; 0: unknown

 private:
  const llmh_backend& api_;
  std::string plugin_id_;
  std::string name_;
  const llmh_thread_pool* pool_;
  std::string weight_cache_;
  bool host_visible_ = false;
  uint64_t memory_free_ = 0;
  llmh_instance* instance_ = nullptr;
};

// The backend's functions for adapters, checked. Throws kUnimplemented, naming the backend, when it has none.
// [thread-safe]
const llmh_adapters& require_adapters(const Device& device);

// Memory on a device; zeroed. The device must outlive it.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // `uses` is LLMH_BUFFER_*; `what` it holds is for the error.
  DeviceBuffer(const Device& device, uint64_t bytes, uint32_t uses, const char* what);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;

  llmh_range range(uint64_t offset, uint64_t bytes) const { return {buffer_, offset, bytes}; }
  llmh_range whole() const { return {buffer_, 0, bytes_}; }
  uint64_t bytes() const { return bytes_; }
  llmh_buffer* get() const { return buffer_; }
  // For the CPU, or null when the device's memory is not host visible.
  void* map() const;
  // Takes the pages of host-visible memory now rather than when they are first written.
  void make_resident() const;

 private:
  const Device* device_ = nullptr;
  llmh_buffer* buffer_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace llmhost::engine
