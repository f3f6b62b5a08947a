// One device, several engines: they take turns, a step each, first come first served. Otherwise their thread
// pools would fight for the same cores and every step would take longer than it takes alone.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>

namespace llmhost::serve {

// [thread-safe]
class DeviceTurn {
 public:
  using Ticket = uint64_t;

  // Gets in line.
  Ticket join() {
    const std::scoped_lock lock(mutex_);
    line_.push_back(++last_);
    return last_;
  }

  // Whether it is this ticket's turn, at the latest after `at_most`.
  bool wait(Ticket ticket, std::chrono::milliseconds at_most) {
    std::unique_lock lock(mutex_);
    return moved_.wait_for(lock, at_most, [&] { return line_.front() == ticket; });
  }

  // After the turn, or before it by one who waits no more.
  void leave(Ticket ticket) {
    {
      const std::scoped_lock lock(mutex_);
      line_.erase(std::find(line_.begin(), line_.end(), ticket));
      if (line_.empty()) return;
    }
    moved_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable moved_;
  std::deque<Ticket> line_;  // the first has the device
  Ticket last_ = 0;
};

}  // namespace llmhost::serve
