#include "train/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/names.h"
#include "core/sha256.h"
#include "train/foreign_names.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr int64_t kMicroBatch = 2048;
// Keys that stand at the top, beside the sections.
constexpr std::array<std::string_view, 5> kTop = {"model", "output", "adapter", "method", "trace"};

std::string place(const std::string& source, const YamlNode& node) {
  return fmt::format("{}:{}:{}", source, node.line, node.column);
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
  if (root.kind != YamlNode::Kind::kMap)
    throw UsageError(
        fmt::format("{}: expected a job: model, output, method, data, training", place(source, root)));
  return root;
}

// Takes a key of the top out of the map; null when it is absent.
YamlNode take(YamlNode& root, std::string_view name) {
  for (size_t i = 0; i < root.keys.size(); ++i) {
    if (root.keys[i].text != name) continue;
    YamlNode node = std::move(root.items[i]);
    root.keys.erase(root.keys.begin() + static_cast<std::ptrdiff_t>(i));
    root.items.erase(root.items.begin() + static_cast<std::ptrdiff_t>(i));
    return node;
  }
  return {};
}

std::string unknown_key(const std::string& section, const std::string& name,
                        const std::vector<std::string>& known) {
  const std::string path = section.empty() ? name : section + "." + name;
  std::string hint = foreign_name_hint(name);
  if (hint.empty() && !nearest_name(name, known).empty() && section.empty()) hint = did_you_mean(name, known);
  return hint.empty() ? job_schema().unknown_key(path) : "unknown key " + quote_name(path) + hint;
}

void check_names(const YamlNode& map, const std::string& section, const std::vector<std::string>& known,
                 const std::string& source) {
  for (const YamlNode& key : map.keys)
    if (std::find(known.begin(), known.end(), key.text) == known.end())
      throw UsageError(fmt::format("{}: {}", place(source, key), unknown_key(section, key.text, known)));
}

void check_sections(const YamlNode& root, const std::string& source) {
  std::vector<std::string> known = job_schema().names_in("");
  known.insert(known.end(), kTop.begin(), kTop.end());
  check_names(root, "", known, source);
  for (const char* name : {"data", "training", "log"})
    if (const YamlNode* section = root.find(name);
        section != nullptr && section->kind == YamlNode::Kind::kMap)
      check_names(*section, name, job_schema().names_in(name), source);
}

std::string scalar(const YamlNode& node, std::string_view name, const std::string& source) {
  if (node.kind == YamlNode::Kind::kNull) return {};
  if (node.kind != YamlNode::Kind::kScalar)
    throw UsageError(fmt::format("{}: {} must be a path", place(source, node), name));
  return node.text;
}

fs::path resolved(const fs::path& folder, const std::string& text) {
  return text.empty() ? fs::path() : (folder / text).lexically_normal();
}

// A path of the file is relative to the file, one of the command line to the folder it is given in.
fs::path path_of(const Settings& settings, std::string_view key, const fs::path& folder) {
  const std::string& text = settings.get_string(key);
  return settings.at(key).source == SettingSource::kFile ? resolved(folder, text) : fs::path(text);
}

