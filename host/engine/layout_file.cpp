#include "engine/layout_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "core/error.h"

namespace llmhost::engine {
namespace {

constexpr char kMagic[8] = {'L', 'L', 'M', 'H', 'W', 'L', 'A', 'Y'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kAlignment = 4096;
constexpr uint64_t kPiece = uint64_t{1} << 20;  // of a checksum, one thread's work

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t n_entries;
  uint64_t identity[2];
  uint64_t file_bytes;
  uint64_t index_checksum;
  uint64_t header_checksum;  // of the fields above
};

// Every step is a bijection of its lane, so no single changed word goes unnoticed; not meant against intent.
uint64_t digest(const void* data, size_t size, uint64_t seed) {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
  constexpr size_t kLanes = 8;
  uint64_t lanes[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = (seed + i + 1) * kOdd;
  const auto mix = [](uint64_t lane, uint64_t word) { return std::rotl((lane ^ word) * kOdd, 29); };
  const auto* bytes = static_cast<const unsigned char*>(data);
  size_t at = 0;
  for (; at + sizeof lanes <= size; at += sizeof lanes)
    for (size_t i = 0; i < kLanes; ++i) {
      uint64_t word = 0;
      std::memcpy(&word, bytes + at + i * sizeof word, sizeof word);
      lanes[i] = mix(lanes[i], word);
    }
  uint64_t result = mix(seed, size);
  for (const uint64_t lane : lanes) result = mix(result, lane);
  for (; at < size; ++at) result = mix(result, bytes[at]);
  return (result ^ (result >> 32)) * kOdd;
}

// Of many pieces at once; the same with any number of threads.
uint64_t checksum(std::span<const std::byte> bytes, const llmh_thread_pool* pool) {
  std::vector<uint64_t> pieces((bytes.size() + kPiece - 1) / kPiece);
  const auto one = [&](int64_t i, int32_t) {
    const auto begin = static_cast<uint64_t>(i) * kPiece;
    pieces[static_cast<size_t>(i)] =
        digest(bytes.data() + begin, std::min<uint64_t>(kPiece, bytes.size() - begin), 0);
  };
  if (pool == nullptr) {
    for (size_t i = 0; i < pieces.size(); ++i) one(static_cast<int64_t>(i), 0);
  } else {
    pool->parallel_for(
        pool, static_cast<int64_t>(pieces.size()),
        [](void* context, int64_t item, int32_t thread) {
          (*static_cast<decltype(one)*>(context))(item, thread);
        },
        const_cast<void*>(static_cast<const void*>(&one)));
  }
  return digest(pieces.data(), pieces.size() * sizeof(uint64_t), bytes.size());
}

void hash_text(std::string_view text, uint64_t (&out)[2]) {
  for (uint64_t i = 0; i < 2; ++i) out[i] = digest(text.data(), text.size(), i + 1);
}

uint64_t header_checksum(const Header& header) {
  return digest(&header, offsetof(Header, header_checksum), 3);
}

uint64_t index_checksum(std::span<const LayoutFile::Entry> entries) {
  return digest(entries.data(), entries.size_bytes(), 4);
}

uint64_t aligned(uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

// A write beyond a limit of file sizes then fails instead of ending the process.
class NoFileSizeSignal {
 public:
  NoFileSizeSignal() {
    sigemptyset(&signal_);
    sigaddset(&signal_, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signal_, &before_);
  }
  ~NoFileSizeSignal() {
    const timespec now{};
    while (sigtimedwait(&signal_, nullptr, &now) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoFileSizeSignal(const NoFileSizeSignal&) = delete;
  NoFileSizeSignal& operator=(const NoFileSizeSignal&) = delete;

 private:
  sigset_t signal_;
  sigset_t before_;
};

// A temporary file beside the final one, gone unless it has replaced it.
class NewFile {
 public:
  explicit NewFile(const std::filesystem::path& path) : path_(path), name_(path.string() + ".XXXXXX") {
    fd_ = ::mkostemp(name_.data(), O_CLOEXEC);
    if (fd_ < 0) fail("create a temporary file beside");
  }
  ~NewFile() {
    ::close(fd_);
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(const void* data, uint64_t size, uint64_t offset) {
    const auto* bytes = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t n = ::pwrite(fd_, bytes, size, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail("write");
      bytes += n;
      size -= static_cast<uint64_t>(n);
      offset += static_cast<uint64_t>(n);
    }
  }

  void replace(uint64_t file_bytes) {
    if (::ftruncate(fd_, static_cast<off_t>(file_bytes)) != 0) fail("write");
    if (::fsync(fd_) != 0) fail("sync");
    if (::rename(name_.c_str(), path_.c_str()) != 0) fail("replace");
    name_.clear();
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw_error(ErrorCode::kUnknown, "{}: cannot {}: {}", path_.string(), what, std::strerror(errno));
  }

  std::filesystem::path path_;
  std::string name_;
  int fd_ = -1;
};

// Held until destroyed or the process ends.
class WriteLock {
 public:
  explicit WriteLock(const std::string& path)
      : fd_(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)) {
    if (fd_ < 0) throw_error(ErrorCode::kUnknown, "{}: cannot create: {}", path, std::strerror(errno));
    held_ = ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
  }
  ~WriteLock() { ::close(fd_); }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;
  bool held() const { return held_; }

 private:
  int fd_;
  bool held_ = false;
};

}  // namespace

LayoutFile::LayoutFile(const std::filesystem::path& path, std::string_view identity,
                       const llmh_thread_pool* pool)
    : file_(path), pool_(pool) {
  const std::span<const std::byte> bytes = file_.bytes();
  Header header{};
  if (bytes.size() < sizeof header) refuse("is cut off");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) refuse("is no file of laid out weights");
  if (header.version != kVersion) refuse("has another version");
  if (header.header_checksum != header_checksum(header)) refuse("is damaged");
  uint64_t wanted[2];
  hash_text(identity, wanted);
  if (header.identity[0] != wanted[0] || header.identity[1] != wanted[1])
    refuse("was made for another model or program");
  if (header.file_bytes != bytes.size()) refuse("is cut off");
  if (header.n_entries > (bytes.size() - sizeof header) / sizeof(Entry)) refuse("is damaged");
  entries_.resize(header.n_entries);
  if (!entries_.empty())
    std::memcpy(entries_.data(), bytes.data() + sizeof header, entries_.size() * sizeof(Entry));
  if (header.index_checksum != index_checksum(entries_)) refuse("is damaged");
  for (const Entry& entry : entries_)
    if (entry.offset % kAlignment != 0 || entry.offset > bytes.size() ||
        entry.bytes > bytes.size() - entry.offset)
      refuse("is damaged");
}

void LayoutFile::refuse(std::string_view why) const {
  throw_error(ErrorCode::kDataLoss, "{}: {}", file_.path().string(), why);
}

std::optional<std::span<const std::byte>> LayoutFile::find(std::string_view key) const {
  uint64_t wanted[2];
  hash_text(key, wanted);
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& candidate) {
    return candidate.key[0] == wanted[0] && candidate.key[1] == wanted[1];
  });
  if (entry == entries_.end()) return std::nullopt;
  const std::span<const std::byte> bytes = file_.bytes().subspan(entry->offset, entry->bytes);
  expect_mapped(bytes);
  if (checksum(bytes, pool_) != entry->checksum) refuse("is damaged");
  return bytes;
}

bool write_layout_file(const std::filesystem::path& path, std::string_view identity,
                       std::span<const LaidOutWeight> weights, const llmh_thread_pool* pool) {
  const WriteLock lock(path.string() + ".lock");
  if (!lock.held()) return false;
  const NoFileSizeSignal no_signal;
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.n_entries = static_cast<uint32_t>(weights.size());
  hash_text(identity, header.identity);
  NewFile file(path);
  std::vector<LayoutFile::Entry> entries(weights.size());
  uint64_t end = sizeof header + entries.size() * sizeof(LayoutFile::Entry);
  for (size_t i = 0; i < weights.size(); ++i) {
    LayoutFile::Entry& entry = entries[i];
    hash_text(weights[i].key, entry.key);
    entry.offset = aligned(end);
    entry.bytes = weights[i].bytes.size();
    entry.checksum = checksum(weights[i].bytes, pool);
    file.write(weights[i].bytes.data(), entry.bytes, entry.offset);
    end = entry.offset + entry.bytes;
  }
  header.file_bytes = end;
  header.index_checksum = index_checksum(entries);
  header.header_checksum = header_checksum(header);
  file.write(&header, sizeof header, 0);
  file.write(entries.data(), entries.size() * sizeof(LayoutFile::Entry), sizeof header);
  file.replace(end);
  return true;
}

}  // namespace llmhost::engine
