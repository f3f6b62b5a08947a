// Data sets: files of conversations, texts or tokens, made into examples by the model's own tokenizer and
// template.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "train/example.h"

namespace llmhost::train {

enum class DataFormat { kAuto, kAlpaca, kShareGpt, kMessages, kPromptCompletion, kText, kTokens };
enum class LossOn { kAssistant, kAll };
enum class TooLong { kTruncate, kSkip, kRefuse };

struct DatasetOptions {
  DataFormat format = DataFormat::kAuto;
  LossOn loss_on =
      LossOn::kAssistant;     // of conversations and prompt/completion; plain text is trained on whole
  int64_t max_length = 2048;  // tokens
  TooLong too_long = TooLong::kTruncate;
  std::string chat_template;  // file; empty: the model's
  int64_t stride = 0;         // plain text: tokens that consecutive windows of max_length share
  bool add_eos = true;        // after texts and completions
};

// The tokenizer and template of a model, as the examples need them.
class ExampleMaker;

// All examples of the files in order, tokenised; token ids are checked against `vocab_size`.
struct Dataset {
  std::vector<Example> examples;
  std::string hash;  // SHA-256 over the files' bytes and the options
  int64_t n_skipped = 0, n_truncated = 0;

  int64_t n_targets() const;
};

// `path`: a file (.jsonl, .json, .csv, .txt, also .parquet is refused by name) or a folder of them. Throws
// Error with file, line or row, and field. `model` is the model's path: its tokenizer and chat template are
// used.
Dataset load_dataset(const std::filesystem::path& path, const std::filesystem::path& model,
                     const DatasetOptions& options, int64_t vocab_size);

// The examples of one step's micro-batches: which go together, in which order. Deterministic in seed and
// epoch; a position is all that has to be kept to go on.
struct BatchOptions {
  int64_t batch_size = 8;             // examples of an optimiser step (packing off)
  int64_t micro_batch_tokens = 2048;  // most tokens run at once: longer steps are accumulated
  bool packing = false;               // fill steps of batch_tokens tokens with examples
  int64_t batch_tokens = 0;           // with packing: tokens of an optimiser step
  bool shuffle = true;
  uint64_t seed = 0;
};

class BatchPlan {
 public:
  BatchPlan(const std::vector<Example>& examples, const BatchOptions& options);

  int64_t steps_per_epoch() const;
  // Indices of the examples of a step (from 0, over all epochs), as micro-batches.
  std::vector<std::vector<uint32_t>> step(int64_t index) const;
  // Indices of the step with the most tokens, as micro-batches: what memory is tried with first.
  std::vector<std::vector<uint32_t>> longest() const;

 private:
  struct Epoch;
  const std::vector<Example>& examples_;
  BatchOptions options_;
  mutable std::unique_ptr<Epoch> epoch_;  // the one asked for last

 public:
  ~BatchPlan();
};

}  // namespace llmhost::train
