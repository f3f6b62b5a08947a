#include "text/grammar/vocabulary.h"

#include <algorithm>

namespace llmhost::text {
namespace grammar {

std::shared_ptr<const StateMask> MaskCache::find(const Key& key) {
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->mask;
}

void MaskCache::insert(const Key& key, std::shared_ptr<const StateMask> mask) {
  const std::lock_guard lock(mutex_);
  if (by_key_.contains(key)) return;
  bytes_ += mask->n_bytes();
  entries_.push_front({key, std::move(mask)});
  by_key_.emplace(key, entries_.begin());
  while (bytes_ > max_bytes_ && entries_.size() > 1) {
    bytes_ -= entries_.back().mask->n_bytes();
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

TokenTable::TokenTable(const std::vector<std::string>& tokens, size_t max_mask_bytes)
    : masks(max_mask_bytes) {
  begins.reserve(tokens.size() + 1);
  for (const std::string& token : tokens) {
    begins.push_back(bytes.size());
    bytes += token;
  }
  begins.push_back(bytes.size());
  // A node's depth has 16 bits.
  constexpr size_t kLongest = 0xFFFF;
  std::vector<std::pair<std::string_view, int32_t>> few;
  std::vector<std::pair<std::string_view, int32_t>> many;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string_view its = bytes_of(id);
    if (its.empty() || its.size() > kLongest) continue;
    auto& list = its.size() > size_t{Grammar::Tables::kFingerprintBytes} ? many : few;
    list.emplace_back(its, id);
  }
  short_tokens = make_trie(few);
  long_tokens = make_trie(many);
}

std::string_view TokenTable::bytes_of(int32_t token) const {
  const auto i = static_cast<size_t>(token);
  return i + 1 < begins.size() ? std::string_view(bytes).substr(begins[i], begins[i + 1] - begins[i])
                               : std::string_view();
}

}  // namespace grammar

TokenVocabulary::TokenVocabulary(std::span<const std::string> tokens, size_t max_mask_bytes)
    : parts_(std::make_unique<Parts>()) {
  parts_->size = static_cast<int32_t>(tokens.size());
  parts_->later =
      std::make_unique<grammar::TokenTable>(std::vector(tokens.begin(), tokens.end()), max_mask_bytes);
}

TokenVocabulary::TokenVocabulary(const Tokenizer& tokenizer, size_t max_mask_bytes)
    : parts_(std::make_unique<Parts>()) {
  const grammar::TokenTexts texts = grammar::read_token_texts(tokenizer);
  parts_->size = static_cast<int32_t>(texts.later.size());
  parts_->later = std::make_unique<grammar::TokenTable>(texts.later, max_mask_bytes);
  if (texts.first != texts.later)
    parts_->first = std::make_unique<grammar::TokenTable>(texts.first, max_mask_bytes);
}

TokenVocabulary::~TokenVocabulary() = default;

int32_t TokenVocabulary::size() const {
  return parts_->size;
}

std::string_view TokenVocabulary::bytes_of(int32_t token, bool is_first) const {
  return token < 0 ? std::string_view() : parts_->table(is_first).bytes_of(token);
}

}  // namespace llmhost::text
