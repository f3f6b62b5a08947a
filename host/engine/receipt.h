// The receipt of an adapter (receipt.json in its folder): which base, tokenizer and chat template it was
// trained with, on which data, and what it answers to a few prompts. An adapter that is used with another
// base gives plausible nonsense: better a refusal. Adapters without a receipt are taken as they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/loader.h"

namespace llmhost::engine {

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

// Throws kFailedPrecondition naming what differs, kInvalidArgument for a text that is no receipt.
void check_receipt(const std::string& json, const ModelIdentity& model);

}  // namespace llmhost::engine
