// The HTTP server: one I/O thread for all connections, a few worker threads for handlers. A client that is
// slow, silent or hostile costs itself, not others: everything it may hold is bounded here.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "serve/http/access.h"
#include "serve/http/metrics.h"
#include "serve/http/router.h"

namespace llmhost::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";     // a name or an address
  uint16_t port = 8080;               // 0: any
  std::filesystem::path unix_socket;  // instead of host and port; mode 0600

  size_t max_header_bytes = 32 << 10;
  size_t max_header_fields = 100;
  size_t max_body_bytes = 16 << 20;
  size_t max_bodies_bytes = 512 << 20;  // of all running requests together
  size_t max_connections = 4096;        // less when the process may not open so many files
  size_t max_queued_requests = 4096;    // that wait for a worker
  size_t max_queued_bytes = 1 << 20;    // of a stream, for a client that does not read
  int worker_threads = 2;
  std::chrono::milliseconds header_time{10'000};
  std::chrono::milliseconds body_time{30'000};
  std::chrono::milliseconds idle_time{60'000};
  std::chrono::milliseconds write_time{30'000};  // without the client taking a byte

  std::vector<std::string> allowed_hosts;  // see OriginPolicy
  std::vector<std::string> allowed_origins;
};

class Server {
 public:
  // Binds. Throws UsageError when the address is not of the loopback device and there are no keys, Error when
  // it cannot be had.
  Server(ServerOptions options, std::shared_ptr<const Router> router, std::shared_ptr<Access> access,
         std::shared_ptr<Metrics> metrics);
  ~Server();  // stops
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void start();
  uint16_t port() const;        // the real one; 0 for a Unix socket
  std::string address() const;  // "http://127.0.0.1:8080" or "unix:/path"

  // From now on every request but those of routes with while_draining is answered 503; running ones finish.
  // [thread-safe]
  void begin_drain();
  bool is_draining() const;  // [thread-safe]
  // False: some still run.
  bool wait_drained(std::chrono::milliseconds timeout);
  // Runs a job, which must not throw, as handlers are run. False: too many wait, or the server has stopped.
  // Once it was started. [thread-safe]
  bool run_on_worker(std::function<void()> job);
  void force_close();  // every connection, now; on_close is called. [thread-safe]
  // Closes everything and joins the threads. Handlers that run are waited for.
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace llmhost::serve
