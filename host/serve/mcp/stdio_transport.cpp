#include "serve/mcp/stdio_transport.h"

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

namespace llmhost::serve::mcp {
namespace {

constexpr const char* kClient = "stdio";

// Lines from several threads, and how many are still to come.
class Output {
 public:
  explicit Output(std::ostream& out) : out_(out) {}

  void expect() {
    const std::lock_guard lock(mutex_);
    ++expected_;
  }
  void write(const std::string& line) {
    const std::lock_guard lock(mutex_);
    if (!line.empty()) out_ << line << '\n' << std::flush;
    --expected_;
    none_expected_.notify_all();
  }
  bool wait_all(std::chrono::seconds time) {
    std::unique_lock lock(mutex_);
    return none_expected_.wait_for(lock, time, [this] { return expected_ == 0; });
  }

 private:
  std::ostream& out_;
  std::mutex mutex_;
  std::condition_variable none_expected_;
  int expected_ = 0;
};

// A client that closes its end wants no answers, but one that was piped in does.
constexpr std::chrono::seconds kPatience{60};

}  // namespace

void run_stdio(McpServer& server, const Caller& caller, std::istream& in, std::ostream& out) {
  const auto output = std::make_shared<Output>(out);
  const Requester from{caller, kClient, nullptr};
  for (std::string line; std::getline(in, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    output->expect();
    server.handle(line, from, [output](const std::string& reply) { output->write(reply); });
  }
  if (!output->wait_all(kPatience)) server.client_gone(kClient);
}

}  // namespace llmhost::serve::mcp
