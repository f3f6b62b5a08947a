#include "engine/grammar_constraint.h"

namespace llmhost::engine {
namespace {

class GrammarConstraint final : public TokenConstraint {
 public:
  explicit GrammarConstraint(std::unique_ptr<text::Matcher> matcher) : matcher_(std::move(matcher)) {}

  void allowed(std::span<uint64_t> mask) override { matcher_->allowed(mask); }
  void accept(int32_t token) override { matcher_->accept(token); }
  bool is_complete() const override { return matcher_->is_complete(); }

 private:
  std::unique_ptr<text::Matcher> matcher_;
};

}  // namespace

std::unique_ptr<TokenConstraint> make_grammar_constraint(
    std::shared_ptr<const text::Grammar> grammar, std::shared_ptr<const text::TokenVocabulary> vocabulary,
    std::vector<int32_t> stop_tokens) {
  return std::make_unique<GrammarConstraint>(
      text::make_matcher(std::move(grammar), std::move(vocabulary), std::move(stop_tokens)));
}

}  // namespace llmhost::engine
