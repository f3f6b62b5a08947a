// A conversation: each request goes on from the state of the one before, so that only what is new is
// computed. The state is a hint: when it had to give way to other sequences, or the new prompt begins
// differently, more is computed and the numbers are the same.
#pragma once

#include "engine/engine.h"

namespace llmhost::engine {

class Session {
 public:
  // The engine must outlive it.
  explicit Session(Engine& engine) : engine_(engine) {}
  ~Session() { clear(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Submits the request with the whole conversation so far as its prompt. The request before should be
  // finished.
  RequestId submit(Request request);

  // Forgets the conversation.
  void clear();

 private:
  Engine& engine_;
  RequestId last_ = 0;
};

}  // namespace llmhost::engine
