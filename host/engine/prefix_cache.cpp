#include "engine/prefix_cache.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "core/error.h"

namespace llmhost::engine {
namespace {

constexpr int32_t kNone = PageAllocator::kNone;

}  // namespace

void PrefixCacheOptions::validate() const {
  if (pages < kAllPages)
    throw_invalid("prefix cache: got {} pages, expected 0 or more, or {} for all", pages, kAllPages);
  if (!(tenant_share > 0 && tenant_share <= 1))
    throw_invalid("prefix cache: got a tenant's share of {}, expected more than 0 and at most 1",
                  tenant_share);
}

PrefixCache::PrefixCache(PageAllocator& allocator, int32_t page_tokens, const PrefixCacheOptions& options)
    : allocator_(allocator), page_tokens_(page_tokens), hash_key_(random_key()) {
  options.validate();
  const int32_t n_pages = allocator.n_pages();
  most_ = options.pages == PrefixCacheOptions::kAllPages ? n_pages : std::min(options.pages, n_pages);
  if (!is_on()) return;
  most_of_tenant_ = std::max(1, static_cast<int32_t>(std::floor(options.tenant_share * most_)));
  entries_.resize(static_cast<size_t>(n_pages));
  tokens_.resize(static_cast<size_t>(n_pages) * static_cast<size_t>(page_tokens));
  slots_.assign(std::bit_ceil(2 * static_cast<size_t>(n_pages)), kNone);
  allocator.set_watcher(this);
}

PrefixCache::~PrefixCache() {
  if (is_on()) allocator_.set_watcher(nullptr);
}

std::span<int32_t> PrefixCache::tokens_of(int32_t page) {
  const auto n = static_cast<size_t>(page_tokens_);
  return std::span(tokens_).subspan(static_cast<size_t>(page) * n, n);
}

std::span<const int32_t> PrefixCache::page_of(std::span<const int32_t> tokens, int32_t index) const {
  const auto n = static_cast<size_t>(page_tokens_);
  return tokens.subspan(static_cast<size_t>(index) * n, n);
}

void PrefixCache::start(PrefixChain& chain, const CacheScope& scope, int64_t length_class) const {
  chain.scope_ = scope;
  chain.length_class_ = length_class;
  chain.keys_.clear();
  chain.n_shared_ = 0;
  chain.is_open_ = is_on() && scope.enabled;
  const std::array<uint64_t, 4> words = {scope.high, scope.low, scope.tenant,
                                         static_cast<uint64_t>(length_class)};
  chain.root_ = siphash128(hash_key_, std::as_bytes(std::span(words)));
}

// The key of the pages before is the key of the hash: what is known of one chain says nothing of another.
Hash128 PrefixCache::key_of(const Hash128& before, std::span<const int32_t> tokens) const {
  return siphash128({before.high ^ hash_key_.high, before.low ^ hash_key_.low}, std::as_bytes(tokens));
}

void PrefixCache::extend_keys(PrefixChain& chain, std::span<const int32_t> tokens, int32_t n_pages) const {
  for (auto i = static_cast<int32_t>(chain.keys_.size()); i < n_pages; ++i)
    chain.keys_.push_back(key_of(i == 0 ? chain.root_ : chain.keys_.back(), page_of(tokens, i)));
}

size_t PrefixCache::slot_of(const Hash128& key) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = key.low & mask;
  while (slots_[slot] != kNone && entry(slots_[slot]).key != key) slot = (slot + 1) & mask;
  return slot;
}

// Entries behind it that would not be found any more move up.
void PrefixCache::free_slot(size_t slot) {
  const size_t mask = slots_.size() - 1;
  for (size_t next = (slot + 1) & mask; slots_[next] != kNone; next = (next + 1) & mask) {
    const size_t home = entry(slots_[next]).key.low & mask;
    if (((next - home) & mask) < ((next - slot) & mask)) continue;
    slots_[slot] = slots_[next];
    slot = next;
  }
  slots_[slot] = kNone;
}

bool PrefixCache::holds(int32_t page, const PrefixChain& chain, int32_t parent,
                        std::span<const int32_t> tokens) {
  const Entry& found = entry(page);
  return found.parent == parent && found.scope.is_same(chain.scope_) &&
         found.length_class == chain.length_class_ && std::ranges::equal(tokens, tokens_of(page));
}

