// The built-in backend: simple_backend.hpp with no ops of its own.
#include "graph/reference.h"
#include "llmhost/simple_backend.hpp"
#include "plugin/host_table.h"

namespace llmhost::graph {
namespace {

const llmh::SimpleBackend& reference_device() {
  static const llmh::SimpleBackend device("reference", {}, reference_extension(), reference_adapters());
  return device;
}

}  // namespace

const llmh_backend* reference_backend() {
  // Never destroyed, as a plugin's host table.
  static const auto* host = [] {
    const auto* table = new plugin::HostTable("reference", LLMH_SDK_MINOR);
    llmh::set_host(table);
    return table;
  }();
  static_cast<void>(host);
  return llmh::SimpleBackendTable<reference_device>::get();
}

}  // namespace llmhost::graph
