#include "text/grammar/grammar.h"

#include <functional>

#include "core/error.h"
#include "text/grammar/sources.h"
#include "text/grammar/tables.h"

namespace llmhost::text {
namespace {

grammar::RuleSet read(const GrammarSpec& spec, grammar::Budget& budget) {
  switch (spec.kind) {
    case GrammarKind::kJsonObject:
      return grammar::read_json_object();
    case GrammarKind::kJsonSchema:
      return grammar::read_json_schema(spec.text, budget);
    case GrammarKind::kChoices:
      return grammar::read_choices(spec.text, budget);
    case GrammarKind::kEbnf:
      return grammar::read_ebnf(spec.text, budget);
    case GrammarKind::kRegex:
      break;
  }
  grammar::RuleSet rules;
  rules.add("regex", grammar::read_regex(spec.text, grammar::RegexMatch::kWhole, "regex"));
  return rules;
}

size_t hash_of(const GrammarSpec& spec) {
  return std::hash<std::string>()(spec.text) * 31 + static_cast<size_t>(spec.kind);
}

}  // namespace

std::string_view to_text(GrammarKind kind) {
  switch (kind) {
    case GrammarKind::kJsonObject:
      return "json_object";
    case GrammarKind::kJsonSchema:
      return "json_schema";
    case GrammarKind::kRegex:
      return "regex";
    case GrammarKind::kChoices:
      return "choices";
    case GrammarKind::kEbnf:
      return "ebnf";
  }
  return "unknown";
}

Grammar::Grammar(std::unique_ptr<const Tables> tables) : tables_(std::move(tables)) {}
Grammar::~Grammar() = default;

size_t Grammar::n_states() const {
  return tables_->states.size() - 1;
}

size_t Grammar::n_bytes() const {
  return sizeof(Grammar) + sizeof(Tables) + tables_->states.size() * sizeof(Tables::State) +
         tables_->edges.size() * sizeof(grammar::Edge) + tables_->calls.size() * sizeof(grammar::Call) +
         tables_->starts.size() * 2 * sizeof(int32_t) +
         tables_->fingerprints.size() * sizeof(Tables::Fingerprint);
}

std::shared_ptr<const Grammar> compile_grammar(const GrammarSpec& spec, const GrammarLimits& limits) {
  if (spec.text.size() > limits.max_source_bytes)
    throw_error(ErrorCode::kResourceExhausted, "{}: its source has {} bytes, the limit is {}",
                to_text(spec.kind), spec.text.size(), limits.max_source_bytes);
  grammar::Budget budget(limits);
  return std::make_shared<const Grammar>(grammar::compile_rules(read(spec, budget), budget));
}

std::list<GrammarCache::Entry>::iterator GrammarCache::find(const GrammarSpec& spec, size_t hash) {
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto found = begin; found != end; ++found)
    if (found->second->spec == spec) return found->second;
  return entries_.end();
}

std::shared_ptr<const Grammar> GrammarCache::get(const GrammarSpec& spec) {
  const size_t hash = hash_of(spec);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = find(spec, hash); found != entries_.end()) {
      ++stats_.hits;
      entries_.splice(entries_.begin(), entries_, found);
      return found->grammar;
    }
    ++stats_.misses;
  }
  std::shared_ptr<const Grammar> grammar = compile_grammar(spec, limits_);
  const std::lock_guard lock(mutex_);
  if (const auto found = find(spec, hash); found != entries_.end()) return found->grammar;
  const size_t bytes = sizeof(Entry) + spec.text.size() + grammar->n_bytes();
  if (bytes > max_bytes_) return grammar;
  entries_.push_front({spec, grammar, bytes});
  by_hash_.emplace(hash, entries_.begin());
  stats_.bytes += bytes;
  while (stats_.bytes > max_bytes_) {
    const auto last = std::prev(entries_.end());
    const auto [begin, end] = by_hash_.equal_range(hash_of(last->spec));
    for (auto found = begin; found != end; ++found)
      if (found->second == last) {
        by_hash_.erase(found);
        break;
      }
    stats_.bytes -= last->bytes;
    ++stats_.evicted;
    entries_.erase(last);
  }
  stats_.entries = entries_.size();
  return grammar;
}

GrammarCache::Stats GrammarCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace llmhost::text