PrefixCache::Match PrefixCache::find(PrefixChain& chain, std::span<const int32_t> tokens, int64_t most) {
  Match match;
  if (!chain.is_open_) return match;
  const auto n_pages =
      static_cast<int32_t>(std::min(most, static_cast<int64_t>(tokens.size())) / page_tokens_);
  int32_t parent = kNone;
  for (int32_t i = 0; i < n_pages; ++i) {
    extend_keys(chain, tokens, i + 1);
    const int32_t page = slots_[slot_of(chain.keys_[static_cast<size_t>(i)])];
    if (page == kNone || !holds(page, chain, parent, page_of(tokens, i))) break;
    ++match.pages;
    if (entry(page).is_unused) ++match.unused;
    parent = page;
  }
  return match;
}

int32_t PrefixCache::attach(PrefixChain& chain, std::span<const int32_t> tokens, int64_t most,
                            PageTable& table) {
  const int32_t n_pages = find(chain, tokens, most).pages;
  for (int32_t i = 0; i < n_pages; ++i)
    table.append(slots_[slot_of(chain.keys_[static_cast<size_t>(i)])], allocator_);
  chain.n_shared_ = n_pages;
  return n_pages;
}

void PrefixCache::publish(PrefixChain& chain, std::span<const int32_t> tokens, int64_t computed,
                          PageTable& table) {
  if (!chain.is_open_) return;
  const auto n_pages = static_cast<int32_t>(computed / page_tokens_);
  extend_keys(chain, tokens, n_pages);
  for (int32_t& i = chain.n_shared_; i < n_pages; ++i) {
    const int32_t parent = i == 0 ? kNone : table[i - 1];
    const Hash128& key = chain.keys_[static_cast<size_t>(i)];
    const int32_t known = slots_[slot_of(key)];
    if (known == kNone && !entry(table[i]).is_cached) {
      insert(chain, key, parent, page_of(tokens, i), table[i]);
    } else if (known == kNone || !holds(known, chain, parent, page_of(tokens, i))) {
      chain.is_open_ = false;  // another text has the key or the page: this one goes on alone
      return;
    } else if (known != table[i]) {
      table.replace(i, known, allocator_);
    }
  }
}

void PrefixCache::insert(const PrefixChain& chain, const Hash128& key, int32_t parent,
                         std::span<const int32_t> tokens, int32_t page) {
  Entry& added = entry(page);
  added.key = key;
  added.scope = chain.scope_;
  added.length_class = chain.length_class_;
  added.parent = parent;
  added.n_children = 0;
  added.is_cached = true;
  added.is_unused = false;
  if (parent != kNone) ++entry(parent).n_children;
  std::ranges::copy(tokens, tokens_of(page).begin());
  slots_[slot_of(key)] = page;
  allocator_.keep(page);
  ++n_cached_;
}

void PrefixCache::link(int32_t page) {
  Tenant& tenant = tenants_[entry(page).scope.tenant];
  entry(page).previous = tenant.last;
  entry(page).next = kNone;
  (tenant.last == kNone ? tenant.first : entry(tenant.last).next) = page;
  tenant.last = page;
  entry(page).is_unused = true;
  ++tenant.n;
  ++n_unused_;
}

void PrefixCache::unlink(int32_t page) {
  Entry& gone = entry(page);
  const auto found = tenants_.find(gone.scope.tenant);
  Tenant& tenant = found->second;
  (gone.previous == kNone ? tenant.first : entry(gone.previous).next) = gone.next;
  (gone.next == kNone ? tenant.last : entry(gone.next).previous) = gone.previous;
  gone.is_unused = false;
  --n_unused_;
  if (--tenant.n == 0) tenants_.erase(found);
}

void PrefixCache::page_used(int32_t page) {
  if (entry(page).is_unused) unlink(page);
}

void PrefixCache::page_unused(int32_t page) {
  if (!entry(page).is_cached) return;
  const uint64_t tenant = entry(page).scope.tenant;
  link(page);
  if (tenants_.at(tenant).n > most_of_tenant_) evict_from(tenant);
  if (n_unused_ > most_) evict_one();
}

bool PrefixCache::evict_one() {
  const auto largest = std::ranges::max_element(
      tenants_, [](const auto& a, const auto& b) { return a.second.n < b.second.n; });
  return largest != tenants_.end() && evict_from(largest->first);
}

bool PrefixCache::evict_from(uint64_t tenant) {
  int32_t page = tenants_.at(tenant).first;
  while (page != kNone && entry(page).n_children > 0) page = entry(page).next;
  if (page == kNone) return false;
  evict(page);
  return true;
}

void PrefixCache::evict(int32_t page) {
  Entry& gone = entry(page);
  unlink(page);
  free_slot(slot_of(gone.key));
  if (gone.parent != kNone) --entry(gone.parent).n_children;
  gone.is_cached = false;
  --n_cached_;
  ++n_evicted_;
  allocator_.unkeep(page);
}

}  // namespace llmhost::engine
