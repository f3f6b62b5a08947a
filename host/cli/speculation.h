// Settings engine.speculation.*: the proposer that a generating command gives its engine, and the second
// model that it may need.
#pragma once

#include <memory>
#include <string>

#include "cli/model_options.h"
#include "cli/options.h"
#include "core/config.h"
#include "engine/speculation.h"
#include "text/tokenizer.h"

namespace llmhost::cli {

// --speculate, --draft-model, --draft-tokens.
void declare_speculation_options(Options& options);

// Throws UsageError for settings that do not go together.
engine::SpeculationOptions speculation_options(const Settings& settings);

// The limits with logits for every token that a step may verify.
engine::RunnerOptions with_speculation(const Settings& settings, engine::RunnerOptions limits);

class Speculation {
 public:
  // Loads the draft model onto the target's device. Throws when its vocabulary is another one.
  Speculation(const Settings& settings, OpenedModel& target, const text::Tokenizer& tokenizer);

  bool is_on() const;
  const std::string& mode() const { return mode_; }
  // For one engine of the target at a time; null: speculation is off. This object must outlive it.
  std::unique_ptr<engine::Proposer> proposer();

 private:
  void load_draft(const Settings& settings, const text::Tokenizer& tokenizer);

  OpenedModel& target_;
  std::string mode_;
  engine::SpeculationOptions options_;
  std::unique_ptr<model::LoadedModel> draft_;
  std::unique_ptr<engine::ModelStack> stack_;
};

}  // namespace llmhost::cli
