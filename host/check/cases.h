// The cases by group. Each runs in its own process: it returns a note, throws Skipped, or an Error that says
// what is wrong.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "check/check.h"
#include "llmhost/arch.h"
#include "plugin/manifest.h"
#include "plugin/registry.h"

namespace llmhost::check {

struct Case {
  std::string name;
  std::function<std::string()> run;
};
using Cases = std::vector<Case>;

// What is checked; outlives the cases.
struct Subject {
  const CheckOptions& options;
  const Settings& settings;
  plugin::Manifest manifest;
};

void add_binary_cases(const Subject& subject, Cases& cases);     // the file
void add_life_cases(const Subject& subject, Cases& cases);       // the exported table
void add_arch_cases(const Subject& subject, Cases& cases);       // calls of an architecture, in odd ways
void add_structure_cases(const Subject& subject, Cases& cases);  // the graph of the model
void add_number_cases(const Subject& subject, Cases& cases);     // what the model computes
void add_backend_cases(const Subject& subject, Cases& cases);
void add_finetune_cases(const Subject& subject, Cases& cases);

// The checked plugin and no other.
std::unique_ptr<plugin::Registry> own_registry(const Subject& subject);
// Its exported table, by a plain dlopen: nothing of it was called yet. Throws what the loader says.
const llmh_plugin& raw_table(const Subject& subject);
const char* main_interface(plugin::Kind kind);

}  // namespace llmhost::check
