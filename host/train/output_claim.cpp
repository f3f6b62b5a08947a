#include "train/output_claim.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "core/error.h"
#include "core/progress.h"
#include "engine/adapter_folder.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLockFile = "lock";

bool holds_result(const fs::path& output) {
  return fs::exists(output / engine::kAdapterConfigFile) || fs::exists(output / "config.json");
}

void refuse_base_folder(const Job& job) {
  std::error_code absent;
  const fs::path base = fs::is_directory(job.model, absent) ? job.model : job.model.parent_path();
  if (fs::equivalent(job.output, base.empty() ? "." : base, absent))
    throw_error(ErrorCode::kAlreadyExists, "{}: is the folder of the base model; name another output folder",
                job.output.string());
}

// A killed run that is to be gone on with leaves at least the folder of its checkpoints.
void refuse_other_run(const Job& job, const CheckpointFolder& checkpoints, bool resume) {
  const bool has_result = holds_result(job.output);
  if (resume && has_result && !fs::exists(checkpoints.path()))
    throw_error(
        ErrorCode::kAlreadyExists,
        "{}: holds an adapter or a model that no run with checkpoints made; train into another output "
        "folder",
        job.output.string());
  if (!resume && (has_result || checkpoints.exists()))
    throw_error(ErrorCode::kAlreadyExists,
                "{}: holds {} already; go on with --resume, or train into another output folder",
                job.output.string(), has_result ? "what a run made" : "checkpoints of a run");
}

void refuse_small_disk(const fs::path& output, uint64_t bytes) {
  std::error_code unknown;
  fs::path there = fs::absolute(output);
  while (!fs::exists(there, unknown) && there.has_relative_path()) there = there.parent_path();
  const fs::space_info space = fs::space(there, unknown);
  if (!unknown && space.capacity > 0 && space.available < bytes)
    throw_error(ErrorCode::kResourceExhausted, "{}: a checkpoint and the result take {}, {} are free there",
                output.string(), format_bytes(bytes), format_bytes(space.available));
}

}  // namespace

OutputClaim::OutputClaim(const Job& job, const CheckpointFolder& checkpoints, bool resume, uint64_t bytes)
    : output_(job.output), folder_(checkpoints.path()) {
  refuse_base_folder(job);
  refuse_other_run(job, checkpoints, resume);
  refuse_small_disk(output_, bytes);
  std::error_code failed;
  fs::create_directories(folder_, failed);
  if (failed)
    throw_error(ErrorCode::kPermissionDenied, "{}: the output folder cannot be made: {}", output_.string(),
                failed.message());
  lock();
}

// The file is of no use when the run before removed it between our two calls: then once more.
void OutputClaim::lock() {
  const fs::path file = folder_ / kLockFile;
  for (;;) {
    fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0)
      throw_error(ErrorCode::kPermissionDenied, "{}: the output folder cannot be written: {}",
                  output_.string(), std::strerror(errno));
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      const int why = errno;
      if (why != EWOULDBLOCK) return;  // a file system without locks
      ::close(fd_);
      throw_error(ErrorCode::kFailedPrecondition,
                  "{}: another run is training into this folder; wait for it, or name another output folder",
                  output_.string());
    }
    struct stat held {
    }, named{};
    if (::fstat(fd_, &held) == 0 && ::stat(file.c_str(), &named) == 0 && held.st_ino == named.st_ino) return;
    ::close(fd_);
  }
}

OutputClaim::~OutputClaim() {
  std::error_code in_use;
  fs::remove(folder_ / kLockFile, in_use);
  ::close(fd_);
  fs::remove(folder_, in_use);
  fs::remove(output_, in_use);
}

}  // namespace llmhost::train
