// A few threads that run the handlers, behind a queue that does not grow without bound.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace llmhost::serve {

class WorkerPool {
 public:
  WorkerPool(int threads, size_t max_queued);
  ~WorkerPool() { stop(); }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // What is queued is dropped, what runs is waited for; nothing is taken any more.
  void stop();
  // False: the queue is full, or it is stopped. A job must not throw. [thread-safe]
  bool submit(std::function<void()> job);

 private:
  void run();

  size_t max_queued_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace llmhost::serve
