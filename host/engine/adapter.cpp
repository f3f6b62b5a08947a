#include "engine/adapter.h"

#include <algorithm>

#include "core/error.h"
#include "core/log.h"
#include "plugin/status.h"

namespace llmhost::engine {
namespace {

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

}  // namespace

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
      reader_(std::make_shared<const BaseModel>(stack.model(), stack.adapter_sites()), registry,
              options.max_bytes, options.checks_receipts) {}

AdapterDeltas AdapterHost::read(const AdapterFolder& folder, const std::string& name) const {
  return reader_.read(folder, name);
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
