// Answers of /v1/responses that this process remembers, so that a later one can go on from them: in memory
// alone, the latest, and only for the key that asked. [thread-safe]
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace llmhost::serve {

struct StoredResponse {
  std::string id;
  uint64_t tenant = 0;
  std::string messages;  // JSON list: the conversation with the answer, without instructions
  std::string body;      // the answer
};

class ResponseStore {
 public:
  explicit ResponseStore(size_t max_entries, size_t max_bytes = size_t{64} << 20)
      : max_entries_(max_entries), max_bytes_(max_bytes) {}

  void put(StoredResponse response);
  std::optional<StoredResponse> get(std::string_view id, uint64_t tenant) const;
  bool erase(std::string_view id, uint64_t tenant);

 private:
  static size_t size_of(const StoredResponse& r) { return r.messages.size() + r.body.size(); }

  size_t max_entries_;
  size_t max_bytes_;
  mutable std::mutex mutex_;
  size_t bytes_ = 0;
  std::list<StoredResponse> entries_;  // the latest first
};

}  // namespace llmhost::serve
