#include "cli/speculation.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "cli/support.h"
#include "core/error.h"
#include "engine/draft_model.h"
#include "engine/lookup.h"
#include "text/vocabulary_match.h"

namespace llmhost::cli {
namespace {

constexpr const char* kOff = "off";
constexpr const char* kLookup = "lookup";
constexpr const char* kDraft = "draft";

int32_t small_int(const Settings& settings, const char* key) {
  return static_cast<int32_t>(settings.get_int(key));
}

}  // namespace

void declare_speculation_options(Options& options) {
  options.setting("--speculate", "engine.speculation.mode");
  options.setting("--draft-model", "engine.speculation.draft_model");
  options.setting("--draft-tokens", "engine.speculation.tokens");
}

engine::SpeculationOptions speculation_options(const Settings& settings) {
  engine::SpeculationOptions options;
  options.tokens = small_int(settings, "engine.speculation.tokens");
  options.ngram_min = small_int(settings, "engine.speculation.ngram_min");
  options.ngram_max = small_int(settings, "engine.speculation.ngram_max");
  if (options.ngram_min > options.ngram_max)
    throw UsageError(
        fmt::format("engine.speculation.ngram_min is {}, ngram_max is {}; give a smaller ngram_min",
                    options.ngram_min, options.ngram_max));
  const bool drafts = settings.get_string("engine.speculation.mode") == kDraft;
  const bool has_draft = !settings.get_string("engine.speculation.draft_model").empty();
  if (drafts && !has_draft)
    throw UsageError("engine.speculation.mode is draft; name the model with --draft-model");
  if (!drafts && has_draft)
    throw UsageError("engine.speculation.draft_model is given, but not used; add --speculate draft");
  return options;
}

engine::RunnerOptions with_speculation(const Settings& settings, engine::RunnerOptions limits) {
  const engine::SpeculationOptions options = speculation_options(settings);
  if (settings.get_string("engine.speculation.mode") == kOff) return limits;
  limits.max_outputs = std::max(limits.max_outputs, limits.max_sequences * (1 + options.tokens));
  limits.max_tokens = std::max(limits.max_tokens, limits.max_outputs);
  return limits;
}

Speculation::Speculation(const Settings& settings, OpenedModel& target, const text::Tokenizer& tokenizer)
    : target_(target),
      mode_(settings.get_string("engine.speculation.mode")),
      options_(speculation_options(settings)) {
  if (mode_ == kDraft) load_draft(settings, tokenizer);
}

bool Speculation::is_on() const {
  return mode_ != kOff;
}

void Speculation::load_draft(const Settings& settings, const text::Tokenizer& tokenizer) {
  const std::filesystem::path path = settings.get_string("engine.speculation.draft_model");
  text::require_same_vocabulary(tokenizer, target_.model().checkpoint().path().string(),
                                *text::load_tokenizer(tokenizer_path(path)), path.string());
  model::LoadOptions options = load_options(settings);
  options.arch.clear();  // what the user chose is for the target
  draft_ = model::load_model(path, target_.registry(), options);
  engine::RunnerOptions limits = target_.stack().runner().options();
  limits.max_outputs = limits.max_sequences;
  limits.max_context = std::min<int64_t>(limits.max_context, draft_->info().context_length);
  limits.state_tokens = 0;
  stack_ = std::make_unique<engine::ModelStack>(*draft_, target_.device(), limits);
}

std::unique_ptr<engine::Proposer> Speculation::proposer() {
  if (mode_ == kLookup) return std::make_unique<engine::LookupProposer>(options_);
  if (mode_ != kDraft) return nullptr;
  return std::make_unique<engine::DraftProposer>(stack_->runner(), target_.stack().runner().vocab_size(),
                                                 options_);
}

}  // namespace llmhost::cli
