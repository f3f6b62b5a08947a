// One client's connection: its requests one after another, each until its answer's last byte. For the I/O
// thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "serve/http/server_state.h"

namespace boost::asio {
class io_context;
}

namespace llmhost::serve {

class Connection {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~Connection() = default;

  // `ended` is called when the connection is closed for good.
  virtual void start(std::function<void()> ended) = 0;
  // What is overdue is ended; called ten times a second.
  virtual void tick(Clock::time_point now) = 0;
  virtual void close_if_idle() = 0;
  virtual void close() = 0;
};

// Takes the socket `fd` of `family`.
std::shared_ptr<Connection> make_connection(boost::asio::io_context& context, int fd, int family,
                                            ServerState& state);

}  // namespace llmhost::serve
