// The name rules of a model's architecture for any format.
#include <utility>

#include "model/model_view.h"
#include "model/new_weights.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::model {
namespace {

int32_t format_of(const Checkpoint& checkpoint) {
  return checkpoint.format() == CheckpointFormat::kGguf ? LLMH_FORMAT_GGUF : LLMH_FORMAT_HUB;
}

// The parsed config, closed when it goes out of scope.
class Opened {
 public:
  Opened(const llmh_arch& arch, const ModelView& view) : arch_(arch) {
    const plugin::ControlScope scope(&arch_, "llmh_arch.open");
    plugin::check(arch_.open(view.table(), &self_), view.source());
  }
  ~Opened() {
    const plugin::ControlScope scope(&arch_, "llmh_arch.close");
    arch_.close(self_);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  llmh_arch_model* get() const { return self_; }

 private:
  const llmh_arch& arch_;
  llmh_arch_model* self_ = nullptr;
};

}  // namespace

void read_names(const LoadedModel& model, const plugin::Registry& registry, int32_t format, NameMap& out) {
  const Checkpoint& checkpoint = model.checkpoint();
  const auto as_stored = [&](std::string_view name) -> std::optional<std::vector<int64_t>> {
    const CheckpointTensor* stored = checkpoint.find(name);
    return stored == nullptr ? std::nullopt : std::optional(stored->shape);
  };
  std::vector<std::string_view> names;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) names.push_back(tensor.name);
  const llmh_arch& arch = plugin::arch(registry.require(plugin::Kind::kArch, model.arch_id()));
  const ModelView own(checkpoint.config(), checkpoint.config_file(), format_of(checkpoint), as_stored, names);
  const Opened opened(arch, own);
  const ModelView other(checkpoint.config(), checkpoint.config_file(), format, as_stored, names);
  const plugin::ControlScope scope(&arch, "llmh_arch.names");
  plugin::check(arch.names(opened.get(), other.table(), out.sink()), own.source());
}

}  // namespace llmhost::model
