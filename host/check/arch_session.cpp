#include "check/arch_session.h"

#include <algorithm>

#include "check/child.h"
#include "core/error.h"
#include "graph/builder.h"
#include "plugin/status.h"

namespace llmhost::check {
namespace {

constexpr size_t kMaxStates = size_t{1} << 16;

std::vector<std::string_view> names_of(const model::Checkpoint* checkpoint) {
  std::vector<std::string_view> names;
  if (checkpoint != nullptr)
    for (const model::CheckpointTensor& tensor : checkpoint->tensors()) names.push_back(tensor.name);
  return names;
}

int32_t format_of(const model::Checkpoint* checkpoint) {
  const bool gguf = checkpoint != nullptr && checkpoint->format() == model::CheckpointFormat::kGguf;
  return gguf ? LLMH_FORMAT_GGUF : LLMH_FORMAT_HUB;
}

Failure failure(llmh_status* status) {
  if (status == nullptr) return std::nullopt;
  std::string message = plugin::take_error(status).what();
  if (message.empty()) throw_error(ErrorCode::kInternal, "an error without a message");
  return message;
}

class Weights final : public graph::WeightLookup {
 public:
  explicit Weights(const std::map<std::string, model::HubTensor, std::less<>>& tensors) : tensors_(tensors) {}
  std::optional<graph::WeightInfo> find(std::string_view name) const override {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) return std::nullopt;
    return graph::WeightInfo{it->second.dtype, it->second.shape};
  }

 private:
  const std::map<std::string, model::HubTensor, std::less<>>& tensors_;
};

}  // namespace

// Counts what describe() declares; the same limit as the loader's.
struct ArchSession::Collector {
  llmh_state_sink base{sizeof(llmh_state_sink), &Collector::add};
  size_t n = 0;
  static llmh_status* add(llmh_state_sink* sink, const llmh_state_spec*) {
    return plugin::guard([&] {
      if (++reinterpret_cast<Collector*>(sink)->n > kMaxStates) throw_invalid("too many states");
    });
  }
};

ArchSession::ArchSession(const llmh_arch& arch, const Json& config, const model::Checkpoint* checkpoint,
                         const Faults& faults)
    : arch_(arch),
      checkpoint_(checkpoint),
      context_{faults, {}, {}},
      view_(
          config, "config", format_of(checkpoint), [this](std::string_view name) { return shape_of(name); },
          names_of(checkpoint)),
      model_(view_.table(), context_) {}

ArchSession::~ArchSession() {
  close();
}

std::optional<std::vector<int64_t>> ArchSession::shape_of(std::string_view name) const {
  if (!tensors_.empty()) {
    const auto it = tensors_.find(name);
    return it == tensors_.end() ? std::nullopt : std::optional(it->second.shape);
  }
  const model::CheckpointTensor* stored = checkpoint_ == nullptr ? nullptr : checkpoint_->find(name);
  return stored == nullptr ? std::nullopt : std::optional(stored->shape);
}

int32_t ArchSession::match() {
  at("match");
  return arch_.match(model_.table());
}

Failure ArchSession::open() {
  at("open");
  Failure result = failure(arch_.open(model_.table(), &self_));
  if (result) self_ = nullptr;  // nothing was made
  if (!result && self_ == nullptr)
    throw_error(ErrorCode::kInternal, "open reports success and gives no model");
  return result;
}

Failure ArchSession::names() {
  at("names");
  OddNames sink(names_.sink(), context_);
  Failure result = failure(arch_.names(self_, model_.table(), sink.table()));
  if (result || checkpoint_ == nullptr) return result;
  try {
    tensors_ = names_.apply(*checkpoint_);
  } catch (const Error& error) {  // the rules do not fit the checkpoint; so would the loader refuse it
    return error.what();
  }
  return std::nullopt;
}

Failure ArchSession::describe() {
  at("describe");
  info_ = {};
  info_.base.struct_size = static_cast<uint32_t>(sizeof info_.base);
  info_.unknown.fill(std::byte{0});
  Collector collector;
  OddStates sink(&collector.base, context_);
  Failure result = failure(arch_.describe(self_, &info_.base, sink.table()));
  if (std::any_of(info_.unknown.begin(), info_.unknown.end(), [](std::byte b) { return b != std::byte{0}; }))
    throw_error(ErrorCode::kInternal, "describe wrote beyond the struct_size of llmh_model_info");
  if (info_.base.struct_size != sizeof info_.base)
    throw_error(ErrorCode::kInternal, "describe changed struct_size of llmh_model_info");
  return result;
}

Failure ArchSession::build() {
  at("build");
  graph_ = std::make_unique<graph::Graph>();
  const Weights weights(tensors_);
  graph::GraphBuilder real(*graph_, weights);
  OddBuilder builder(real.table(), context_);
  return failure(arch_.build(self_, builder.table()));
}

Failure ArchSession::build_all() {
  if (Failure failed = open()) return failed;
  if (Failure failed = names()) return failed;
  if (Failure failed = describe()) return failed;
  return build();
}

void ArchSession::close() {
  at("close");
  if (self_ != nullptr) arch_.close(self_);
  self_ = nullptr;
}

}  // namespace llmhost::check
