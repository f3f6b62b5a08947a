#include "infer.h"

namespace declarative {

Inferred infer(const llmh::Model& model) {
  throw llmh::Error(LLMH_UNIMPLEMENTED,
                    "config: nothing describes model type '" + model.string_or("model_type", "") + "'");
}

}  // namespace declarative
