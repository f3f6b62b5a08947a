// A fine-tuning job as a file describes it (job.yaml): what `llmhost finetune -c` reads and the server's jobs
// are made of. docs/finetuning.md lists the keys from this schema.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "core/yaml.h"
#include "train/dataset.h"

namespace llmhost::train {

enum class OptimizerKind { kAdamW, kSgd, kAdafactor };

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double lr = 2e-4;
  double weight_decay = 0;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double momentum = 0;       // sgd
  double max_grad_norm = 1;  // 0: no clipping
};

// Factors on the rate by name, as transformers' get_scheduler has them.
struct ScheduleOptions {
  std::string name = "cosine";
  int64_t warmup_steps = 0;
  double warmup_ratio = 0;  // of all steps, when warmup_steps is 0
  double num_cycles = -1;   // negative: the schedule's default
  double min_lr_rate = 0;
  double power = 1;
  double lr_end = 1e-7;  // absolute, of polynomial
};

struct Job {
  std::filesystem::path model;
  std::filesystem::path output;   // folder of the finished adapter or model
  std::filesystem::path adapter;  // to start from; empty: new

  std::string method = "lora";
  YamlNode method_settings;        // the map under method: without name
  std::string source = "the job";  // of the settings, for errors

  // data
  std::filesystem::path train_data;
  std::filesystem::path eval_data;  // empty: eval_fraction of the training data
  double eval_fraction = 0;
  DatasetOptions dataset;
  BatchOptions batches;

  // training
  double epochs = 1;
  int64_t max_steps = 0;  // 0: by epochs
  uint64_t seed = 42;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  bool checkpoint_layers = false;
  std::string dtype = "auto";  // auto, f32, bf16, f16: of products and of what waits for the backward pass

  // eval, checkpoints, logs
  int64_t eval_every = 0;        // steps; 0: at the end of each epoch when there is eval data
  int64_t patience = 0;          // evaluations without a better loss before stopping; 0: never
  int64_t checkpoint_every = 0;  // steps; 0: only when interrupted
  int64_t keep_checkpoints = 2;
  bool keep_best = true;                    // the output is the best checkpoint when there is eval data
  int64_t publish_every = 0;                // steps; server jobs
  std::filesystem::path trace;              // JSONL, every step at full precision
  std::filesystem::path tensorboard;        // folder
  std::filesystem::path plot;               // SVG
  std::vector<std::string> golden_prompts;  // for the receipt; empty: three from the data

  // Everything that decides the result (not where logs go), as JSON, and its SHA-256: a resumed run must have
  // the same.
  std::string description() const;
  std::string hash() const;
};

// Every key of a job file but model, output, adapter and the map method: sections data, training, log, and
// engine.*, backend.*, plugins.*, archs.* of every command.
const ConfigSchema& job_schema();

// What a file says, over `settings` (of job_schema(), with environment and command line); paths in it are
// relative to its folder.
struct JobFile {
  Job job;
  Settings settings;
};

// `method_settings`: "r=16", over those of the file. Throws UsageError with file:line:column, the key, and
// the nearest known one.
JobFile read_job_file(const std::filesystem::path& file, Settings settings,
                      const std::vector<std::string>& method_settings = {});
JobFile parse_job(std::string_view yaml, const std::string& source, const std::filesystem::path& folder,
                  Settings settings, const std::vector<std::string>& method_settings = {});

}  // namespace llmhost::train
