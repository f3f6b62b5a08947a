#include "train/method.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "core/error.h"
#include "engine/adapter_files.h"
#include "engine/adapter_folder.h"
#include "engine/base_model.h"
#include "model/layout_steps.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"
#include "train/method_config.h"
#include "train/quantised_base.h"
#include "train/tuned_graph.h"

namespace llmhost::train {
namespace {

constexpr uint32_t kMaxFileTensors = 1U << 16;

// A function that a table need not have; null: it has none.
#define LLMHOST_OPTIONAL(api, field) (LLMH_HAS(&(api), field) ? (api).field : nullptr)

// An adapter's files as plugins are given them.
struct AdapterSource {
  explicit AdapterSource(const engine::AdapterFiles& files) {
    for (const engine::AdapterFiles::Tensor& tensor : files.tensors) {
      llmh_adapter_tensor& own = tensors.emplace_back();
      own.struct_size = sizeof own;
      own.rank = static_cast<int32_t>(tensor.shape.size());
      std::ranges::copy(tensor.shape, own.shape);
      own.name = graph::to_str(tensor.name);
      own.data = tensor.data.data();
    }
    for (const llmh_adapter_tensor& tensor : tensors) pointers.push_back(&tensor);
    table.struct_size = sizeof table;
    table.n_tensors = static_cast<uint32_t>(pointers.size());
    table.tensors = pointers.data();
    table.config_json = graph::to_str(files.config);
  }
  std::vector<llmh_adapter_tensor> tensors;
  std::vector<const llmh_adapter_tensor*> pointers;
  llmh_adapter_source table{};
};

// A model's modules as if it were larger; only described, without weights.
struct Enlarged {
  Enlarged(const llmh_base_model& base, uint64_t n_weights) : table(base) {
    double total = 0;
    for (uint32_t i = 0; i < base.n_modules; ++i) total += static_cast<double>(base.modules[i]->n_weights);
    const double factor = total > 0 ? static_cast<double>(n_weights) / total : 0;
    for (uint32_t i = 0; i < base.n_modules; ++i) {
      llmh_base_module& module = modules.emplace_back(*base.modules[i]);
      module.n_weights = static_cast<uint64_t>(static_cast<double>(module.n_weights) * factor);
    }
    for (const llmh_base_module& module : modules) pointers.push_back(&module);
    table.modules = pointers.data();
    table.weight = [](const llmh_base_model*, uint32_t, float*) {
      return plugin::guard([] {
        throw_error(ErrorCode::kFailedPrecondition, "the model is only described, without weights");
      });
    };
  }
  std::vector<llmh_base_module> modules;
  std::vector<const llmh_base_module*> pointers;
  llmh_base_model table;
};

// What a method was shown of a model and what it chose. Lives until the method is closed.
struct Shown {
  explicit Shown(const model::LoadedModel& of) : model(of), modules(graph::modules_of(of.graph(), by_node)) {}

  const model::LoadedModel& model;
  std::vector<size_t> by_node;
  std::vector<graph::AdapterSite> modules;
  std::optional<QuantisedBase> base;
  std::optional<engine::BaseModel> as_seen;
  std::vector<uint32_t> choices;
};

}  // namespace

struct Method::Parts {
  std::string name;
  std::string where;  // its settings are given
  const llmh_finetune* api = nullptr;
  const llmh_tuning_steps* steps = nullptr;
  std::unique_ptr<MethodConfig> config;
  llmh_method* self = nullptr;
  std::optional<llmh_base_request> wanted_base;  // instead of the plugin's
  std::vector<std::unique_ptr<Shown>> shown;

