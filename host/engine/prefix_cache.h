// State of texts that begin alike, computed once: full pages stay known under what they hold, while a request
// runs and after it, and further requests that begin with the same tokens in the same scope use them.
//
// A page is found by a hash of its tokens, of all pages before it and of the scope, keyed at random, and used
// only if tokens and scope are the same indeed: no collision gives wrong state. It holds the same bits as if
// the request had computed it, as far as the backend keeps its promise that a sequence's numbers depend on
// its own tokens alone.
//
// Pages that running requests use stay and count for nothing. The others are limited in number, together and
// for each tenant, and are given up when sequences need them: of the tenant who has most, the longest unused
// first, a page always before those it follows. So nobody can crowd out those who take less.
//
// Nothing is allocated after construction but on a tenant's first page. One thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/cache_scope.h"
#include "engine/pages.h"
#include "engine/siphash.h"

namespace llmhost::engine {

struct PrefixCacheOptions {
  static constexpr int32_t kAllPages = -1;

  int32_t pages = 0;          // most that nobody uses; 0: no cache
  double tenant_share = 0.5;  // of them, that one tenant may have

  void validate() const;  // throws kInvalidArgument naming the field
};

// Where one sequence stands in the cache.
class PrefixChain {
 public:
  // Room for the keys of this many pages, so that publishing allocates nothing.
  void reserve(int32_t n_pages) { keys_.reserve(static_cast<size_t>(n_pages)); }
  // The sequence gave up its pages.
  void restart() { n_shared_ = 0; }

 private:
  friend class PrefixCache;

  CacheScope scope_;
  int64_t length_class_ = 0;
  Hash128 root_;
  std::vector<Hash128> keys_;  // of its full pages, as far as they were asked for
  int32_t n_shared_ = 0;       // its first pages that are in the cache
  bool is_open_ = false;       // takes part
};

class PrefixCache final : private PageWatcher {
 public:
  // The allocator must outlive the cache. It must give pages of `page_tokens` tokens.
  PrefixCache(PageAllocator& allocator, int32_t page_tokens, const PrefixCacheOptions& options);
  ~PrefixCache() override;
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  bool is_on() const { return most_ > 0; }

  // Prompts of another `length_class` hold something else in the same tokens' pages (0: they do not).
  void start(PrefixChain& chain, const CacheScope& scope, int64_t length_class) const;

  struct Match {
    int32_t pages = 0;   // the first of the text, full, that the cache has
    int32_t unused = 0;  // of them, that nobody uses now
  };
  // What attach() would give for at most `most` tokens of the text.
  Match find(PrefixChain& chain, std::span<const int32_t> tokens, int64_t most);
  // Appends the pages to the table, which is empty.
  int32_t attach(PrefixChain& chain, std::span<const int32_t> tokens, int64_t most, PageTable& table);
  // Takes up the sequence's full pages, whose `computed` tokens are in the state. Where the cache has a page
  // already, the table gets it and the sequence's own is free again.
  void publish(PrefixChain& chain, std::span<const int32_t> tokens, int64_t computed, PageTable& table);

  // Gives up one page that nobody uses; false when there is none.
  bool evict_one();

  int32_t n_pages() const { return n_cached_; }
  int64_t n_evicted() const { return n_evicted_; }

 private:
  struct Entry {
    Hash128 key;
    CacheScope scope;
    int64_t length_class = 0;
    int32_t parent = PageAllocator::kNone;
    int32_t n_children = 0;
    int32_t previous = PageAllocator::kNone;  // of its tenant's unused ones
    int32_t next = PageAllocator::kNone;
    bool is_cached = false;
    bool is_unused = false;
  };
  // The unused pages of one, in the order in which they became so.
  struct Tenant {
    int32_t first = PageAllocator::kNone;
    int32_t last = PageAllocator::kNone;
    int32_t n = 0;
  };

  void page_used(int32_t page) override;
  void page_unused(int32_t page) override;

  Entry& entry(int32_t page) { return entries_[static_cast<size_t>(page)]; }
  const Entry& entry(int32_t page) const { return entries_[static_cast<size_t>(page)]; }
  std::span<int32_t> tokens_of(int32_t page);
  std::span<const int32_t> page_of(std::span<const int32_t> tokens, int32_t index) const;
  Hash128 key_of(const Hash128& before, std::span<const int32_t> tokens) const;
  void extend_keys(PrefixChain& chain, std::span<const int32_t> tokens, int32_t n_pages) const;
  bool holds(int32_t page, const PrefixChain& chain, int32_t parent, std::span<const int32_t> tokens);

  size_t slot_of(const Hash128& key) const;  // that has the key, or the free one where it would go
  void free_slot(size_t slot);
  void insert(const PrefixChain& chain, const Hash128& key, int32_t parent, std::span<const int32_t> tokens,
              int32_t page);
  void link(int32_t page);
  void unlink(int32_t page);
  bool evict_from(uint64_t tenant);
  void evict(int32_t page);

  PageAllocator& allocator_;
  int32_t page_tokens_;
  int32_t most_ = 0;
  int32_t most_of_tenant_ = 0;
  Hash128 hash_key_;
  std::vector<Entry> entries_;   // [pages of the allocator]
  std::vector<int32_t> tokens_;  // [pages of the allocator, page_tokens]
  std::vector<int32_t> slots_;   // open addressing: a page or kNone; a power of two, at most half full
  std::unordered_map<uint64_t, Tenant> tenants_;  // those with unused pages
  int32_t n_cached_ = 0;
  int32_t n_unused_ = 0;
  int64_t n_evicted_ = 0;
};

}  // namespace llmhost::engine
