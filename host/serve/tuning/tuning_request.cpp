#include "serve/tuning/tuning_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "core/yaml.h"
#include "serve/api/api_error.h"
#include "train/schedule.h"

namespace llmhost::serve {
namespace {

constexpr int64_t kMaxCount = 1'000'000'000;
constexpr size_t kMaxSuffix = 64;

void allow_only(const OrderedJson& object, std::string_view place,
                std::initializer_list<std::string_view> names) {
  if (!object.is_object()) throw bad_field(place, fmt::format("'{}' must be an object", place));
  for (const auto& [name, value] : object.items())
    if (std::find(names.begin(), names.end(), name) == names.end())
      throw unknown_field(place, name, fmt::format("{}", fmt::join(names, ", ")));
}

const OrderedJson* given(const OrderedJson& object, std::string_view name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text(const OrderedJson& object, std::string_view name) {
  const OrderedJson* value = given(object, name);
  if (value == nullptr) return {};
  if (!value->is_string()) throw bad_field(name, fmt::format("'{}' must be a string", name));
  return value->get<std::string>();
}

int64_t count(const OrderedJson& object, std::string_view name, int64_t least, int64_t otherwise) {
  const OrderedJson* value = given(object, name);
  if (value == nullptr || *value == "auto") return otherwise;
  const bool fits = value->is_number_integer() && *value >= least && *value <= kMaxCount;
  if (!fits)
    throw bad_field(name, fmt::format("'{}' must be a whole number from {} to {}", name, least, kMaxCount));
  return value->get<int64_t>();
}

double number(const OrderedJson& object, std::string_view name, double least, double most, double otherwise) {
  const OrderedJson* value = given(object, name);
  if (value == nullptr || *value == "auto") return otherwise;
  const bool fits = value->is_number() && value->get<double>() >= least && value->get<double>() <= most;
  if (!fits) throw bad_field(name, fmt::format("'{}' must be a number from {} to {}", name, least, most));
  return value->get<double>();
}

void allow_hyperparameters(const OrderedJson& object, std::string_view place) {
  allow_only(object, place, {"n_epochs", "batch_size", "learning_rate_multiplier"});
}

// Both places that clients write them at.
OrderedJson hyperparameters(const OrderedJson& body) {
  OrderedJson found = {{"n_epochs", "auto"}, {"batch_size", "auto"}, {"learning_rate_multiplier", "auto"}};
  if (const OrderedJson* flat = given(body, "hyperparameters")) {
    allow_hyperparameters(*flat, "hyperparameters");
    found.update(*flat);
  }
  const OrderedJson* method = given(body, "method");
  if (method == nullptr) return found;
  allow_only(*method, "method", {"type", "supervised"});
  if (text(*method, "type") != "supervised")
    throw bad_field("method.type", "'method.type' must be \"supervised\": other kinds are not trained here");
  const OrderedJson* supervised = given(*method, "supervised");
  if (supervised == nullptr) return found;
  allow_only(*supervised, "method.supervised", {"hyperparameters"});
  if (const OrderedJson* inner = given(*supervised, "hyperparameters")) {
    allow_hyperparameters(*inner, "method.supervised.hyperparameters");
    found.update(*inner);
  }
  return found;
}

void check_suffix(const std::string& suffix) {
  const bool fits = suffix.size() <= kMaxSuffix &&
                    std::all_of(suffix.begin(), suffix.end(),
                                [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
  if (!fits)
    throw bad_field("suffix",
                    fmt::format("'suffix' must have at most {} letters, digits, - and _", kMaxSuffix));
}

void check_unused(const OrderedJson& body) {
  if (const OrderedJson* integrations = given(body, "integrations"); integrations && !integrations->empty())
    throw bad_field("integrations", "'integrations': nothing is sent to other services");
}

OrderedJson metadata(const OrderedJson& body) {
  const OrderedJson* found = given(body, "metadata");
  if (found == nullptr) return nullptr;
  const bool fits =
      found->is_object() && found->size() <= 16 &&
      std::all_of(found->begin(), found->end(), [](const OrderedJson& v) { return v.is_string(); });
  if (!fits) throw bad_field("metadata", "'metadata' must be an object of at most 16 strings");
  return *found;
}

OrderedJson tuning(const OrderedJson& body) {
  const OrderedJson* found = given(body, "tuning");
  if (found == nullptr) return OrderedJson::object();
  allow_only(*found, "tuning",
             {"method", "settings", "learning_rate", "max_steps", "max_length", "packing", "weight_decay",
              "warmup_steps", "schedule", "checkpoint_every", "publish_every", "eval_every", "loss_on"});
  return *found;
}

}  // namespace

TuningRequest parse_tuning_request(std::string_view text_of_body) {
  const OrderedJson body = parse_ordered_json(text_of_body, "the request's body");
  allow_only(body, "the request",
             {"model", "training_file", "validation_file", "hyperparameters", "method", "suffix", "seed",
              "metadata", "integrations", "tuning"});
  TuningRequest request;
  request.model = text(body, "model");
  request.training_file = text(body, "training_file");
  request.validation_file = text(body, "validation_file");
  request.suffix = text(body, "suffix");
  if (request.model.empty()) throw bad_field("model", "'model' is missing");
  if (request.training_file.empty()) throw bad_field("training_file", "'training_file' is missing");
  check_suffix(request.suffix);
  check_unused(body);
  request.metadata = metadata(body);
  request.hyperparameters = hyperparameters(body);
  request.tuning = tuning(body);
  request.seed = static_cast<uint64_t>(count(body, "seed", 0, 42));
  to_job(request);  // the values are checked now, not when the job's turn comes
  return request;
}

train::Job to_job(const TuningRequest& request) {
  const OrderedJson& asked = request.hyperparameters;
  const OrderedJson& more = request.tuning;
  train::Job job;
  if (const std::string method = text(more, "method"); !method.empty()) job.method = method;
  OrderedJson settings = OrderedJson::object();
  if (const OrderedJson* found = given(more, "settings")) settings = *found;
  if (!settings.is_object()) throw bad_field("tuning.settings", "'tuning.settings' must be an object");
  job.method_settings = parse_yaml(settings.dump(), "tuning.settings", {});
  job.seed = request.seed;
  job.batches.seed = request.seed;
  job.epochs = number(asked, "n_epochs", 0.001, 1e6, 3);
  job.batches.batch_size = count(asked, "batch_size", 1, job.batches.batch_size);
  job.optimizer.lr = number(more, "learning_rate", 0, 1, job.optimizer.lr) *
                     number(asked, "learning_rate_multiplier", 0, 1e6, 1);
  job.optimizer.weight_decay = number(more, "weight_decay", 0, 1, 0);
  job.max_steps = count(more, "max_steps", 0, 0);
  job.dataset.max_length = count(more, "max_length", 2, job.dataset.max_length);
  job.schedule.warmup_steps = count(more, "warmup_steps", 0, 0);
  if (const std::string schedule = text(more, "schedule"); !schedule.empty()) {
    const std::vector<std::string>& known = train::schedule_names();
    if (std::find(known.begin(), known.end(), schedule) == known.end())
      throw bad_field("tuning.schedule",
                      fmt::format("'tuning.schedule' is one of {}", fmt::join(known, ", ")));
    job.schedule.name = schedule;
  }
  job.checkpoint_every = count(more, "checkpoint_every", 0, 0);
  job.publish_every = count(more, "publish_every", 0, 0);
  job.eval_every = count(more, "eval_every", 0, 0);
  if (const OrderedJson* packing = given(more, "packing")) {
    if (!packing->is_boolean()) throw bad_field("tuning.packing", "'tuning.packing' must be true or false");
    job.batches.packing = packing->get<bool>();
  }
  if (const std::string loss_on = text(more, "loss_on"); !loss_on.empty()) {
    if (loss_on != "assistant" && loss_on != "all" && loss_on != "last")
      throw bad_field("tuning.loss_on", "'tuning.loss_on' must be \"assistant\", \"all\" or \"last\"");
    job.dataset.loss_on = loss_on == "all"    ? train::LossOn::kAll
                          : loss_on == "last" ? train::LossOn::kLast
                                              : train::LossOn::kAssistant;
  }
  return job;
}

}  // namespace llmhost::serve
