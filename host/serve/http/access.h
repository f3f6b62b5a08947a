// Who may ask: keys with scopes and rate limits, from a file or $LLMHOST_API_KEY, never from a command line.
// One function decides (authenticate), over the same fixed-time comparison for every key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/sha256.h"
#include "serve/http/exchange.h"

namespace llmhost::serve {

struct RateLimits {  // 0: none
  int64_t requests_per_minute = 0;
  int64_t tokens_per_minute = 0;
  int64_t max_concurrent = 0;
};

struct AccessKey {
  std::string name;
  Sha256Digest digest{};  // of the key: the key itself is not kept
  std::vector<Scope> scopes;
  std::vector<std::string> models;  // empty: all
  RateLimits limits;
};

// The keys file:
//   keys:
//     - name: alice
//       key: secret-text            # or key: sha256:<64 hex digits>
//       scopes: [infer, adapters, admin]      # infer when absent
//       models: [name, …]                     # all when absent
//       requests_per_minute: 60
//       tokens_per_minute: 100000
//       max_concurrent: 4
// Throws UsageError with one line; a file that others may read or write is refused.
std::vector<AccessKey> read_keys_file(const std::filesystem::path& path);
std::vector<AccessKey> parse_keys(std::string_view yaml, std::string_view source);

// A key for everything from $LLMHOST_API_KEY; nothing when it is unset. Throws UsageError when it is empty.
std::optional<AccessKey> key_from_environment();

class Access {
 public:
  explicit Access(std::vector<AccessKey> keys = {});
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

  bool has_keys() const;
  size_t key_count() const;

  // The number of the caller's key; nothing when there are keys and the headers (names in lower case) do not
  // have exactly one credential ("Authorization: Bearer KEY" or "X-Api-Key: KEY") that fits one. Without
  // keys everybody is caller 0. [thread-safe]
  std::optional<size_t> authenticate(const Headers& headers) const;
  const Caller& caller(size_t key) const;

  // Counts a request; `slot` must then be given back by release. [thread-safe]
  struct Grant {
    bool is_granted = true;
    int retry_after = 0;      // seconds
    std::string_view reason;  // "requests per minute", "tokens per minute", "requests at once"
  };
  Grant acquire(size_t key);
  void release(size_t key);
  // May bring the account below zero: the next requests wait for it. [thread-safe]
  void charge_tokens(size_t key, int64_t tokens);

 private:
  struct Key;
  std::vector<std::unique_ptr<Key>> keys_;
  bool has_keys_ = false;
};

// Which names and pages may reach the server.
struct OriginPolicy {
  bool check_host = true;                    // a server on the loopback device
  std::vector<std::string> allowed_hosts;    // beside localhost, 127.0.0.1, [::1]
  std::vector<std::string> allowed_origins;  // "https://app.example"; the server's own page always may

  bool allows_host(std::string_view host_header) const;
  bool allows_origin(std::string_view origin, std::string_view host_header) const;
  // Of another server, and on the list.
  bool lists_origin(std::string_view origin) const;
};

}  // namespace llmhost::serve