  explicit Parts(plugin::Plugin& plugin)
      : name(plugin.id()),
        api(&plugin::finetune(plugin)),
        steps(static_cast<const llmh_tuning_steps*>(plugin.extension(LLMH_TUNING_STEPS_EXTENSION))) {}
  ~Parts() {
    if (self == nullptr) return;
    const plugin::ControlScope scope(api, "llmh_finetune.close");
    api->close(self);
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  llmh_base_request base() const {
    if (wanted_base) return *wanted_base;
    llmh_base_request request{};
    request.struct_size = sizeof request;
    if (const auto ask = LLMHOST_OPTIONAL(*api, base); ask != nullptr) plugin::check(ask(self, &request));
    return request;
  }

  // A model is described once, and asked about for each graph.
  Shown& describe(const model::LoadedModel& model) {
    for (const auto& known : shown)
      if (&known->model == &model) return *known;
    auto fresh = std::make_unique<Shown>(model);
    fresh->base.emplace(model, fresh->modules, base());
    const QuantisedBase& held = *fresh->base;
    fresh->as_seen.emplace(
        model, fresh->modules, engine::BaseModel::Fixed::kByKind,
        [&held](const graph::AdapterSite& module) { return held.load(module.weight_name, LLMH_USE_VECTOR); });
    shown.push_back(std::move(fresh));
    return *shown.back();
  }

  Shown& choose(const model::LoadedModel& model) {
    Shown& asked = describe(model);
    asked.choices.assign(asked.modules.size(), 0);
    const plugin::ControlScope scope(api, "llmh_finetune.select");
    try {
      plugin::check(api->select(self, asked.as_seen->table(), asked.choices.data()));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kInvalidArgument || where.empty()) throw;
      throw_invalid("{}: {}", where, error.what());
    }
    if (std::ranges::all_of(asked.choices, [](uint32_t choice) { return choice == 0; }))
      throw_invalid("method '{}' chose none of the model's {} modules: nothing would be trained", name,
                    asked.modules.size());
    return asked;
  }

  llmh_tensor rewrite(llmh_builder* builder, const llmh_linear_info& linear) const {
    const plugin::ControlScope scope(api, "llmh_finetune.rewrite");
    llmh_tensor out = LLMH_NO_TENSOR;
    plugin::check(api->rewrite(self, builder, &linear, &out));
    return out;
  }

  float attention(llmh_str path, float ratio) const {
    if (const auto ask = LLMHOST_OPTIONAL(*api, attention); ask != nullptr)
      plugin::check(ask(self, path, &ratio));
    return ratio;
  }
};

Method::Method() = default;
Method::~Method() = default;

std::unique_ptr<Method> Method::open(const plugin::Registry& registry, std::string_view name,
                                     const YamlNode& settings, std::string_view source) {
  std::unique_ptr<Method> method(new Method);
  const std::string where = fmt::format("{}:{}:{}", source, settings.line, settings.column);
  try {
    method->parts_ = std::make_unique<Parts>(registry.require(plugin::Kind::kFinetune, name));
  } catch (const Error& error) {
    throw_error(error.code(), "{}: {}", where, error.what());
  }
  Parts& parts = *method->parts_;
  parts.where = where;
  parts.config = std::make_unique<MethodConfig>(method_keys(*parts.api), settings, source);
  const plugin::ControlScope scope(parts.api, "llmh_finetune.open");
  try {
    plugin::check(parts.api->open(parts.config.get(), &parts.self));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) throw;
    throw UsageError(fmt::format("{}: {}", parts.where, error.what()));
  }
  return method;
}

std::unique_ptr<Method> Method::open_adapter(const plugin::Registry& registry,
                                             const std::filesystem::path& folder, const Method* settings) {
  const engine::AdapterFiles files = engine::read_adapter_files(engine::AdapterFolder(folder));
  const AdapterSource source(files);
  for (plugin::Plugin* const plugin : registry.all(plugin::Kind::kFinetune)) {
    const auto* const serving =
        static_cast<const llmh_serving_delta*>(plugin->extension(LLMH_SERVING_DELTA_EXTENSION));
    if (serving == nullptr) continue;
    int32_t is_claimed = 0;
    plugin::check(serving->claims(source.table.config_json, &is_claimed));
    if (is_claimed == 0) continue;
    std::unique_ptr<Method> method(new Method);
    method->parts_ = std::make_unique<Parts>(*plugin);
    Parts& parts = *method->parts_;
    const auto open = LLMHOST_OPTIONAL(*parts.api, open_adapter);
    if (open == nullptr)
      throw_error(ErrorCode::kUnimplemented, "{}: method '{}' cannot go on with an adapter that is there",
                  folder.string(), parts.name);
    plugin::check(open(&source.table, &parts.self), folder.string());
    if (settings != nullptr) parts.wanted_base = settings->base();
    return method;
  }
  throw_error(ErrorCode::kUnimplemented, "{}: no method among the plugins made such an adapter",
              folder.string());
}

const std::string& Method::name() const {
  return parts_->name;
}

