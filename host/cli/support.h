// What several subcommands share: plugins from the settings, JSON on standard output, JSON lines in and out.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "core/config.h"
#include "core/json.h"
#include "engine/model_settings.h"
#include "model/loader.h"
#include "plugin/registry.h"

namespace llmhost::cli {

using engine::load_options;
using engine::open_registry;
using engine::tokenizer_path;

// How the model's architecture worked out what it is: a list of {what, value, certainty, source}.
OrderedJson recipe_json(const model::LoadedModel& model);

// The content of a file, or of standard input for "-".
std::string read_input(const std::string& path);

// One indented JSON document on standard output; invalid UTF-8 becomes U+FFFD.
void print_json(const OrderedJson& document);

// Calls `transform` for each non-empty line of `in`, an object, and writes its result as a line of `out`,
// which appears only when all went well. Errors name file and line. "-" is standard input or output.
void transform_json_lines(const std::string& in, const std::string& out,
                          const std::function<OrderedJson(const OrderedJson&)>& transform);

// Throws std::system_error when standard output could not take everything (a full disk, a closed pipe).
void flush_stdout();

}  // namespace llmhost::cli
