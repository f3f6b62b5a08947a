#include "engine/weight_cache.h"

#include <sys/stat.h>

#include <functional>

#include "core/error.h"
#include "core/log.h"
#include "plugin/status.h"

namespace llmhost::engine {
namespace {

const llmh_weight_layout* layout_of(const Device& device) {
  if (device.api().get_extension == nullptr) return nullptr;
  constexpr std::string_view kId = LLMH_WEIGHT_LAYOUT_EXTENSION;
  const void* found = device.api().get_extension({kId.data(), kId.size()});
  return static_cast<const llmh_weight_layout*>(found);
}

// What changes when a file is written or replaced.
std::string identity_of(const model::LoadedModel& model) {
  std::string text;
  for (const std::filesystem::path& file : model.checkpoint().files()) {
    struct stat info {};
    if (::stat(file.c_str(), &info) != 0) return {};
    text += fmt::format("{} {} {} {}.{} {}\n", std::filesystem::absolute(file).string(), info.st_ino,
                        info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_dev);
  }
  return text;
}

std::filesystem::path file_in(const std::filesystem::path& folder, const model::LoadedModel& model,
                              const Device& device) {
  const std::filesystem::path model_path = std::filesystem::absolute(model.checkpoint().path());
  const size_t hash = std::hash<std::string>()(model_path.string() + "\n" + device.plugin_id());
  return folder / fmt::format("{}-{:016x}.weights", model_path.filename().string(), hash);
}

}  // namespace

WeightCache::WeightCache(const model::LoadedModel& model, const Device& device) : device_(device) {
  if (device.weight_cache().empty()) return;
  identity_ = identity_of(model);
  if (identity_.empty()) return;
  path_ = file_in(device.weight_cache(), model, device);
  layout_ = layout_of(device);
  std::error_code ignored;
  if (layout_ == nullptr || !std::filesystem::exists(path_, ignored)) return;
  try {
    file_ = std::make_unique<LayoutFile>(path_, identity_, device.pool());
    uses_file_ = true;
  } catch (const std::exception& error) {
    give_up(error);
  }
}

// Everything that the bytes depend on besides the files.
std::string WeightCache::key_of(const model::GraphWeight& weight, const llmh_weight_source& source) const {
  const llmh_str layout = layout_->name(device_.instance(), &source);
  if (layout.len == 0) return {};
  std::string key = fmt::format("{}\n{}\n{}", std::string_view(layout.ptr, layout.len), weight.name,
                                static_cast<int>(source.dtype));
  for (int32_t i = 0; i < source.rank; ++i) key += fmt::format(" {}", source.shape[i]);
  for (const model::CheckpointTensor* part : weight.source->parts) key += fmt::format("\n{}", part->name);
  for (const llmh_layout_step& step : weight.source->steps)
    key += fmt::format("\n{} {} {} {}", step.layout, step.arg0, step.arg1, step.arg2);
  return key;
}

llmh_weight* WeightCache::adopt(const model::GraphWeight& weight, const llmh_weight_source& source) {
  if (layout_ == nullptr || !uses_file_) return nullptr;
  std::string key = key_of(weight, source);
  if (key.empty()) return nullptr;
  try {
    const auto bytes = file_->find(key);
    if (!bytes) return nullptr;
    llmh_weight* adopted = nullptr;
    plugin::check(layout_->adopt(device_.instance(), &source, bytes->data(), bytes->size(), &adopted),
                  weight.name);
    weights_.push_back({std::move(key), *bytes});
    return adopted;
  } catch (const std::exception& error) {
    give_up(error);
    return nullptr;
  }
}

void WeightCache::add(const model::GraphWeight& weight, const llmh_weight_source& source,
                      const llmh_weight* prepared) {
  if (layout_ == nullptr) return;
  uint64_t n = 0;
  const void* bytes = layout_->bytes(device_.instance(), prepared, &n);
  if (bytes == nullptr) return;
  std::string key = key_of(weight, source);
  if (key.empty()) return;
  weights_.push_back({std::move(key), {static_cast<const std::byte*>(bytes), n}});
  is_new_ = true;
}

void WeightCache::store() {
  if (layout_ == nullptr || !is_new_) return;
  try {
    std::filesystem::create_directories(path_.parent_path());
    write_layout_file(path_, identity_, weights_, device_.pool());
  } catch (const std::exception& error) {
    spdlog::warn("prepared weights are not kept: {}", error.what());
  }
  weights_.clear();
}

// What was taken out of the file before was checked and stays.
void WeightCache::give_up(const std::exception& error) {
  spdlog::warn("{}; the weights are prepared anew", error.what());
  uses_file_ = false;
}

}  // namespace llmhost::engine
