// The receipt of an adapter (receipt.json in its folder): which base, tokenizer and chat template it was
// trained with, on which data, and what it answers to a few prompts. An adapter that is used with another
// base gives plausible nonsense: better a refusal. Adapters without a receipt are taken as they are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/loader.h"

namespace llmhost::engine {

class Adapter;
class ModelRunner;

inline constexpr const char* kReceiptFile = "receipt.json";

// SHA-256 (hex) of what a model is; empty: it has none.
struct ModelIdentity {
  std::string base;           // config and weights, by samples of each tensor
  std::string tokenizer;      // every piece of the vocabulary, and how a text is cut
  std::string chat_template;  // its text
};

ModelIdentity identify(const model::LoadedModel& model);

struct Receipt {
  struct Golden {
    std::vector<int32_t> prompt;
    std::vector<int32_t> tokens;  // greedy continuation
  };
  ModelIdentity model;
  std::string data;  // hash of the data sets
  std::string job;   // Job::hash()
  std::vector<Golden> golden;
};

std::string to_json(const Receipt& receipt);
// Throws kInvalidArgument naming the field for a text that is no receipt.
Receipt parse_receipt(std::string_view json);

// Throws kFailedPrecondition naming what differs.
void check_receipt(const Receipt& receipt, const ModelIdentity& model);

// Runs the prompts of the receipt with the adapter. Throws kFailedPrecondition for another answer. The runner
// has room for them (limits_for_prompts).
void check_golden(const Receipt& receipt, ModelRunner& runner, const std::shared_ptr<const Adapter>& adapter);

}  // namespace llmhost::engine
