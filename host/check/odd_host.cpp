#include "check/odd_host.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "plugin/status.h"

namespace llmhost::check {
namespace {

// No pointer and no sensible number.
constexpr std::byte kFill{0xA5};

void drop_log(const llmh_host*, int32_t, llmh_str) {}
const void* no_extension(const llmh_host*, llmh_str) {
  return nullptr;
}

}  // namespace

OddHost::OddHost(std::string plugin_id, uint32_t minor, size_t extra) : id_(std::move(plugin_id)) {
  table_.base = {static_cast<uint32_t>(sizeof(llmh_host) + extra), minor, &status_new, &drop_log,
                 &no_extension};
  table_.unknown.fill(kFill);
  table_.owner = this;
}

llmh_status* OddHost::status_new(const llmh_host* host, int32_t code, llmh_str message) {
  const OddHost& self = *reinterpret_cast<const Table*>(host)->owner;
  const std::string_view text =
      message.ptr == nullptr ? std::string_view() : std::string_view(message.ptr, message.len);
  return plugin::new_status(self.id_, code, text);
}

void OddHost::check_untouched() const {
  if (!std::all_of(table_.unknown.begin(), table_.unknown.end(), [](std::byte b) { return b == kFill; }))
    throw_error(ErrorCode::kInternal, "wrote behind the fields of llmh_host that it knows");
}

}  // namespace llmhost::check
