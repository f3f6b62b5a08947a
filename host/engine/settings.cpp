#include "engine/settings.h"

#include <limits>

#include "core/spin_wait.h"

namespace llmhost::engine {
namespace {

void add_model_keys(ConfigSchema& schema) {
  schema.add_string("model.arch", "", "Architecture plugin; empty: the one that matches the checkpoint")
      .add_bool("model.best_effort", false, "Load even when tensors or config keys are not understood")
      .add_string("model.adapter", "", "Folder of an adapter that all requests get; empty: none")
      .add_enum("model.receipt", {"check", "golden", "ignore"}, "check",
                "What is done with an adapter's receipt (receipt.json): check refuses it for another base, "
                "tokenizer or "
                "chat template; golden compares its answers to the receipt's prompts, too; ignore takes it "
                "as it is")
      .add_string("model.chat_template", "", "File with a chat template to use instead of the model's own");
}

void add_backend_keys(ConfigSchema& schema) {
  schema.add_string("backend.name", "cpu", "Backend plugin, or 'reference' for the built-in slow one")
      .add_int("backend.device", 0, 0, 1023, "Which of the backend's devices")
      .add_list("backend.options", {}, "Options of the backend as key=value");
}

void add_engine_keys(ConfigSchema& schema) {
  schema.add_int("engine.threads", 0, 0, 1024, "Threads, the calling one included; 0: all cores")
      .add_int("engine.spin_us", SpinWait::kDefaultMicroseconds, 0, 1000000,
               "Microseconds that a thread waits for work by polling before it sleeps")
      .add_bool("engine.pin_threads", false, "Keep each thread on a processor of its own")
      .add_string(
          "engine.weight_cache", "off",
          "Where weights in the device's layout are kept between starts: off, auto (the cache folder) "
          "or a folder")
      .add_int("engine.context", 0, 0, int64_t{1} << 30,
               "Most tokens of a sequence; 0: the command's default")
      .add_int("engine.batch_tokens", 512, 1, 65536, "Most tokens computed in one step")
      .add_int("engine.sequences", 1, 1, 4096, "Sequences that run together")
      .add_int("engine.state_tokens", 0, 0, int64_t{1} << 40,
               "serve: most tokens of all sequences together, at least the context; 0: by the memory")
      .add_int("engine.adapter_rank", 256, 1, 65536, "Largest rank of an adapter")
      .add_int("engine.prefill_chunk", 0, 0, 65536,
               "Most prompt tokens of a sequence in one step; 0: no limit of its own")
      .add_enum(
          "engine.kv_dtype", {"auto", "f32", "f16", "bf16", "q8_0"}, "auto",
          "Element type of keys and values; auto: f32 for logits, f16 elsewhere; q8_0: 8 bits, a scale for "
          "each 32")
      .add_enum("engine.precision", {"auto", "f32", "native"}, "auto",
                "Activations in products with weights: f32, or native: rounded to 8 bits in blocks of 32 for "
                "quantised weights, to bf16 for bf16 ones; auto: f32 for logits, native elsewhere");
}

void add_speculation_keys(ConfigSchema& schema) {
  schema
      .add_enum(
          "engine.speculation.mode", {"off", "lookup", "draft"}, "off",
          "Guess tokens and verify several a step: lookup takes what followed the same tokens earlier in "
          "the text, draft asks a smaller model. Only the speed changes")
      .add_int("engine.speculation.tokens", 4, 1, 64, "Most tokens guessed at a time")
      .add_int("engine.speculation.ngram_min", 2, 1, 32,
               "lookup: fewest tokens that must have occurred earlier")
      .add_int("engine.speculation.ngram_max", 4, 1, 32, "lookup: most tokens that are looked for")
      .add_string("engine.speculation.draft_model", "",
                  "draft: model folder or file with the vocabulary of the model");
}

void add_sampling_keys(ConfigSchema& schema) {
  schema.add_float("sampling.temperature", 0.7, 0.0, 100.0, "0 picks the most probable token")
      .add_int("sampling.top_k", 0, 0, int64_t{1} << 30, "Sample among so many most probable tokens; 0: all")
      .add_float("sampling.top_p", 0.95, 1e-6, 1.0,
                 "Sample among the most probable tokens that sum up to this")
      .add_float("sampling.min_p", 0.0, 0.0, 1.0, "Drop tokens less probable than this times the best one")
      .add_float("sampling.repetition_penalty", 1.0, 0.01, 10.0, "Above 1 discourages tokens that occurred")
      .add_float("sampling.presence_penalty", 0.0, -2.0, 2.0,
                 "Taken off the logit of tokens that were generated")
      .add_float("sampling.frequency_penalty", 0.0, -2.0, 2.0, "The same, times how often")
      .add_int("sampling.seed", -1, -1, std::numeric_limits<int64_t>::max(),
               "Random seed; -1: a new one each time");
}

ConfigSchema make_schema() {
  ConfigSchema schema;
  schema.add_list("plugins.path", {}, "Folders or files to look for plugins first (absolute)")
      .add_bool("plugins.allow_insecure", false, "Take plugins that other users may write to")
      .add_list("archs.path", {}, "Files or folders with described architectures, before all others")
      .add_enum("log.level", {"trace", "debug", "info", "warn", "error", "off"}, "warn", "What is logged");
  add_model_keys(schema);
  add_backend_keys(schema);
  add_engine_keys(schema);
  add_speculation_keys(schema);
  add_sampling_keys(schema);
  return schema;
}

}  // namespace

const ConfigSchema& settings_schema() {
  static const ConfigSchema schema = make_schema();
  return schema;
}

}  // namespace llmhost::engine
