// Which fine-tuning method fits which architecture. What was found for the architectures of this project is a
// data file (registry/finetune/matrix.yaml, written by scripts/docs/finetune_matrix.py from small models of
// all families); a model is asked about directly.
#pragma once

#include <string>

#include "core/json.h"
#include "model/loader.h"
#include "plugin/registry.h"

namespace llmhost::train {

// {"architecture", "methods": {method: {"verdict": "yes", "warning" or "no", "reason"}}}: every method that
// is installed, with its default settings, is opened, chooses its modules, and the training graph is made. A
// small model may stand for one of the same family with `n_weights`, whose size is warned of.
OrderedJson matrix_row(const plugin::Registry& registry, const model::LoadedModel& model,
                       uint64_t n_weights = 0);

// A list of such rows, from the data file.
OrderedJson known_matrix();

// Rows as a table, and the reasons below it.
std::string matrix_text(const OrderedJson& rows);

}  // namespace llmhost::train
