#include "train/logs/tensorboard_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace llmhost::train {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, bits reversed
constexpr uint32_t kMaskDelta = 0xA282EAD8;   // so that a checksum of checksums is none

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
    table.at(i) = value;
  }
  return table;
}

template <typename T>
void append_fixed(std::string& out, T value) {  // little endian
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void append_key(std::string& out, uint64_t field, WireType type) {
  append_varint(out, field << 3 | type);
}

void append_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  append_key(out, field, kBytes);
  append_varint(out, bytes.size());
  out += bytes;
}

// Event: 1 wall_time double, 2 step int64.
std::string event_at(int64_t step) {
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::string event;
  append_key(event, 1, kFixed64);
  append_fixed(event, std::bit_cast<uint64_t>(now));
  append_key(event, 2, kVarint);
  append_varint(event, static_cast<uint64_t>(step));
  return event;
}

uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + kMaskDelta;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = make_table();
  uint32_t crc = ~uint32_t{0};
  for (const char c : bytes) crc = (crc >> 8) ^ kTable.at((crc ^ static_cast<uint8_t>(c)) & 0xFF);
  return ~crc;
}

TensorBoardFile::TensorBoardFile(std::filesystem::path folder) : folder_(std::move(folder)) {}

TensorBoardFile::~TensorBoardFile() {
  if (file_ != nullptr) std::fclose(file_);
}

void TensorBoardFile::on_start(int64_t /*done_steps*/, int64_t /*n_steps*/) {
  std::error_code failed;
  std::filesystem::create_directories(folder_, failed);
  if (failed)
    throw_error(ErrorCode::kUnavailable, "{}: the folder of log.tensorboard cannot be made: {}",
                folder_.string(), failed.message());
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  path_ = folder_ / fmt::format("events.out.tfevents.{}.{}",
                                std::chrono::duration_cast<std::chrono::microseconds>(now).count(), getpid());
  file_ = std::fopen(path_.c_str(), "wb");
  if (file_ == nullptr)
    throw_error(ErrorCode::kUnavailable, "{}: cannot be written: {}", path_.string(), std::strerror(errno));
  std::string event = event_at(0);
  append_bytes(event, 3, "brain.Event:2");  // file_version
  write_record(event);
}

void TensorBoardFile::on_step(const StepEvent& step) {
  add(step.step, "loss", step.loss);
  add(step.step, "grad_norm", step.grad_norm);
  add(step.step, "lr", step.lr);
  add(step.step, "tokens_per_s", step.tokens_per_s);
}

void TensorBoardFile::on_eval(const EvalEvent& eval) {
  add(eval.step, "eval/loss", eval.loss);
}

// Event.summary (5) { value (1) { tag (1), simple_value (2) float } }
void TensorBoardFile::add(int64_t step, std::string_view tag, double value) {
  std::string scalar;
  append_bytes(scalar, 1, tag);
  append_key(scalar, 2, kFixed32);
  append_fixed(scalar, std::bit_cast<uint32_t>(static_cast<float>(value)));
  std::string summary;
  append_bytes(summary, 1, scalar);
  std::string event = event_at(step);
  append_bytes(event, 5, summary);
  write_record(event);
}

void TensorBoardFile::write_record(const std::string& data) {
  if (file_ == nullptr) return;
  std::string record;
  append_fixed(record, static_cast<uint64_t>(data.size()));
  append_fixed(record, masked_crc(record));
  record += data;
  append_fixed(record, masked_crc(data));
  if (std::fwrite(record.data(), 1, record.size(), file_) != record.size() || std::fflush(file_) != 0)
    throw_error(ErrorCode::kUnavailable, "{}: cannot be written: {}", path_.string(), std::strerror(errno));
}

}  // namespace llmhost::train