void set_method(YamlNode& method, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw UsageError(fmt::format("--method-set {}: expected KEY=VALUE", quote_name(assignment)));
  const std::string name = assignment.substr(0, equals);
  YamlNode value;
  try {
    value = parse_yaml(assignment.substr(equals + 1), "--method-set " + name, {});
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
  value.line = 0;
  take(method, name);
  YamlNode key;
  key.kind = YamlNode::Kind::kScalar;
  key.text = name;
  key.line = 0;  // of no file
  method.kind = YamlNode::Kind::kMap;
  method.keys.push_back(std::move(key));
  method.items.push_back(std::move(value));
}

// `method: lora`, or a map with its name and settings.
void read_method(YamlNode method, const std::string& source, const std::vector<std::string>& more, Job& job) {
  if (method.kind == YamlNode::Kind::kScalar) {
    job.method = method.text;
    YamlNode none;
    none.line = method.line;
    none.column = method.column;
    method = std::move(none);
  } else if (method.kind == YamlNode::Kind::kMap) {
    const YamlNode name = take(method, "name");
    if (name.kind != YamlNode::Kind::kScalar || name.text.empty())
      throw UsageError(
          fmt::format("{}: method has no name; see llmhost finetune --methods", place(source, method)));
    job.method = name.text;
  } else {
    throw UsageError(
        fmt::format("{}: 'method' is missing; see llmhost finetune --methods", place(source, method)));
  }
  for (const std::string& assignment : more) set_method(method, assignment);
  job.method_settings = std::move(method);
  job.source = source;
}

template <typename Enum, size_t n>
Enum enum_of(const std::string& text, const std::array<std::string_view, n>& names) {
  return static_cast<Enum>(std::find(names.begin(), names.end(), text) - names.begin());
}

// In the order of DataFormat.
constexpr std::array<std::string_view, 8> kFormats = {
    "auto", "alpaca", "sharegpt", "messages", "prompt_completion", "segments", "tokens", "text"};
constexpr std::array<std::string_view, 3> kLossOn = {"assistant", "all", "last"};
constexpr std::array<std::string_view, 3> kTooLong = {"truncate", "skip", "refuse"};
constexpr std::array<std::string_view, 3> kOptimizers = {"adamw", "sgd", "adafactor"};

void read_data(const Settings& settings, const fs::path& folder, Job& job) {
  job.train_data = path_of(settings, "data.train", folder);
  job.eval_data = path_of(settings, "data.eval", folder);
  job.eval_fraction = settings.get_float("data.eval_fraction");
  DatasetOptions& data = job.dataset;
  data.format = enum_of<DataFormat>(settings.get_string("data.format"), kFormats);
  data.loss_on = enum_of<LossOn>(settings.get_string("data.loss_on"), kLossOn);
  data.max_length = settings.get_int("data.max_length");
  data.too_long = enum_of<TooLong>(settings.get_string("data.too_long"), kTooLong);
  data.stride = settings.get_int("data.stride");
  data.add_eos = settings.get_bool("data.add_eos");
  data.chat_template = path_of(settings, "data.chat_template", folder).string();
  data.bad_rows = settings.get_string("data.bad_rows") == "skip" ? BadRow::kSkip : BadRow::kRefuse;
  data.date = settings.get_string("data.date");
  BatchOptions& batches = job.batches;
  batches.batch_size = settings.get_int("training.batch_size");
  batches.batch_tokens = settings.get_int("training.batch_tokens");
  batches.micro_batch_tokens = settings.get_int("training.micro_batch_tokens");
  batches.packing = settings.get_bool("data.packing");
  batches.shuffle = settings.get_bool("data.shuffle");
  if (batches.micro_batch_tokens == 0) batches.micro_batch_tokens = std::max(kMicroBatch, data.max_length);
  if (batches.packing && batches.batch_tokens == 0) batches.batch_tokens = 8 * data.max_length;
}

void read_optimizer(const Settings& settings, Job& job) {
  OptimizerOptions& optimizer = job.optimizer;
  optimizer.kind = enum_of<OptimizerKind>(settings.get_string("training.optimizer"), kOptimizers);
  optimizer.lr = settings.get_float("training.learning_rate");
  optimizer.weight_decay = settings.get_float("training.weight_decay");
  optimizer.beta1 = settings.get_float("training.beta1");
  optimizer.beta2 = settings.get_float("training.beta2");
  optimizer.eps = settings.get_float("training.eps");
  optimizer.momentum = settings.get_float("training.momentum");
  optimizer.max_grad_norm = settings.get_float("training.max_grad_norm");
  ScheduleOptions& schedule = job.schedule;
  schedule.name = settings.get_string("training.scheduler");
  schedule.warmup_steps = settings.get_int("training.warmup_steps");
  schedule.warmup_ratio = settings.get_float("training.warmup_ratio");
  schedule.num_cycles = settings.get_float("training.num_cycles");
  schedule.min_lr_rate = settings.get_float("training.min_lr_rate");
  schedule.power = settings.get_float("training.power");
  schedule.lr_end = settings.get_float("training.lr_end");
}

void read_training(const Settings& settings, Job& job) {
  job.epochs = settings.get_float("training.epochs");
  job.max_steps = settings.get_int("training.max_steps");
  job.seed = static_cast<uint64_t>(settings.get_int("training.seed"));
  job.batches.seed = job.seed;
  job.checkpoint_layers = settings.get_bool("training.gradient_checkpointing");
  job.dtype = settings.get_string("training.dtype");
  job.eval_every = settings.get_int("training.eval_every");
  job.patience = settings.get_int("training.patience");
  job.keep_best = settings.get_bool("training.keep_best");
  job.checkpoint_every = settings.get_int("training.checkpoint_every");
  job.keep_checkpoints = settings.get_int("training.keep_checkpoints");
  read_optimizer(settings, job);
}

void read_logs(const Settings& settings, const fs::path& folder, Job& job) {
  job.trace = path_of(settings, "log.trace", folder);
  job.tensorboard = path_of(settings, "log.tensorboard", folder);
  job.plot = settings.get_string("log.plot") == "auto" ? job.output / "loss.svg"
                                                       : path_of(settings, "log.plot", folder);
  job.golden_prompts = settings.get_list("log.golden_prompts");
}

std::string where(const Settings& settings, const char* key) {
  return settings.is_default(key) ? std::string(key) : fmt::format("{}: {}", settings.at(key).where, key);
}

// Keys that count with some optimisers or schedules alone.
struct Bound {
  const char* key;
  const char* with;
  std::vector<std::string_view> choices;
};

void check_bounds(const Settings& settings) {
  const std::vector<Bound> bounds = {
      {"training.momentum", "training.optimizer", {"sgd"}},
      {"training.beta1", "training.optimizer", {"adamw"}},
      {"training.beta2", "training.optimizer", {"adamw", "adafactor"}},
      {"training.eps", "training.optimizer", {"adamw"}},
      {"training.num_cycles", "training.scheduler", {"cosine", "cosine_with_restarts", "cosine_with_min_lr"}},
      {"training.min_lr_rate", "training.scheduler", {"cosine_with_min_lr"}},
      {"training.power", "training.scheduler", {"polynomial"}},
      {"training.lr_end", "training.scheduler", {"polynomial"}},
  };
  for (const Bound& bound : bounds) {
    const std::string& chosen = settings.get_string(bound.with);
    const bool counts = std::find(bound.choices.begin(), bound.choices.end(), chosen) != bound.choices.end();
    if (!counts && !settings.is_default(bound.key))
      throw UsageError(
          fmt::format("{} means nothing with {} {}", where(settings, bound.key), bound.with, chosen));
  }
}

// What each key allows and all together do not.
void check_whole(const Settings& settings, const std::string& source, const Job& job) {
  if (job.model.empty()) throw UsageError(source + ": 'model' is missing");
  if (job.output.empty()) throw UsageError(source + ": 'output' is missing: the folder of the result");
  if (job.train_data.empty()) throw UsageError(source + ": 'data.train' is missing");
  check_bounds(settings);
  if (!job.trace.empty() && job.trace == job.plot)
    throw UsageError(where(settings, "log.plot") + " and log.trace are the same file");
  if (!job.eval_data.empty() && job.eval_fraction > 0)
    throw UsageError(fmt::format(
        "{} says where evaluation data is, eval_fraction takes it of the training data: one of both",
        where(settings, "data.eval")));
  if (job.epochs <= 0 && job.max_steps == 0)
    throw UsageError(where(settings, "training.epochs") + " is 0, and so is max_steps");
  if (job.patience > 0 && job.eval_data.empty() && job.eval_fraction == 0)
    throw UsageError(where(settings, "training.patience") +
                     " needs evaluation data: data.eval or data.eval_fraction");
  if (job.schedule.warmup_steps > 0 && job.schedule.warmup_ratio > 0)
    throw UsageError(where(settings, "training.warmup_ratio") + " and warmup_steps: one of both");
  if (job.dataset.stride >= job.dataset.max_length)
    throw UsageError(where(settings, "data.stride") + " must be below data.max_length");
  if (job.dataset.max_length > job.batches.micro_batch_tokens)
    throw UsageError(fmt::format("{} is {}, data.max_length {}: an example must fit",
                                 where(settings, "training.micro_batch_tokens"),
                                 job.batches.micro_batch_tokens, job.dataset.max_length));
  if (!job.batches.packing && job.batches.batch_tokens > 0)
    throw UsageError(where(settings, "training.batch_tokens") +
                     " needs data.packing; without it batch_size counts");
  if (job.batches.packing && !settings.is_default("training.batch_size"))
    throw UsageError(where(settings, "training.batch_size") +
                     " means nothing with data.packing: batch_tokens counts");
}

OrderedJson to_json(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kScalar) return node.text;
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < node.items.size(); ++i) {
    if (node.kind == YamlNode::Kind::kMap) list.push_back(node.keys[i].text);
    list.push_back(to_json(node.items[i]));
  }
  return list;
}

}  // namespace

