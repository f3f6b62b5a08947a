// A request for a fine-tuning job in OpenAI's shape, and what it asks of the trainer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/json.h"
#include "train/job.h"

namespace llmhost::serve {

struct TuningRequest {
  std::string model;
  std::string training_file;    // "file-…", or "data:NAME" of a configured folder
  std::string validation_file;  // empty: none
  std::string suffix;
  OrderedJson metadata;  // object of strings, as it is given back
  OrderedJson
      hyperparameters;  // n_epochs, batch_size, learning_rate_multiplier as asked for: number or "auto"
  OrderedJson tuning;   // the extension: method, settings, …
  uint64_t seed = 42;
};

// Throws ApiError (400) naming the field.
TuningRequest parse_tuning_request(std::string_view body);

// The job without its files, folders and model.
train::Job to_job(const TuningRequest& request);

}  // namespace llmhost::serve
