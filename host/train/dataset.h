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

// The forms of a row, by its fields: kAlpaca has instruction and output (input, system, history), kShareGpt
// conversations of {from, value}, kMessages messages of {role, content} (tools), kPromptCompletion prompt and
// completion (two texts, or two lists of messages), kSegments segments of {text, label}, kTokens input_ids
// (labels, attention_mask), kText text. The first of them whose fields are there counts for the whole file.
enum class DataFormat { kAuto, kAlpaca, kShareGpt, kMessages, kPromptCompletion, kSegments, kTokens, kText };
enum class LossOn { kAssistant, kAll, kLast };  // kLast: the last answer of a conversation
enum class TooLong { kTruncate, kSkip, kRefuse };
// Rows that cannot be trained on as they stand: the template does not show an answer so that it can be found,
// or refuses the conversation.
enum class BadRow { kRefuse, kSkip };

struct DatasetOptions {
  DataFormat format = DataFormat::kAuto;
  LossOn loss_on =
      LossOn::kAssistant;     // of conversations and prompt/completion; plain text is trained on whole
  int64_t max_length = 2048;  // tokens
  TooLong too_long = TooLong::kTruncate;
  std::string chat_template;  // file; empty: the model's
  int64_t stride = 0;         // plain text: tokens that consecutive windows of max_length share
  // After texts and completions, and after a last answer that the template does not end by a token.
  bool add_eos = true;
  BadRow bad_rows = BadRow::kRefuse;
  std::string date;  // that templates see, as 2024-07-26; empty: today
};

// All examples of the files in order, tokenised; token ids are checked against `vocab_size`.
struct Dataset {
  std::vector<Example> examples;
  std::string hash;  // SHA-256 over the tokens and labels: files, options, tokenizer and template decide them
  DataFormat format = DataFormat::kAuto;  // of the first file
  int64_t n_rows = 0;                     // read
  // Too long; without a target, also after truncation; bad (BadRow::kSkip).
  int64_t n_skipped = 0, n_without_targets = 0, n_bad = 0;
  int64_t n_truncated = 0;
  std::vector<std::string> notes;  // of the first rows that were left out: where, and why

  int64_t n_targets() const;
  int64_t n_tokens() const;
};

// `path`: a file (.jsonl, .json, .csv, .txt, also .parquet is refused by name) or a folder of them. Throws
// Error with file, line or row, and field. `model` is the model's path: its tokenizer and chat template are
// used.
Dataset load_dataset(const std::filesystem::path& path, const std::filesystem::path& model,
                     const DatasetOptions& options, int64_t vocab_size);

// Moves a share of the examples, chosen by `seed`, to the result, at least one; both keep their order. Throws
// when less than one example would be left on either side.
Dataset split_off(Dataset& dataset, double fraction, uint64_t seed);

std::string_view format_name(DataFormat format);

struct BatchOptions {
  int64_t batch_size = 8;              // examples of an optimiser step (packing off)
  int64_t micro_batch_tokens = 2048;   // most tokens run at once: longer steps are accumulated
  int64_t micro_batch_sequences = 64;  // most examples run at once
  bool packing = false;                // fill steps of batch_tokens tokens with examples
  int64_t batch_tokens = 0;            // with packing: tokens of an optimiser step
  bool shuffle = true;
  uint64_t seed = 0;
};

// The examples of one step's micro-batches: which go together, in which order. Deterministic in seed and
// epoch; a position is all that has to be kept to go on. Without packing an epoch is a shuffled order cut
// into steps, the last of which may be smaller. With packing the examples are put together once, and each
// epoch shuffles these groups, so that all epochs have as many steps. `examples` must outlive the plan.

class BatchPlan {
 public:
  // Throws when there is no example, or one does not fit into a micro-batch (or, packed, a step).
  BatchPlan(const std::vector<Example>& examples, const BatchOptions& options);
  ~BatchPlan();

  int64_t steps_per_epoch() const;
  // Indices of the examples of a step (from 0, over all epochs), as micro-batches. Not thread-safe.
  std::vector<std::vector<uint32_t>> step(int64_t index) const;
  // No step has more tokens than this one, and no micro-batch than its first: what memory is tried with
  // first.
  std::vector<std::vector<uint32_t>> longest() const;

 private:
  struct Epoch;
  std::vector<std::vector<uint32_t>> in_micro_batches(std::vector<uint32_t> examples) const;
  void pack();

  const std::vector<Example>& examples_;
  BatchOptions options_;
  std::vector<std::vector<uint32_t>> groups_;  // packing: the examples of each step
  mutable std::unique_ptr<Epoch> epoch_;       // the one asked for last
};

}  // namespace llmhost::train
