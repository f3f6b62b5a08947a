// A file of weights as a backend has laid them out. Written once, then mapped: shared by all processes.
//
// Header, index, then the weights at multiples of 4096, little-endian. Each part has a checksum; a weight's
// is checked when it is asked for. A file of another version, of another model or with other bytes than were
// written is refused as a whole (kDataLoss), never used in part without notice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "llmhost/plugin.h"

namespace llmhost::engine {

struct LaidOutWeight {
  std::string key;  // whatever the bytes depend on
  std::span<const std::byte> bytes;
};

class LayoutFile {
 public:
  // `identity` is what the file has to have been written for. `pool` may be null and must outlive it.
  LayoutFile(const std::filesystem::path& path, std::string_view identity, const llmh_thread_pool* pool);

  // Checked; nothing when the file has no such weight. Valid as long as this.
  std::optional<std::span<const std::byte>> find(std::string_view key) const;

  struct Entry {
    uint64_t key[2];
    uint64_t offset;
    uint64_t bytes;
    uint64_t checksum;
  };

 private:
  [[noreturn]] void refuse(std::string_view why) const;

  MappedFile file_;
  std::vector<Entry> entries_;
  const llmh_thread_pool* pool_;
};

// Beside the file first, then in its place: readers see the old one or the whole new one. Does nothing and
// returns false while another process writes it. Throws when it cannot be written, and leaves nothing behind.
bool write_layout_file(const std::filesystem::path& path, std::string_view identity,
                       std::span<const LaidOutWeight> weights, const llmh_thread_pool* pool);

}  // namespace llmhost::engine