const llmh_finetune& Method::api() const {
  return *parts_->api;
}

llmh_method* Method::get() const {
  return parts_->self;
}

const llmh_tuning_steps* Method::steps() const {
  return parts_->steps;
}

llmh_base_request Method::base() const {
  return parts_->base();
}

Method::Tuned Method::apply(const model::LoadedModel& model) {
  const Shown& shown = parts_->choose(model);
  const llmh_dtype compute = parts_->base().compute_dtype;
  const ChosenModules chosen{shown.model,   shown.modules,
                             shown.by_node, shown.choices,
                             *shown.base,   compute == LLMH_DTYPE_INVALID ? LLMH_DTYPE_F32 : compute};
  const MethodCalls calls{
      [this](llmh_builder* builder, const llmh_linear_info& info) { return parts_->rewrite(builder, info); },
      [this](llmh_str path, float ratio) { return parts_->attention(path, ratio); }};
  return tuned_graph(chosen, calls);
}

const QuantisedBase& Method::base_weights(const model::LoadedModel& model) {
  return *parts_->describe(model).base;
}

std::vector<Method::FileTensor> Method::file_tensors(const model::LoadedModel& model) const {
  std::vector<FileTensor> tensors;
  const auto ask = LLMHOST_OPTIONAL(*parts_->api, file_tensor);
  if (ask == nullptr) return tensors;
  const Shown& shown = parts_->describe(model);
  for (uint32_t i = 0; i < kMaxFileTensors; ++i) {
    llmh_file_tensor told{};
    told.struct_size = sizeof told;
    told.module = -1;
    plugin::check(ask(parts_->self, i, &told));
    if (told.name.len == 0) return tensors;
    FileTensor& tensor = tensors.emplace_back();
    tensor.name = graph::to_view(told.name);
    if (told.module >= 0) {
      tensor.weight = shown.modules.at(static_cast<size_t>(told.module)).weight_name;
      continue;
    }
    const bool is_sane = told.rank >= 0 && told.rank <= LLMH_MAX_RANK && told.data != nullptr &&
                         (told.dtype == LLMH_DTYPE_F32 || told.dtype == LLMH_DTYPE_I32);
    if (!is_sane)
      throw_error(ErrorCode::kInternal, "method '{}': tensor '{}' has no data, or a type or rank of its own",
                  parts_->name, tensor.name);
    tensor.dtype = told.dtype;
    tensor.shape.assign(told.shape, told.shape + told.rank);
    tensor.data = {static_cast<const std::byte*>(told.data), model::byte_count(told.dtype, tensor.shape)};
  }
  throw_error(ErrorCode::kInternal, "method '{}' names more than {} tensors for the adapter file",
              parts_->name, kMaxFileTensors);
}

std::pair<int32_t, std::string> Method::fit(const model::LoadedModel& model, uint64_t n_weights) const {
  const auto ask = LLMHOST_OPTIONAL(*parts_->api, applies);
  if (ask == nullptr) return {LLMH_FIT_YES, ""};
  int32_t verdict = LLMH_FIT_YES;
  llmh_str reason{};
  const llmh_base_model& base = *parts_->describe(model).as_seen->table();
  const Enlarged enlarged(base, n_weights);
  plugin::check(ask(parts_->self, n_weights == 0 ? &base : &enlarged.table, &verdict, &reason));
  return {verdict, std::string(graph::to_view(reason))};
}

std::string Method::file_name(std::string_view parameter) const {
  std::string name(256, '\0');
  for (int round = 0; round < 2; ++round) {
    uint64_t length = 0;
    llmh_status* const status =
        parts_->api->file_name(parts_->self, graph::to_str(parameter), name.data(), name.size(), &length);
    const bool is_too_long = length > name.size();
    if (status == nullptr && !is_too_long) {
      name.resize(length);
      return name;
    }
    const Error error = status != nullptr ? plugin::take_error(status) : Error(ErrorCode::kInternal, "");
    if (!is_too_long || length > (1U << 16)) throw error;
    name.resize(length);
  }
  throw_error(ErrorCode::kInternal, "method '{}': the name of '{}' has no fixed length", parts_->name,
              parameter);
}

std::string Method::config_json() const {
  llmh_str text{};
  plugin::check(parts_->api->config_json(parts_->self, &text));
  return std::string(graph::to_view(text));
}

}  // namespace llmhost::train
