// How often each token stands in a sequence's prompt and output; what penalties go by. Room for all the
// tokens that a sequence may get is made at once, so that counting allocates nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace llmhost::engine {

class TokenCounts {
 public:
  struct Entry {
    int32_t token = -1;
    int32_t in_output = 0;
    bool in_prompt = false;
  };

  // Empties it and makes room for this many different tokens.
  void reset(size_t max_tokens);
  void add_prompt(int32_t token) { find_or_add(token).in_prompt = true; }
  void add_output(int32_t token) { ++find_or_add(token).in_output; }
  // Takes back the add_output(token) that was the last one not taken back.
  void undo_output(int32_t token);

  // Every token seen, each once, in the order of first sight.
  std::span<const Entry> entries() const { return entries_; }

 private:
  size_t slot_of(int32_t token) const;  // that holds it, or the free one where it would go
  Entry& find_or_add(int32_t token);

  std::vector<Entry> entries_;
  std::vector<int32_t>
      slots_;  // open addressing: index into entries_, or -1; a power of two, at most half full
};

}  // namespace llmhost::engine
