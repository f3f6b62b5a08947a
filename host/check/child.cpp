#include "check/child.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <new>

#include "core/error.h"
#include "plugin/plugin.h"

namespace llmhost::check {
namespace {

enum Progress : int { kRunning, kOk, kSkipped, kFailed };

// What parent and child both see.
struct Shared {
  volatile int progress = kRunning;
  char place[512] = {};
  char message[4096] = {};
};

Shared* g_shared = nullptr;

void put(char* to, size_t capacity, std::string_view text) noexcept {
  const size_t length = std::min(text.size(), capacity - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
  std::replace(to, to + length, '\n', ' ');
}

class SharedPage {
 public:
  SharedPage() {
    void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
      throw_error(ErrorCode::kResourceExhausted, "no memory for a check: {}", std::strerror(errno));
    shared_ = new (memory) Shared;
  }
  ~SharedPage() { ::munmap(shared_, sizeof(Shared)); }
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  Shared* operator->() const { return shared_; }
  Shared* get() const { return shared_; }

 private:
  Shared* shared_;
};

void finish(Progress progress, std::string_view message) noexcept {
  put(g_shared->message, sizeof g_shared->message, message);
  g_shared->progress = progress;
}

[[noreturn]] void run_here(const std::function<std::string()>& work, int output) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  // The default, whatever the program does with them.
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) ::signal(signal, SIG_DFL);
  try {
    std::string note = work();
    at("the end: quiesce");
    plugin::quiesce_all();
    finish(kOk, note);
  } catch (const Skipped& skipped) {
    finish(kSkipped, skipped.reason);
  } catch (const std::exception& error) {
    finish(kFailed, error.what());
  } catch (...) {
    finish(kFailed, "an exception of unknown type crossed the plugin boundary");
  }
  ::_exit(0);
}

std::string last_line(int file) {
  char text[4096];
  const off_t size = ::lseek(file, 0, SEEK_END);
  const off_t from = std::max<off_t>(0, size - static_cast<off_t>(sizeof text));
  const ssize_t got = ::pread(file, text, sizeof text, from);
  std::string_view view(text, static_cast<size_t>(std::max<ssize_t>(got, 0)));
  while (!view.empty() && view.back() == '\n') view.remove_suffix(1);
  const size_t start = view.rfind('\n');
  return std::string(start == std::string_view::npos ? view : view.substr(start + 1));
}

std::string death(int status, const Shared& shared, int output) {
  std::string text = WIFSIGNALED(status)
                         ? fmt::format("killed by SIG{}", ::sigabbrev_np(WTERMSIG(status)))
                         : fmt::format("the process ended with exit code {}", WEXITSTATUS(status));
  if (shared.place[0] != '\0') text += fmt::format(" at {}", shared.place);
  if (const std::string line = last_line(output); !line.empty()) text += fmt::format("; it said: {}", line);
  return text;
}

// The exit status, or nothing when the time is up.
bool wait_for(pid_t child, double timeout_seconds, int& status) {
  const auto start = std::chrono::steady_clock::now();
  for (long pause = 1; ::waitpid(child, &status, WNOHANG) == 0; pause = std::min<long>(pause + 1, 20)) {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    if (passed.count() > timeout_seconds) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return false;
    }
    const timespec interval{0, pause * 1'000'000};
    ::nanosleep(&interval, nullptr);
  }
  return true;
}

}  // namespace

void at(std::string_view what) noexcept {
  if (g_shared != nullptr) put(g_shared->place, sizeof g_shared->place, what);
}

ChildOutcome run_in_child(const std::function<std::string()>& work, double timeout_seconds) {
  const auto start = std::chrono::steady_clock::now();
  const SharedPage shared;
  const int output = ::memfd_create("check", MFD_CLOEXEC);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0)
    throw_error(ErrorCode::kResourceExhausted, "cannot start a process: {}", std::strerror(errno));
  if (child == 0) {
    g_shared = shared.get();
    run_here(work, output);
  }
  int status = 0;
  const bool ended = wait_for(child, timeout_seconds, status);
  ChildOutcome outcome;
  outcome.ok = ended && (shared->progress == kOk || shared->progress == kSkipped);
  outcome.skipped = outcome.ok && shared->progress == kSkipped;
  if (!ended)
    outcome.message = fmt::format("not finished after {:g} s{}{}", timeout_seconds,
                                  shared->place[0] == '\0' ? "" : " at ", shared->place);
  else
    outcome.message = shared->progress == kRunning ? death(status, *shared.get(), output) : shared->message;
  ::close(output);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

}  // namespace llmhost::check
