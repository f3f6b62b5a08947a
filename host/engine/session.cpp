#include "engine/session.h"

#include <utility>

namespace llmhost::engine {

RequestId Session::submit(Request request) {
  request.keep_state = true;
  request.continue_from = last_;
  last_ = engine_.submit(std::move(request));
  return last_;
}

void Session::clear() {
  engine_.release_state(std::exchange(last_, 0));
}

}  // namespace llmhost::engine
