#include "engine/adapter.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "engine/adapter_files.h"
#include "model/weights.h"
#include "plugin/status.h"

namespace llmhost::engine {
namespace {

llmh_str text(std::string_view view) {
  return {view.data(), view.size()};
}

// The same error, told of the adapter. An error of a plugin already has its name.
template <typename Fn>
auto told_of(const std::string& name, Fn&& fn) {
  try {
    return fn();
  } catch (const Error& error) {
    throw_error(error.code(), "adapter '{}': {}", name, error.what());
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::kResourceExhausted, "adapter '{}': out of memory", name);
  }
}

const llmh_adapters& adapters_api(const ModelStack& stack) {
  const Device& device = stack.device();
  if (stack.adapter_sites().empty())
    throw_error(ErrorCode::kFailedPrecondition,
                "the model was opened without adapters (max_adapter_rank is 0)");
  return require_adapters(device);
}

std::vector<const llmh_site_delta*> pointers_to(const std::vector<llmh_site_delta>& deltas) {
  std::vector<const llmh_site_delta*> pointers;
  for (const llmh_site_delta& delta : deltas) pointers.push_back(&delta);
  return pointers;
}

uint32_t flags_of(const model::HubTensor& weight) {
  uint32_t flags = 0;
  const bool is_float =
      weight.dtype == LLMH_DTYPE_F32 || weight.dtype == LLMH_DTYPE_F16 || weight.dtype == LLMH_DTYPE_BF16;
  if (!is_float || weight.first().decoder != nullptr) flags |= LLMH_MODULE_LOSSY;
  const bool is_transposed = std::any_of(weight.steps.begin(), weight.steps.end(), [](const auto& step) {
    return step.layout == LLMH_LAYOUT_TRANSPOSED;
  });
  if (is_transposed && weight.shape.size() > 1) flags |= LLMH_MODULE_TRANSPOSED;
  return flags;
}

}  // namespace

// The model as the plugins see it.
struct AdapterHost::BaseModel : llmh_base_model {
  const ModelStack& stack;
  std::vector<llmh_base_module> own_modules;
  std::vector<const llmh_base_module*> pointers;

  explicit BaseModel(const ModelStack& of) : llmh_base_model{}, stack(of) {
    for (const graph::AdapterSite& site : stack.adapter_sites()) {
      llmh_base_module module{};
      module.struct_size = sizeof module;
      module.kind = site.site == 0 ? LLMH_MODULE_FIXED : site.kind;
      module.path = text(site.path);
      module.in_features = site.in_features;
      module.out_features = site.out_features;
      module.has_bias = site.has_bias ? 1 : 0;
      if (const model::HubTensor* const stored = find(site)) module.flags = flags_of(*stored);
      own_modules.push_back(module);
    }
    for (const llmh_base_module& module : own_modules) pointers.push_back(&module);
    struct_size = sizeof(llmh_base_model);
    n_modules = static_cast<uint32_t>(pointers.size());
    modules = pointers.data();
    weight = &read_weight;
  }

  const model::HubTensor* find(const graph::AdapterSite& site) const {
    const auto& tensors = stack.model().tensors();
    const auto found = tensors.find(site.weight_name);
    return found == tensors.end() ? nullptr : &found->second;
  }

  static llmh_status* read_weight(const llmh_base_model* self, uint32_t module, float* out) {
    return plugin::guard([&] {
      const BaseModel& own = *static_cast<const BaseModel*>(self);
      const graph::AdapterSite& site = own.stack.adapter_sites().at(module);
      const model::HubTensor* const tensor = own.find(site);
      if (tensor == nullptr)
        throw_error(ErrorCode::kInternal, "module '{}' has no stored weight '{}'", site.path,
                    site.weight_name);
      const model::WeightData data = model::load_weight(*tensor, LLMH_USE_VECTOR);
      std::memcpy(out, data.bytes.data(), data.bytes.size());
    });
  }
};

Adapter::Adapter(const Device& device, const model::LoadedModel& model, const llmh_adapters& api)
    : device_(device), model_(model), api_(api) {}

Adapter::~Adapter() {
  if (handle_ != nullptr) api_.release_adapter(device_.instance(), handle_);
}

bool Adapter::fits(const ModelRunner& runner) const {
  return &runner.device() == &device_ && runner.model_identity() == &model_ &&
         max_rank_ <= runner.options().max_adapter_rank;
}

AdapterHost::AdapterHost(const ModelStack& stack, const plugin::Registry& registry,
                         const AdapterHostOptions& options)
    : stack_(stack),
      options_(options),
      api_(adapters_api(stack)),
      methods_(registry.all(plugin::Kind::kFinetune)),
      base_(std::make_shared<const BaseModel>(stack)) {}

