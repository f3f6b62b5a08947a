// What a server is told: a file (serve.yaml) over the environment and the command line, with the precedence
// of all settings (core/config.h). Sections server, access, api, pool and the list models; the settings of
// docs/config.md (engine, backend, model, sampling, plugins, archs, log) hold for all models, and but for the
// last three an entry of `models` may have its own. Nothing unknown is ignored. Errors are UsageError with
// file, line and the nearest name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"

namespace llmhost::serve {

struct AdapterSettings {
  std::vector<std::filesystem::path> roots;  // folders whose adapters may be named; empty: no adapters
  uint64_t memory = 0;                       // bytes; 0: automatic
  int64_t max_loaded = 0;                    // 0: as many as the memory holds
  int32_t max_rank = 64;
  bool only_pinned = false;                    // those of `digests` alone may be loaded
  std::map<std::string, std::string> digests;  // name to SHA-256 (hex) of what may be loaded under it
  std::filesystem::path tuned;  // the one of the roots that fine-tuned adapters go to; empty: none
};

struct ModelConfig {
  std::string where;  // it was asked for: a place in the file, or an option
  std::string id;
  std::filesystem::path path;
  std::vector<std::string> aliases;
  bool preload = true;
  bool pinned = true;
  int32_t replicas = 1;
  AdapterSettings adapters;
  Settings settings;  // engine.*, backend.*, model.*, sampling.* of this model

  explicit ModelConfig(Settings of_model) : settings(std::move(of_model)) {}
};

struct PoolSettings {
  std::vector<std::filesystem::path> roots;  // folders whose models are loaded when they are asked for
  int64_t max_loaded = 0;                    // models; 0: as many as the memory holds
  uint64_t memory = 0;                       // bytes; 0: what is free at the start but for a reserve
  uint64_t reserve = 0;                      // bytes; 0: automatic
  uint64_t server_caches = 0;                // bytes that the server keeps beside its models
  bool waits = true;                         // requests wait for loading; else they are told to come again
  int64_t max_waiting = 1000;                // requests that wait for loading
  int64_t load_timeout_s = 600;
};

struct TuningSettings {
  std::filesystem::path folder;                   // of files, jobs and adapters; empty: no fine-tuning
  std::vector<std::filesystem::path> data_roots;  // folders of data sets, beside uploaded files
  uint64_t file_bytes = 0;                        // of all uploaded files together
};

struct ServeConfig {
  Settings settings;  // of the schema below
  PoolSettings pool;
  std::vector<ModelConfig> models;
  std::filesystem::path keys_file;  // empty: none
  std::filesystem::path socket;     // empty: host and port
  TuningSettings tuning = {};
};

// settings_schema() and the sections server, access, api and pool.
const ConfigSchema& serve_schema();

// `settings` has the environment and the command line already. An empty `file` is none. Paths in the file are
// relative to its folder.
ServeConfig read_configuration(Settings settings, const std::filesystem::path& file);
ServeConfig parse_configuration(Settings settings, std::string_view yaml, const std::string& source,
                                const std::filesystem::path& folder);

// A model of the command line: loaded at the start and pinned, named after its file or folder.
void add_model(ServeConfig& config, const std::string& path, const std::vector<std::string>& adapter_roots);

// Gives every model of the list a root for its fine-tuned adapters, when there is a folder for tuning. Once,
// before the models are loaded.
void open_for_tuning(ServeConfig& config);

// Throws UsageError when there is nothing to serve or two models have one name.
void check_configuration(const ServeConfig& config);
// Throws UsageError for a path that leads nowhere: what loading would say much later.
void check_files(const ServeConfig& config);

// The name of a model from where it lies: the last part of the path, without .gguf or .safetensors.
std::string model_name(const std::filesystem::path& path);
// Why `name` cannot name a model, or empty.
std::string name_fault(std::string_view name);

// "512MiB", "8 GiB", "1000000", "auto" (0). `where` begins the error.
uint64_t parse_bytes(std::string_view text, std::string_view where);

}  // namespace llmhost::serve
