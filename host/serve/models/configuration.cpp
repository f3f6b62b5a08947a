#include "serve/models/configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/names.h"
#include "core/yaml.h"
#include "engine/settings.h"

namespace llmhost::serve {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr size_t kMaxNameBytes = 200;
constexpr size_t kDigestDigits = 64;
constexpr std::string_view kModels = "models";

void add_server_keys(ConfigSchema& schema) {
  schema.add_string("server.host", "127.0.0.1", "Name or address to listen on")
      .add_int("server.port", 8080, 0, 65535, "Port to listen on; 0: any that is free")
      .add_string("server.socket", "", "Unix socket to listen on instead of host and port")
      .add_int("server.workers", 2, 1, 64, "Threads that answer requests, beside the models' own")
      .add_int("server.max_connections", 4096, 1, 1'000'000, "Connections at once")
      .add_string("server.max_body", "16MiB", "Largest body of a request")
      .add_string("server.max_queued_output", "1MiB",
                  "Bytes that a stream may be behind before its client is given up")
      .add_int("server.header_timeout", 10, 1, 3600, "Seconds for a request's header to arrive")
      .add_int("server.body_timeout", 30, 1, 3600, "Seconds for a request's body to arrive")
      .add_int("server.idle_timeout", 60, 1, 86'400, "Seconds that a connection may be silent")
      .add_int("server.drain_timeout", 0, 0, 86'400,
               "Seconds that running requests have after SIGTERM; 0: as long as they take");
}

void add_access_keys(ConfigSchema& schema) {
  schema.add_string("access.keys_file", "", "File with keys, see docs/serving.md")
      .add_list("access.allowed_hosts", {}, "Names by which a server on the loopback device may be called")
      .add_list("access.allowed_origins", {}, "Web pages that may use the server, as https://host");
}

void add_api_keys(ConfigSchema& schema) {
  schema
      .add_enum("api.compat", {"strict", "lenient"}, "strict",
                "Fields that are not known: refused, or listed in the answer")
      .add_string("api.default_model", "", "Model of requests that name none; empty: the first one")
      .add_string("api.grammar_cache", "64MiB", "Memory for compiled grammars");
}

void add_pool_keys(ConfigSchema& schema) {
  schema.add_list("pool.roots", {}, "Folders whose models are loaded when they are asked for")
      .add_int("pool.max_loaded", 0, 0, 100'000, "Most models in memory; 0: as many as fit")
      .add_string("pool.memory", "auto",
                  "Memory for models; auto: what is free at the start but for the reserve")
      .add_string("pool.reserve", "auto",
                  "Memory left to others; auto: a tenth of what is free, at most 2 GiB")
      .add_enum("pool.on_not_loaded", {"wait", "error"}, "wait",
                "Requests for a model that is not loaded wait for it, or are told when to come again")
      .add_int("pool.queue", 1000, 0, 1'000'000, "Requests that may wait for models")
      .add_int("pool.load_timeout", 600, 1, 86'400, "Seconds that a request waits for its model");
}

void add_tuning_keys(ConfigSchema& schema) {
  schema
      .add_string("tuning.folder", "",
                  "Folder for uploaded files, fine-tuning jobs and their adapters; empty: no fine-tuning")
      .add_list("tuning.roots", {},
                "Folders whose data sets jobs may name as data:NAME, beside uploaded files")
      .add_float("tuning.share", 0.5, 0.01, 1, "Share of the time that a job takes while requests run")
      .add_int("tuning.micro_batch_tokens", 512, 16, 1'000'000, "Tokens that a job runs at once, at most")
      .add_int("tuning.queue", 100, 1, 100'000, "Jobs that may wait")
      .add_string("tuning.max_files", "1GiB", "All uploaded files together");
}

ConfigSchema make_serve_schema() {
  ConfigSchema schema = engine::settings_schema();
  add_server_keys(schema);
  add_access_keys(schema);
  add_api_keys(schema);
  add_pool_keys(schema);
  add_tuning_keys(schema);
  return schema;
}

// Of an entry of `models`: its own keys, and those settings that may differ from model to model.
ConfigSchema make_entry_schema() {
  ConfigSchema schema;
  schema.add_string("id", "", "Name in requests; empty: that of the file or folder")
      .add_string("path", "", "Model folder, safetensors or GGUF file")
      .add_list("aliases", {}, "Further names")
      .add_bool("preload", true, "Load it at the start")
      .add_bool("pinned", true, "Never unload it; without a value: as preload")
      .add_int("replicas", 1, 1, 64, "Copies that share the requests")
      .add_list("adapters.roots", {}, "Folders whose adapters may be named in requests")
      .add_string("adapters.memory", "auto", "Memory for adapters; auto: 256 MiB")
      .add_int("adapters.max_loaded", 0, 0, 100'000, "Most adapters in memory; 0: as many as fit")
      .add_int("adapters.max_rank", 64, 1, 4096, "Largest rank of an adapter")
      .add_enum("adapters.policy", {"open", "pinned"}, "open",
                "open: any adapter of the roots; pinned: those of `digests` alone")
      .add_list("adapters.digests", {},
                "NAME=SHA256 of adapters that may be loaded under these names only so");
  const ConfigSchema& all = engine::settings_schema();
  for (const char* section : {"engine", "backend", "model", "sampling"}) {
    for (const ConfigKey& key : all.keys())
      if (key.path.starts_with(std::string(section) + ".")) schema.add_key(key);
  }
  return schema;
}

const ConfigSchema& entry_schema() {
  static const ConfigSchema schema = make_entry_schema();
  return schema;
}

std::string place(const std::string& source, const YamlNode& node) {
  return fmt::format("{}:{}:{}", source, node.line, node.column);
}

fs::path resolved(const fs::path& folder, const std::string& text) {
  return (folder / text).lexically_normal();
}

std::vector<fs::path> resolved(const fs::path& folder, const std::vector<std::string>& texts) {
  std::vector<fs::path> paths;
  for (const std::string& text : texts) paths.push_back(resolved(folder, text));
  return paths;
}

uint64_t bytes_of(const Settings& settings, std::string_view key) {
  return parse_bytes(settings.get_string(key), fmt::format("{}: {}", settings.at(key).where, key));
}

std::map<std::string, std::string> parse_digests(const Setting& setting) {
  std::map<std::string, std::string> digests;
  for (const std::string& text : std::get<std::vector<std::string>>(setting.value)) {
    const size_t equals = std::min(text.find('='), text.size());
    std::string digest = text.substr(std::min(equals + 1, text.size()));
    std::transform(digest.begin(), digest.end(), digest.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const bool is_hex =
        digest.size() == kDigestDigits && digest.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (equals == 0 || !is_hex || !digests.emplace(text.substr(0, equals), digest).second)
      throw UsageError(
          fmt::format("{}: adapters.digests has {}, expected NAME=SHA256 with 64 hex digits, each name once",
                      setting.where, quote_name(text)));
  }
  return digests;
}

AdapterSettings adapter_settings(const Settings& entry, const fs::path& folder) {
  AdapterSettings adapters;
  adapters.roots = resolved(folder, entry.get_list("adapters.roots"));
  adapters.memory = bytes_of(entry, "adapters.memory");
  adapters.max_loaded = entry.get_int("adapters.max_loaded");
  adapters.max_rank = static_cast<int32_t>(entry.get_int("adapters.max_rank"));
  adapters.only_pinned = entry.get_string("adapters.policy") == "pinned";
  adapters.digests = parse_digests(entry.at("adapters.digests"));
  return adapters;
}

ModelConfig model_config(const Settings& common, const YamlNode& node, const std::string& source,
                         const fs::path& folder) {
  Settings entry(entry_schema());
  if (node.kind != YamlNode::Kind::kMap)
    throw UsageError(fmt::format("{}: a model is a section with at least a path", place(source, node)));
  entry.load_node(node, source);
  ModelConfig model(common);
  model.where = place(source, node);
  model.settings.take_file_values(entry);
  if (entry.get_string("path").empty())
    throw UsageError(fmt::format("{}: the model has no path", place(source, node)));
  model.path = resolved(folder, entry.get_string("path"));
  model.id = entry.get_string("id").empty() ? model_name(model.path) : entry.get_string("id");
  model.aliases = entry.get_list("aliases");
  model.preload = entry.get_bool("preload");
  model.pinned = entry.is_default("pinned") ? model.preload : entry.get_bool("pinned");
  model.replicas = static_cast<int32_t>(entry.get_int("replicas"));
  model.adapters = adapter_settings(entry, folder);
  std::vector<std::string> names = model.aliases;
  names.push_back(model.id);
  for (const std::string& name : names)
    if (const std::string fault = name_fault(name); !fault.empty())
      throw UsageError(fmt::format("{}: the name {} {}", place(source, node), quote_name(name), fault));
  return model;
}

// The list of models is no part of the schema, but a name that a typo may have meant.
void check_sections(const YamlNode& root, const std::string& source) {
  std::vector<std::string> known = serve_schema().names_in("");
  known.emplace_back(kModels);
  for (const YamlNode& key : root.keys)
    if (std::find(known.begin(), known.end(), key.text) == known.end())
      throw UsageError(fmt::format("{}: unknown key {}{}", place(source, key), quote_name(key.text),
                                   did_you_mean(key.text, known)));
}

PoolSettings pool_settings(const Settings& settings, const fs::path& folder) {
  PoolSettings pool;
  const bool is_from_file = settings.at("pool.roots").source == SettingSource::kFile;
  pool.roots = resolved(is_from_file ? folder : fs::path(), settings.get_list("pool.roots"));
  pool.max_loaded = settings.get_int("pool.max_loaded");
  pool.memory = bytes_of(settings, "pool.memory");
  pool.reserve = bytes_of(settings, "pool.reserve");
  pool.server_caches = bytes_of(settings, "api.grammar_cache");
  pool.waits = settings.get_string("pool.on_not_loaded") == "wait";
  pool.max_waiting = settings.get_int("pool.queue");
  pool.load_timeout_s = settings.get_int("pool.load_timeout");
  return pool;
}

// A path in the file is relative to the file, one of the command line to the folder it is given in.
fs::path path_of(const Settings& settings, std::string_view key, const fs::path& folder) {
  const std::string& text = settings.get_string(key);
  if (text.empty() || settings.at(key).source != SettingSource::kFile) return text;
  return resolved(folder, text);
}

TuningSettings tuning_settings(const Settings& settings, const fs::path& folder) {
  const bool is_from_file = settings.at("tuning.roots").source == SettingSource::kFile;
  TuningSettings tuning;
  tuning.folder = path_of(settings, "tuning.folder", folder);
  tuning.data_roots = resolved(is_from_file ? folder : fs::path(), settings.get_list("tuning.roots"));
  tuning.file_bytes = bytes_of(settings, "tuning.max_files");
  return tuning;
}

YamlNode parse_root(std::string_view yaml, const std::string& source) {
  YamlNode root;
  try {
    YamlLimits limits;
    limits.max_bytes = kMaxFileBytes;
    root = parse_yaml(yaml, source, limits);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  if (root.kind != YamlNode::Kind::kMap && root.kind != YamlNode::Kind::kNull)
    throw UsageError(fmt::format("{}: expected sections such as 'models:'", place(source, root)));
  return root;
}

}  // namespace

const ConfigSchema& serve_schema() {
  static const ConfigSchema schema = make_serve_schema();
  return schema;
}

ServeConfig parse_configuration(Settings settings, std::string_view yaml, const std::string& source,
                                const fs::path& folder) {
  YamlNode root = parse_root(yaml, source);
  check_sections(root, source);
  YamlNode models;
  for (size_t i = 0; i < root.keys.size(); ++i) {
    if (root.keys[i].text != kModels) continue;
    models = std::move(root.items[i]);
    root.keys.erase(root.keys.begin() + static_cast<std::ptrdiff_t>(i));
    root.items.erase(root.items.begin() + static_cast<std::ptrdiff_t>(i));
    break;
  }
  settings.load_node(root, source);
  if (models.kind != YamlNode::Kind::kNull && models.kind != YamlNode::Kind::kList)
    throw UsageError(fmt::format("{}: models is a list, each entry with a path", place(source, models)));
  ServeConfig config{settings,
                     pool_settings(settings, folder),
                     {},
                     path_of(settings, "access.keys_file", folder),
                     path_of(settings, "server.socket", folder),
                     tuning_settings(settings, folder)};
  for (const YamlNode& node : models.items)
    config.models.push_back(model_config(config.settings, node, source, folder));
  return config;
}

ServeConfig read_configuration(Settings settings, const fs::path& file) {
  if (file.empty()) return parse_configuration(std::move(settings), "", "configuration", {});
  std::string text;
  try {
    text = read_file(file, kMaxFileBytes);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  return parse_configuration(std::move(settings), text, file.string(), file.parent_path());
}

void add_model(ServeConfig& config, const std::string& path, const std::vector<std::string>& adapter_roots) {
  ModelConfig model(config.settings);
  model.where = "--model";
  model.path = path;
  model.id = model_name(path);
  if (const std::string fault = name_fault(model.id); !fault.empty())
    throw UsageError(fmt::format("--model {}: the name {} {}; give it another in a file, see --config",
                                 quote_name(path), quote_name(model.id), fault));
  model.adapters.roots.assign(adapter_roots.begin(), adapter_roots.end());
  config.models.push_back(std::move(model));
}

void open_for_tuning(ServeConfig& config) {
  if (config.tuning.folder.empty()) return;
  for (ModelConfig& model : config.models) {
    std::string name = model.id;
    std::replace(name.begin(), name.end(), '/', '_');
    model.adapters.tuned = config.tuning.folder / "adapters" / name;
    fs::create_directories(model.adapters.tuned);
    model.adapters.roots.push_back(model.adapters.tuned);
  }
}

std::string model_name(const fs::path& path) {
  fs::path last = path.lexically_normal();
  if (!last.has_filename()) last = last.parent_path();
  if (last.filename() == "." || last.filename() == "..") last = fs::absolute(last).lexically_normal();
  if (!last.has_filename()) last = last.parent_path();
  const fs::path name = last.filename();
  const bool is_weights = name.extension() == ".gguf" || name.extension() == ".safetensors";
  return is_weights ? name.stem().string() : name.string();
}

std::string name_fault(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxNameBytes) return fmt::format("is longer than {} bytes", kMaxNameBytes);
  const auto is_good = [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           (c < 0x80 && std::string_view("._-/+@=").find(static_cast<char>(c)) != std::string_view::npos);
  };
  if (!std::all_of(name.begin(), name.end(), is_good))
    return "has other characters than letters, digits and ._-/+@=";
  if (name.front() == '/' || name.back() == '/' || name.find("..") != name.npos ||
      name.find("//") != name.npos)
    return "looks like a path";
  return {};
}

uint64_t parse_bytes(std::string_view text, std::string_view where) {
  if (text == "auto") return 0;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  int shift = -1;
  if (unit.empty() || unit == "B") shift = 0;
  if (unit == "KiB") shift = 10;
  if (unit == "MiB") shift = 20;
  if (unit == "GiB") shift = 30;
  if (unit == "TiB") shift = 40;
  if (error != std::errc() || shift < 0 || value == 0 || value > (UINT64_MAX >> shift))
    throw UsageError(
        fmt::format("{} is {}, expected auto or a size such as 512MiB or 8GiB", where, quote_name(text)));
  return value << shift;
}

}  // namespace llmhost::serve
