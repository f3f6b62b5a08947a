#include "engine/adapter_reader.h"

#include <algorithm>
#include <new>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "engine/adapter_files.h"
#include "plugin/status.h"

namespace llmhost::engine {
namespace {

llmh_str text(std::string_view view) {
  return {view.data(), view.size()};
}

}  // namespace

// An error of a plugin already has its name.
void rethrow_told_of(const std::string& adapter) {
  try {
    throw;
  } catch (const Error& error) {
    throw_error(error.code(), "adapter '{}': {}", adapter, error.what());
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::kResourceExhausted, "adapter '{}': out of memory", adapter);
  }
}

std::optional<Receipt> read_receipt(const AdapterFolder& folder) {
  constexpr uint64_t kMaxReceipt = uint64_t{1} << 20;
  if (!folder.has(kReceiptFile)) return std::nullopt;
  return parse_receipt(folder.read(kReceiptFile, kMaxReceipt));
}

AdapterReader::AdapterReader(std::shared_ptr<const BaseModel> base, const plugin::Registry& registry,
                             uint64_t max_bytes, bool checks_receipts)
    : base_(std::move(base)),
      methods_(registry.all(plugin::Kind::kFinetune)),
      max_bytes_(max_bytes),
      checks_receipts_(checks_receipts) {}

const llmh_serving_delta& AdapterReader::method_for(const std::string& config) const {
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

void AdapterReader::check_receipt_of(const AdapterFolder& folder) const {
  if (!checks_receipts_) return;
  const std::optional<Receipt> receipt = read_receipt(folder);
  if (!receipt) return;
  std::call_once(is_identified_, [this] { identity_ = identify(base_->model()); });
  check_receipt(*receipt, identity_);
}

AdapterDeltas AdapterReader::read(const AdapterFolder& folder, const std::string& name) const {
  return told_of(name, [&] {
    check_receipt_of(folder);
    const AdapterFiles files = read_adapter_files(folder, {max_bytes_});
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
    DeltaCollector collector(base_->sites(), deltas);
    plugin::check(method.read(&source, base_->table(), collector.sink()));
    return deltas;
  });
}

}  // namespace llmhost::engine
