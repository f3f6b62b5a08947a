#include "serve/models/model_pool.h"

namespace llmhost::serve {

std::string_view to_text(ModelState state) {
  switch (state) {
    case ModelState::kKnown:
      return "known";
    case ModelState::kQueued:
      return "queued";
    case ModelState::kLoading:
      return "loading";
    case ModelState::kLoaded:
      return "loaded";
    case ModelState::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace llmhost::serve
