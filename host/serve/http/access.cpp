#include "serve/http/access.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <mutex>

#include "serve/http/target.h"

namespace llmhost::serve {
namespace {

using Clock = std::chrono::steady_clock;

// Fills with a rate a minute up to a minute's worth; may be overdrawn.
class Bucket {
 public:
  explicit Bucket(int64_t per_minute) : size_(static_cast<double>(per_minute)), level_(size_) {}

  // Seconds until there is `wanted`; 0 when there is now, or without a limit.
  int seconds_until(double wanted) {
    if (size_ <= 0) return 0;
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - filled_).count();
    filled_ = now;
    level_ = std::min(size_, level_ + seconds * size_ / 60);
    if (level_ >= wanted) return 0;
    return static_cast<int>(std::min(3600.0, std::ceil((wanted - level_) * 60 / size_)));
  }
  void take(double amount) {
    if (size_ > 0) level_ -= amount;
  }

 private:
  double size_;
  double level_;
  Clock::time_point filled_ = Clock::now();
};

// The same time for any two digests.
bool equal(const Sha256Digest& a, const Sha256Digest& b) {
  volatile uint8_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference = static_cast<uint8_t>(difference | (a[i] ^ b[i]));
  return difference == 0;
}

uint64_t tenant_of(const Sha256Digest& digest) {
  Sha256 sum;
  sum.add("llmhost tenant ");
  sum.add(std::as_bytes(std::span(digest)));
  uint64_t tenant = 0;
  const Sha256Digest hash = sum.digest();
  for (size_t i = 0; i < 8; ++i) tenant = tenant << 8 | hash[i];
  return tenant;
}

// The one credential of a request; nothing when there is none, more than one, or an odd one.
std::optional<std::string_view> credential(const Headers& headers) {
  std::optional<std::string_view> found;
  for (const auto& [name, value] : headers) {
    if (name != "authorization" && name != "x-api-key") continue;
    if (found) return std::nullopt;
    found = name == "authorization"           ? parse_bearer(value)
            : parse_bearer("bearer " + value) ? std::optional<std::string_view>(value)
                                              : std::nullopt;
    if (!found) return std::nullopt;
  }
  return found;
}

}  // namespace

struct Access::Key {
  explicit Key(const AccessKey& key)
      : digest(key.digest),
        limits(key.limits),
        requests(limits.requests_per_minute),
        tokens(limits.tokens_per_minute) {}

  Sha256Digest digest;
  RateLimits limits;
  Caller caller;
  std::mutex mutex;
  Bucket requests;
  Bucket tokens;
  int64_t running = 0;
};

Access::Access(std::vector<AccessKey> keys) : has_keys_(!keys.empty()) {
  if (keys.empty()) {
    AccessKey everybody;
    everybody.name = "local";
    everybody.scopes = {Scope::kInfer, Scope::kAdapters, Scope::kAdmin};
    keys.push_back(std::move(everybody));
  }
  for (AccessKey& key : keys) {
    keys_.push_back(std::make_unique<Key>(key));
    Caller& caller = keys_.back()->caller;
    caller.key_name = std::move(key.name);
    caller.tenant = has_keys_ ? tenant_of(key.digest) : 0;
    caller.scopes = std::move(key.scopes);
    caller.models = std::move(key.models);
  }
}

Access::~Access() = default;

bool Access::has_keys() const {
  return has_keys_;
}

size_t Access::key_count() const {
  return has_keys_ ? keys_.size() : 0;
}

std::optional<size_t> Access::authenticate(const Headers& headers) const {
  if (!has_keys_) return 0;
  const auto presented = credential(headers);
  const Sha256Digest digest = sha256(presented.value_or(std::string_view()));
  std::optional<size_t> found;
  for (size_t i = 0; i < keys_.size(); ++i)
    if (equal(keys_[i]->digest, digest)) found = i;
  return presented ? found : std::nullopt;
}

const Caller& Access::caller(size_t key) const {
  return keys_[key]->caller;
}

Access::Grant Access::acquire(size_t key) {
  Key& k = *keys_[key];
  const std::lock_guard lock(k.mutex);
  if (k.limits.max_concurrent > 0 && k.running >= k.limits.max_concurrent)
    return {false, 1, "requests at once"};
  if (const int wait = k.tokens.seconds_until(1); wait > 0) return {false, wait, "tokens per minute"};
  if (const int wait = k.requests.seconds_until(1); wait > 0) return {false, wait, "requests per minute"};
  k.requests.take(1);
  ++k.running;
  return {};
}

void Access::release(size_t key) {
  const std::lock_guard lock(keys_[key]->mutex);
  --keys_[key]->running;
}

void Access::charge_tokens(size_t key, int64_t tokens) {
  const std::lock_guard lock(keys_[key]->mutex);
  keys_[key]->tokens.take(static_cast<double>(std::max<int64_t>(tokens, 0)));
}

bool OriginPolicy::allows_host(std::string_view host_header) const {
  if (!check_host) return true;
  const auto authority = parse_authority(host_header);
  if (!authority) return false;
  const std::string& host = authority->host;
  if (host == "localhost" || host == "127.0.0.1" || host == "[::1]") return true;
  return std::any_of(allowed_hosts.begin(), allowed_hosts.end(), [&](const std::string& allowed) {
    const auto parsed = parse_authority(allowed);
    return parsed && parsed->host == host;
  });
}

bool OriginPolicy::lists_origin(std::string_view origin) const {
  return std::find(allowed_origins.begin(), allowed_origins.end(), origin) != allowed_origins.end();
}

bool OriginPolicy::allows_origin(std::string_view origin, std::string_view host_header) const {
  if (lists_origin(origin)) return true;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!origin.starts_with(scheme)) continue;
    const auto own = parse_authority(host_header);
    const auto theirs = parse_authority(origin.substr(scheme.size()));
    return own && theirs && own->host == theirs->host && own->port == theirs->port;
  }
  return false;
}

}  // namespace llmhost::serve