JobFile parse_job(std::string_view yaml, const std::string& source, const fs::path& folder, Settings settings,
                  const std::vector<std::string>& method_settings) {
  YamlNode root = parse_root(yaml, source);
  check_sections(root, source);
  Job job;
  job.model = resolved(folder, scalar(take(root, "model"), "model", source));
  job.output = resolved(folder, scalar(take(root, "output"), "output", source));
  job.adapter = resolved(folder, scalar(take(root, "adapter"), "adapter", source));
  read_method(take(root, "method"), source, method_settings, job);
  const YamlNode trace = take(root, "trace");
  settings.load_node(root, source);
  read_data(settings, folder, job);
  read_training(settings, job);
  read_logs(settings, folder, job);
  if (const std::string path = scalar(trace, "trace", source); !path.empty()) {
    if (!job.trace.empty())
      throw UsageError(fmt::format("{}: 'trace' is log.trace, which is given too", place(source, trace)));
    job.trace = resolved(folder, path);
  }
  check_whole(settings, source, job);
  return {std::move(job), std::move(settings)};
}

JobFile read_job_file(const fs::path& file, Settings settings,
                      const std::vector<std::string>& method_settings) {
  std::string text;
  try {
    text = read_file(file, kMaxFileBytes);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  return parse_job(text, file.string(), file.parent_path(), std::move(settings), method_settings);
}

// Without paths: a job may be gone on with from another folder. Data is known by its hash.
std::string Job::description() const {
  const OrderedJson whole = {{"method", method},
                             {"settings", to_json(method_settings)},
                             {"adapter", adapter.filename().string()},
                             {"eval_fraction", eval_fraction},
                             {"data",
                              {dataset.format, dataset.loss_on, dataset.max_length, dataset.too_long,
                               dataset.stride, dataset.add_eos, dataset.bad_rows, dataset.date}},
                             {"batches",
                              {batches.batch_size, batches.batch_tokens, batches.micro_batch_tokens,
                               batches.packing, batches.shuffle, batches.seed}},
                             {"length", {epochs, max_steps}},
                             {"seed", seed},
                             {"optimizer",
                              {optimizer.kind, optimizer.lr, optimizer.weight_decay, optimizer.beta1,
                               optimizer.beta2, optimizer.eps, optimizer.momentum, optimizer.max_grad_norm}},
                             {"schedule",
                              {schedule.name, schedule.warmup_steps, schedule.warmup_ratio,
                               schedule.num_cycles, schedule.min_lr_rate, schedule.power, schedule.lr_end}},
                             {"dtype", dtype},
                             {"evaluation", {eval_every, patience, keep_best}}};
  return whole.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string Job::hash() const {
  return to_hex(sha256(description()));
}

}  // namespace llmhost::train
