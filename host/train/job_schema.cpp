// The keys of a job file.
#include "engine/settings.h"
#include "train/job.h"

namespace llmhost::train {
namespace {

constexpr int64_t kMany = int64_t{1} << 40;

void add_data_keys(ConfigSchema& schema) {
  schema.add_string("data.train", "", "File or folder to train on: .jsonl, .json, .csv or .txt")
      .add_string("data.eval", "", "File or folder to evaluate on")
      .add_float("data.eval_fraction", 0, 0, 0.9,
                 "Share of the training data that is kept for evaluation, without data.eval")
      .add_enum("data.format",
                {"auto", "alpaca", "sharegpt", "messages", "prompt_completion", "segments", "tokens", "text"},
                "auto", "What a row is; auto: by its fields")
      .add_enum(
          "data.loss_on", {"assistant", "all", "last"}, "assistant",
          "Tokens of conversations that are trained on: those of answers, all, or those of the last answer")
      .add_int("data.max_length", 2048, 2, kMany, "Most tokens of an example")
      .add_enum("data.too_long", {"truncate", "skip", "refuse"}, "truncate",
                "What is done with longer examples; plain text is cut into windows")
      .add_enum(
          "data.bad_rows", {"refuse", "skip"}, "refuse",
          "What is done with conversations that the template refuses, or shows so that an answer cannot "
          "be told from the rest")
      .add_string("data.date", "", "Date that chat templates see, as 2026-01-31; empty: the day's")
      .add_int("data.stride", 0, 0, kMany, "Tokens that consecutive windows of one plain text share")
      .add_bool("data.add_eos", true, "End texts and completions with the end-of-text token")
      .add_string("data.chat_template", "", "File with a chat template; empty: the model's own")
      .add_bool("data.shuffle", true, "Another order in each epoch")
      .add_bool("data.packing", false,
                "Fill steps of training.batch_tokens tokens with whole examples, which never see each other");
}

void add_optimizer_keys(ConfigSchema& schema) {
  schema.add_enum("training.optimizer", {"adamw", "sgd", "adafactor"}, "adamw", "How gradients become steps")
      .add_float("training.learning_rate", 2e-4, 0, 1e3, "Rate before the schedule's factor")
      .add_float("training.weight_decay", 0, 0, 1e3, "Decoupled decay of every trained tensor")
      .add_float("training.beta1", 0.9, 0, 0.999999, "adamw: decay of the first moment")
      .add_float("training.beta2", 0.999, 0, 0.9999999, "adamw, adafactor: decay of the second moment")
      .add_float("training.eps", 1e-8, 0, 1, "adamw: added to the root of the second moment")
      .add_float("training.momentum", 0, 0, 0.999999, "sgd: momentum")
      .add_float("training.max_grad_norm", 1, 0, 1e9, "Longer gradients are shortened to it; 0: never")
      .add_enum("training.scheduler",
                {"constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts",
                 "cosine_with_min_lr", "polynomial", "inverse_sqrt"},
                "cosine", "Schedule of the rate")
      .add_int("training.warmup_steps", 0, 0, kMany, "Steps in which the rate rises from 0")
      .add_float("training.warmup_ratio", 0, 0, 1, "The same as a share of all steps, without warmup_steps")
      .add_float("training.num_cycles", -1, -1, 1e6,
                 "cosine schedules: waves; negative: the schedule's default")
      .add_float("training.min_lr_rate", 0, 0, 1, "cosine_with_min_lr: least factor")
      .add_float("training.power", 1, 0, 100, "polynomial: exponent")
      .add_float("training.lr_end", 1e-7, 0, 1e3, "polynomial: rate at the end");
}

void add_training_keys(ConfigSchema& schema) {
  schema.add_float("training.epochs", 1, 0, 1e6, "Passes over the data")
      .add_int("training.max_steps", 0, 0, kMany, "Optimiser steps, whatever epochs says; 0: by epochs")
      .add_int("training.batch_size", 8, 1, 1 << 24, "Examples of an optimiser step")
      .add_int("training.batch_tokens", 0, 0, kMany,
               "With data.packing: tokens of an optimiser step; 0: 8 times data.max_length")
      .add_int("training.micro_batch_tokens", 0, 0, kMany,
               "Most tokens that run at once: longer steps are run in parts and added up; 0: 2048, or "
               "data.max_length where that is more")
      .add_int("training.seed", 42, 0, kMany, "Of the order, dropout and what starts at random")
      .add_bool("training.gradient_checkpointing", false,
                "Compute activations of a layer again in the backward pass: less memory, same gradients")
      .add_enum("training.dtype", {"auto", "f32", "bf16", "f16"}, "auto",
                "Products round activations to it where the weights are of it or below, and what waits for "
                "the backward pass has it; "
                "auto: f32");
  add_optimizer_keys(schema);
  schema.add_int("training.eval_every", 0, 0, kMany, "Steps between evaluations; 0: at the end of each epoch")
      .add_int("training.patience", 0, 0, kMany,
               "Evaluations without a lower loss after which training ends; 0: never")
      .add_bool("training.keep_best", true,
                "With evaluations the result is the checkpoint of the lowest loss, not the last")
      .add_int("training.checkpoint_every", 0, 0, kMany,
               "Steps between checkpoints; 0: when interrupted only")
      .add_int("training.keep_checkpoints", 2, 1, kMany, "Checkpoints that are kept, besides the best");
}

void add_log_keys(ConfigSchema& schema) {
  schema.add_string("log.trace", "", "File with a JSON line of every step, at full precision")
      .add_string("log.tensorboard", "", "Folder for TensorBoard events")
      .add_string("log.plot", "", "SVG file with the curve of the loss; auto: loss.svg in the output folder")
      .add_list("log.golden_prompts", {},
                "Prompts whose greedy answers go into the receipt; empty: three of the data");
}

ConfigSchema make_schema() {
  ConfigSchema schema;
  add_data_keys(schema);
  add_training_keys(schema);
  add_log_keys(schema);
  for (const ConfigKey& key : engine::settings_schema().keys())
    for (const char* section : {"engine.", "backend.", "plugins.", "archs.", "log."})
      if (key.path.starts_with(section)) schema.add_key(key);
  // `model` is a path in a job file: these are for the command line and the environment.
  for (const char* key : {"model.arch", "model.best_effort"})
    schema.add_key(*engine::settings_schema().find(key));
  return schema;
}

}  // namespace

const ConfigSchema& job_schema() {
  static const ConfigSchema schema = make_schema();
  return schema;
}

}  // namespace llmhost::train