const llmh_serving_delta& AdapterHost::method_for(const std::string& config) const {
  std::string names;
  for (plugin::Plugin* const method : methods_) {
    const auto* const api =
        static_cast<const llmh_serving_delta*>(method->extension(LLMH_SERVING_DELTA_EXTENSION));
    if (api == nullptr) continue;
    names += (names.empty() ? "" : ", ") + method->id();
    int32_t is_claimed = 0;
    plugin::check(api->claims(text(config), &is_claimed));
    if (is_claimed == 1) return *api;
  }
  const Json json = parse_json(config, "adapter_config.json");
  const auto type = json.find("peft_type");
  throw_error(ErrorCode::kUnimplemented,
              "adapter_config.json: no plugin reads such an adapter (peft_type is {}); there are: {}",
              type == json.end() ? "missing"
                                 : type->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 40),
              names.empty() ? "none" : names);
}

AdapterDeltas AdapterHost::read(const AdapterFolder& folder, const std::string& name) const {
  return told_of(name, [&] {
    const AdapterFiles files = read_adapter_files(folder, {options_.max_bytes});
    const llmh_serving_delta& method = method_for(files.config);
    std::vector<llmh_adapter_tensor> tensors;
    for (const AdapterFiles::Tensor& tensor : files.tensors) {
      llmh_adapter_tensor own{};
      own.struct_size = sizeof own;
      own.rank = static_cast<int32_t>(tensor.shape.size());
      std::copy(tensor.shape.begin(), tensor.shape.end(), own.shape);
      own.name = text(tensor.name);
      own.data = tensor.data.data();
      tensors.push_back(own);
    }
    std::vector<const llmh_adapter_tensor*> pointers;
    for (const llmh_adapter_tensor& tensor : tensors) pointers.push_back(&tensor);
    llmh_adapter_source source{};
    source.struct_size = sizeof source;
    source.n_tensors = static_cast<uint32_t>(pointers.size());
    source.tensors = pointers.data();
    source.config_json = text(files.config);
    AdapterDeltas deltas;
    deltas.digest = files.digest;
    DeltaCollector collector(sites(), deltas);
    plugin::check(method.read(&source, base_.get(), collector.sink()));
    return deltas;
  });
}

uint64_t AdapterHost::device_bytes(const AdapterDeltas& deltas) const {
  const std::vector<llmh_site_delta> own = site_deltas(deltas, sites());
  const std::vector<const llmh_site_delta*> pointers = pointers_to(own);
  uint64_t bytes = 0;
  plugin::check(api_.adapter_bytes(stack_.device().instance(), pointers.data(),
                                   static_cast<uint32_t>(pointers.size()), &bytes));
  return bytes;
}

std::shared_ptr<const Adapter> AdapterHost::prepare(const AdapterDeltas& deltas,
                                                    const std::string& name) const {
  return told_of(name, [&] {
    const int32_t max_rank = stack_.runner().options().max_adapter_rank;
    if (deltas.max_rank() > max_rank)
      throw_error(ErrorCode::kResourceExhausted, "its rank is {}, the engine was started for at most {}",
                  deltas.max_rank(), max_rank);
    std::shared_ptr<Adapter> adapter(new Adapter(stack_.device(), stack_.model(), api_));
    adapter->bytes_ = device_bytes(deltas);
    if (adapter->bytes_ > options_.max_bytes)
      throw_error(ErrorCode::kResourceExhausted, "it needs {} bytes, an adapter may take {}", adapter->bytes_,
                  options_.max_bytes);
    const std::vector<llmh_site_delta> own = site_deltas(deltas, sites());
    const std::vector<const llmh_site_delta*> pointers = pointers_to(own);
    plugin::check(api_.prepare_adapter(stack_.device().instance(), pointers.data(),
                                       static_cast<uint32_t>(pointers.size()), &adapter->handle_));
    adapter->name_ = name;
    adapter->digest_ = deltas.digest;
    adapter->max_rank_ = deltas.max_rank();
    adapter->notes_ = deltas.notes;
    for (const std::string& note : deltas.notes) spdlog::info("adapter '{}': {}", name, note);
    return std::shared_ptr<const Adapter>(std::move(adapter));
  });
}

std::shared_ptr<const Adapter> AdapterHost::load(const std::filesystem::path& folder) const {
  const std::filesystem::path whole = folder.has_filename() ? folder : folder.parent_path();
  const std::string name = whole.filename().string();
  return prepare(read(AdapterFolder(folder), name), name);
}

}  // namespace llmhost::engine
