// What may follow in one request's output, decided outside the sampler: a grammar, a list of choices. One
// object a request, used on the engine's thread only.
#pragma once

#include <cstdint>
#include <span>

namespace llmhost::engine {

class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // Sets the bit of each token that may come next: bit t % 64 of word t / 64. `mask` has (V + 63) / 64 words
  // and comes zeroed. Stop tokens are among them where the output may end. At least one bit is set.
  virtual void allowed(std::span<uint64_t> mask) = 0;
  // Goes on after a token that was allowed.
  virtual void accept(int32_t token) = 0;
  // Nothing but the end may follow.
  virtual bool is_complete() const = 0;
};

}  // namespace llmhost::engine
