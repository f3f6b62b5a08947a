// Typed access to a plugin's main interface, checked once before anybody calls through it.
#include <array>
#include <cstddef>
#include <cstring>
#include <span>

#include "core/error.h"
#include "plugin/plugin.h"

namespace llmhost::plugin {
namespace {

// A function that every table of the interface must have.
struct Slot {
  const char* name;
  size_t offset;
};

#define LLMHOST_SLOT(table, function)    \
  Slot {                                 \
#function, offsetof(table, function) \
  }

constexpr std::array kArchSlots = {
    LLMHOST_SLOT(llmh_arch, match),    LLMHOST_SLOT(llmh_arch, open),  LLMHOST_SLOT(llmh_arch, close),
    LLMHOST_SLOT(llmh_arch, describe), LLMHOST_SLOT(llmh_arch, names), LLMHOST_SLOT(llmh_arch, build),
};
constexpr std::array kBackendSlots = {
    LLMHOST_SLOT(llmh_backend, device_count),
    LLMHOST_SLOT(llmh_backend, device_info),
    LLMHOST_SLOT(llmh_backend, open),
    LLMHOST_SLOT(llmh_backend, close),
    LLMHOST_SLOT(llmh_backend, supports),
    LLMHOST_SLOT(llmh_backend, buffer_alloc),
    LLMHOST_SLOT(llmh_backend, buffer_free),
    LLMHOST_SLOT(llmh_backend, buffer_map),
    LLMHOST_SLOT(llmh_backend, buffer_write),
    LLMHOST_SLOT(llmh_backend, buffer_read),
    LLMHOST_SLOT(llmh_backend, weight_bytes),
    LLMHOST_SLOT(llmh_backend, prepare_weight),
    LLMHOST_SLOT(llmh_backend, release_weight),
    LLMHOST_SLOT(llmh_backend, state_page_bytes),
    LLMHOST_SLOT(llmh_backend, scratch_bytes),
    LLMHOST_SLOT(llmh_backend, compile),
    LLMHOST_SLOT(llmh_backend, release_program),
    LLMHOST_SLOT(llmh_backend, run),
};
constexpr std::array kFinetuneSlots = {
    LLMHOST_SLOT(llmh_finetune, schema),      LLMHOST_SLOT(llmh_finetune, open),
    LLMHOST_SLOT(llmh_finetune, close),       LLMHOST_SLOT(llmh_finetune, select),
    LLMHOST_SLOT(llmh_finetune, rewrite),     LLMHOST_SLOT(llmh_finetune, file_name),
    LLMHOST_SLOT(llmh_finetune, config_json),
};

template <typename Table>
const Table& checked(Plugin& plugin, Kind kind, std::string_view interface_id, size_t minimum,
                     std::span<const Slot> slots) {
  if (plugin.kind() != kind)
    throw_error(ErrorCode::kInvalidArgument, "plugin {} ({}): is of kind {}, one of kind {} is needed",
                plugin.id(), plugin.path().string(), kind_name(plugin.kind()), kind_name(kind));
  const auto* table = static_cast<const Table*>(plugin.extension(interface_id));
  if (table == nullptr)
    throw_error(ErrorCode::kFailedPrecondition, "plugin {} ({}): does not offer the interface {}",
                plugin.id(), plugin.path().string(), interface_id);
  if (table->struct_size < minimum)
    throw_error(ErrorCode::kFailedPrecondition,
                "plugin {} ({}): its table {} has {} bytes, at least {} are needed", plugin.id(),
                plugin.path().string(), interface_id, table->struct_size, minimum);
  for (const Slot& slot : slots) {
    void (*function)() = nullptr;
    std::memcpy(&function, reinterpret_cast<const char*>(table) + slot.offset, sizeof(function));
    if (function == nullptr)
      throw_error(ErrorCode::kFailedPrecondition, "plugin {} ({}): its table {} has no function '{}'",
                  plugin.id(), plugin.path().string(), interface_id, slot.name);
  }
  return *table;
}

// Where a table of minor 0 ends.
template <typename Field>
constexpr size_t end_of(size_t offset) {
  return offset + sizeof(Field);
}

}  // namespace

const llmh_arch& arch(Plugin& plugin) {
  return checked<llmh_arch>(plugin, Kind::kArch, LLMH_ARCH_INTERFACE,
                            end_of<decltype(llmh_arch::build)>(offsetof(llmh_arch, build)), kArchSlots);
}

const llmh_backend& backend(Plugin& plugin) {
  return checked<llmh_backend>(
      plugin, Kind::kBackend, LLMH_BACKEND_INTERFACE,
      end_of<decltype(llmh_backend::get_extension)>(offsetof(llmh_backend, get_extension)), kBackendSlots);
}

const llmh_finetune& finetune(Plugin& plugin) {
  return checked<llmh_finetune>(
      plugin, Kind::kFinetune, LLMH_FINETUNE_INTERFACE,
      end_of<decltype(llmh_finetune::config_json)>(offsetof(llmh_finetune, config_json)), kFinetuneSlots);
}

}  // namespace llmhost::plugin
