#include "serve/api/constraints.h"

#include <algorithm>

#include "engine/grammar_constraint.h"

namespace llmhost::serve {
namespace {

class MinTokens final : public engine::TokenConstraint {
 public:
  MinTokens(std::unique_ptr<engine::TokenConstraint> inner, int64_t least, std::vector<int32_t> stop_tokens)
      : inner_(std::move(inner)), left_(least), stop_tokens_(std::move(stop_tokens)) {}

  void allowed(std::span<uint64_t> mask) override {
    if (inner_)
      inner_->allowed(mask);
    else
      std::fill(mask.begin(), mask.end(), ~uint64_t{0});
    if (left_ > 0) forbid_stops(mask);
  }
  void accept(int32_t token) override {
    if (left_ > 0) --left_;
    if (inner_) inner_->accept(token);
  }
  bool is_complete() const override { return inner_ && inner_->is_complete(); }

 private:
  // Unless nothing else may come: a grammar's end goes before the least length.
  void forbid_stops(std::span<uint64_t> mask) const {
    const auto any = [&] { return std::any_of(mask.begin(), mask.end(), [](uint64_t w) { return w != 0; }); };
    std::vector<int32_t> taken;
    for (const int32_t token : stop_tokens_) {
      const auto word = static_cast<size_t>(token) / 64;
      const uint64_t bit = uint64_t{1} << (static_cast<uint32_t>(token) % 64);
      if (token < 0 || word >= mask.size() || (mask[word] & bit) == 0) continue;
      mask[word] &= ~bit;
      taken.push_back(token);
    }
    if (any()) return;
    for (const int32_t token : taken)
      mask[static_cast<size_t>(token) / 64] |= uint64_t{1} << (static_cast<uint32_t>(token) % 64);
  }

  std::unique_ptr<engine::TokenConstraint> inner_;
  int64_t left_;
  std::vector<int32_t> stop_tokens_;
};

}  // namespace

std::unique_ptr<engine::TokenConstraint> make_constraint(const ServedModel& model,
                                                         const std::shared_ptr<const text::Grammar>& grammar,
                                                         int64_t min_tokens,
                                                         const std::vector<int32_t>& stop_tokens) {
  std::unique_ptr<engine::TokenConstraint> constraint;
  if (grammar) constraint = engine::make_grammar_constraint(grammar, model.grammar_vocabulary(), stop_tokens);
  if (min_tokens > 0)
    constraint = std::make_unique<MinTokens>(std::move(constraint), min_tokens, stop_tokens);
  return constraint;
}

}  // namespace llmhost::serve
