// A llmh_host of another age: an older minor, or a struct with fields that this SDK does not know.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "llmhost/plugin.h"

namespace llmhost::check {

class OddHost {
 public:
  static constexpr size_t kMaxExtra = 128;

  // `extra` bytes of unknown fields behind the known ones. Offers no extension.
  OddHost(std::string plugin_id, uint32_t minor, size_t extra);
  OddHost(const OddHost&) = delete;
  OddHost& operator=(const OddHost&) = delete;

  const llmh_host* get() const { return &table_.base; }
  void check_untouched() const;  // throws when somebody wrote behind the known fields

 private:
  struct Table {
    llmh_host base;
    std::array<std::byte, kMaxExtra> unknown;
    const OddHost* owner;
  };
  static llmh_status* status_new(const llmh_host* host, int32_t code, llmh_str message);

  std::string id_;
  Table table_{};
};

}  // namespace llmhost::check
