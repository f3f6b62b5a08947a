#include "train/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/json_number.h"
#include "model/safetensors.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFormat = 1;
constexpr std::string_view kStep = "step-";
constexpr std::string_view kBest = "best-";
constexpr std::string_view kHalfWritten = ".writing-";
constexpr const char* kStateFile = "state.json";
constexpr const char* kFinishedFile = "finished.json";
constexpr const char* kTensorFile = "tensors.safetensors";
constexpr const char* kMethodState = "method.state";
constexpr JsonLimits kStateLimits = {.max_bytes = size_t{16} << 20, .max_depth = 64};

void sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

// The number behind the prefix, or nothing.
std::optional<int64_t> number_of(const fs::path& folder, std::string_view prefix) {
  const std::string name = folder.filename().string();
  if (!name.starts_with(prefix)) return std::nullopt;
  int64_t number = 0;
  const char* const begin = name.data() + prefix.size();
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(begin, end, number);
  return error == std::errc() && stop == end && number >= 0 ? std::optional(number) : std::nullopt;
}

std::vector<int64_t> numbers_in(const fs::path& folder, std::string_view prefix) {
  std::vector<int64_t> numbers;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (const auto number = number_of(entry.path(), prefix)) numbers.push_back(*number);
  std::ranges::sort(numbers, std::greater<>());
  return numbers;
}

// A folder under its name once `fill` is done with it: all files synced, then renamed.
void write_folder(const fs::path& target, const std::function<void(const fs::path&)>& fill) {
  const fs::path half = target.parent_path() / (std::string(kHalfWritten) + target.filename().string());
  fs::create_directories(target.parent_path());
  fs::remove_all(half);
  fs::create_directory(half);
  try {
    fill(half);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(half, ignored);
    throw;
  }
  sync_folder(half);
  fs::rename(half, target);
  sync_folder(target.parent_path());
}

// What is no longer wanted goes out of sight first, so that a folder with its name is always whole.
void remove_folder(const fs::path& folder) {
  const fs::path half = folder.parent_path() / (std::string(kHalfWritten) + folder.filename().string());
  fs::remove_all(half);
  fs::rename(folder, half);
  fs::remove_all(half);
}

model::SafetensorsEntry entry_of(const CheckpointTensor& tensor) {
  return {tensor.name,
          LLMH_DTYPE_F32,
          {static_cast<int64_t>(tensor.values.size())},
          std::as_bytes(std::span<const float>(tensor.values))};
}

void write_tensors(const fs::path& folder, std::span<const CheckpointTensor> tensors,
                   std::span<const std::byte> method_state) {
  std::vector<model::SafetensorsEntry> entries;
  for (const CheckpointTensor& tensor : tensors) entries.push_back(entry_of(tensor));
  if (!method_state.empty())
    entries.push_back(
        {kMethodState, LLMH_DTYPE_U8, {static_cast<int64_t>(method_state.size())}, method_state});
  model::write_safetensors(folder / kTensorFile, std::move(entries));
}

std::vector<std::byte> read_tensors(const fs::path& folder, std::span<const CheckpointTensor> tensors) {
  const auto file = model::SafetensorsFile::open(folder / kTensorFile);
  for (const CheckpointTensor& tensor : tensors) {
    const model::SafetensorsTensor* const stored = file.find(tensor.name);
    const bool fits = stored != nullptr && stored->dtype == LLMH_DTYPE_F32 &&
                      stored->size_bytes == tensor.values.size_bytes();
    if (!fits)
      throw_error(ErrorCode::kDataLoss, "{}: has no tensor '{}' of {} values", file.name(), tensor.name,
                  tensor.values.size());
    std::memcpy(tensor.values.data(), stored->data().data(), tensor.values.size_bytes());
  }
  const model::SafetensorsTensor* const state = file.find(kMethodState);
  if (state == nullptr) return {};
  const std::span<const std::byte> bytes = state->data();
  return {bytes.begin(), bytes.end()};
}

CheckpointState read_state(const fs::path& file) {
  return parse_checkpoint_state(read_file(file, kStateLimits.max_bytes), file.string());
}

// The best step that a checkpoint names; one that cannot be read names none.
int64_t best_of(const fs::path& folder) {
  try {
    return read_state(folder / kStateFile).best_step;
  } catch (const Error&) {
    return 0;
  }
}

int64_t whole_number_at(const OrderedJson& json, const char* key, const std::string& source) {
  const OrderedJson& value = json.at(key);
  const std::optional<int64_t> number = whole_number(value);
  if (!number)
    throw_error(ErrorCode::kDataLoss, "{}: {} is {}, expected a whole number", source, key, value.dump());
  return *number;
}

// "epochs was 2, is 3"
void add_differences(const OrderedJson& saved, const OrderedJson& wanted, const std::string& path,
                     std::string& text) {
  if (saved == wanted) return;
  if (saved.is_object() && wanted.is_object()) {
    std::set<std::string> keys;
    for (const auto& [key, value] : saved.items()) keys.insert(key);
    for (const auto& [key, value] : wanted.items()) keys.insert(key);
    for (const std::string& key : keys)
      add_differences(saved.value(key, OrderedJson()), wanted.value(key, OrderedJson()),
                      path.empty() ? key : path + "." + key, text);
    return;
  }
  text += fmt::format("{}{} was {}, is {}", text.empty() ? "" : "; ", path, saved.dump(), wanted.dump());
}

}  // namespace

std::string to_text(const CheckpointState& state) {
  const OrderedJson json = {{"format", kFormat},
                            {"step", state.step},
                            {"updates", state.updates},
                            {"evaluated_step", state.evaluated_step},
                            {"best_step", state.best_step},
                            {"best_loss", state.best_loss},
                            {"evals_since_best", state.evals_since_best},
                            {"data", state.data_hash},
                            {"base", state.base_hash},
                            {"job", parse_ordered_json(state.job, "job")}};
  return json.dump(1) + "\n";
}

CheckpointState parse_checkpoint_state(std::string_view text, const std::string& source) {
  const OrderedJson json = parse_ordered_json(text, source, kStateLimits);
  try {
    if (whole_number_at(json, "format", source) != kFormat)
      throw_error(ErrorCode::kUnimplemented, "{}: written in format {}, this program reads {}", source,
                  json.at("format").dump(), kFormat);
    CheckpointState state;
    state.step = whole_number_at(json, "step", source);
    state.updates = whole_number_at(json, "updates", source);
    state.evaluated_step =
        json.contains("evaluated_step") ? whole_number_at(json, "evaluated_step", source) : state.step;
    state.best_step = whole_number_at(json, "best_step", source);
    state.best_loss = json.at("best_loss");
    state.evals_since_best = whole_number_at(json, "evals_since_best", source);
    state.data_hash = json.at("data");
    state.base_hash = json.at("base");
    state.job = json.at("job").dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
    const bool is_sane = state.step >= 0 && state.updates >= 0 && state.updates <= state.step &&
                         state.best_step >= 0 && state.best_step <= state.step && state.evaluated_step >= 0 &&
                         state.evaluated_step <= state.step && state.evals_since_best >= 0;
    if (!is_sane)
      throw_error(ErrorCode::kDataLoss, "{}: step {} with {} updates and the best step {} cannot be", source,
                  state.step, state.updates, state.best_step);
    return state;
  } catch (const OrderedJson::exception& error) {
    throw_error(ErrorCode::kDataLoss, "{}: {}", source, error.what());
  }
}

fs::path CheckpointFolder::step_folder(int64_t step) const {
  return folder_ / (std::string(kStep) + std::to_string(step));
}

fs::path CheckpointFolder::best_folder(int64_t step) const {
  return folder_ / (std::string(kBest) + std::to_string(step));
}

bool CheckpointFolder::exists() const {
  return !numbers_in(folder_, kStep).empty() || !numbers_in(folder_, kBest).empty();
}

void CheckpointFolder::clean() const {
  std::error_code ignored;
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(folder_, ignored))
    if (entry.path().filename().string().starts_with(kHalfWritten)) left.push_back(entry.path());
  for (const fs::path& folder : left) fs::remove_all(folder);
}

fs::path CheckpointFolder::save(const CheckpointState& state, std::span<const CheckpointTensor> tensors,
                                std::span<const std::byte> method_state) const {
  const fs::path target = step_folder(state.step);
  if (is_whole(state.step)) return target;
  if (fs::exists(target)) remove_folder(target);
  write_folder(target, [&](const fs::path& folder) {
    write_tensors(folder, tensors, method_state);
    write_file_atomically(folder / kStateFile, to_text(state));
  });
  return target;
}

fs::path CheckpointFolder::save_best(int64_t step, std::span<const CheckpointTensor> values) const {
  const fs::path target = best_folder(step);
  if (!fs::exists(target))
    write_folder(target, [&](const fs::path& folder) { write_tensors(folder, values, {}); });
  return target;
}

void CheckpointFolder::prune(int64_t keep, int64_t best_step) const {
  std::set<int64_t> named = {best_step};
  const std::vector<int64_t> steps = numbers_in(folder_, kStep);
  for (size_t i = 0; i < steps.size(); ++i) {
    if (static_cast<int64_t>(i) >= std::max<int64_t>(1, keep))
      remove_folder(step_folder(steps[i]));
    else
      named.insert(best_of(step_folder(steps[i])));
  }
  for (const int64_t step : numbers_in(folder_, kBest))
    if (!named.contains(step)) remove_folder(best_folder(step));
}

CheckpointState CheckpointFolder::read_whole(int64_t step) const {
  CheckpointState state = read_state(step_folder(step) / kStateFile);
  model::SafetensorsFile::open(step_folder(step) / kTensorFile);
  if (state.step != step)
    throw_error(ErrorCode::kDataLoss, "{}: is of step {}", step_folder(step).string(), state.step);
  return state;
}

bool CheckpointFolder::is_whole(int64_t step) const {
  try {
    read_whole(step);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::optional<CheckpointState> CheckpointFolder::newest(
    const std::function<void(std::string_view)>& skipped) const {
  for (const int64_t step : numbers_in(folder_, kStep)) {
    try {
      return read_whole(step);
    } catch (const Error& error) {
      skipped(error.what());
    }
  }
  return std::nullopt;
}

std::vector<std::byte> CheckpointFolder::load(int64_t step, std::span<const CheckpointTensor> tensors) const {
  return read_tensors(step_folder(step), tensors);
}

void CheckpointFolder::load_best(int64_t step, std::span<const CheckpointTensor> values) const {
  read_tensors(best_folder(step), values);
}

void CheckpointFolder::mark_finished(const CheckpointState& state) const {
  fs::create_directories(folder_);
  write_file_atomically(folder_ / kFinishedFile, to_text(state));
}

std::optional<CheckpointState> CheckpointFolder::finished() const {
  if (!fs::exists(folder_ / kFinishedFile)) return std::nullopt;
  return read_state(folder_ / kFinishedFile);
}

void check_same_run(const CheckpointState& saved, const CheckpointState& wanted) {
  std::string differences;
  add_differences(parse_ordered_json(saved.job, "checkpoint"), parse_ordered_json(wanted.job, "job"), "",
                  differences);
  if (!differences.empty())
    throw_error(ErrorCode::kFailedPrecondition,
                "the checkpoint is of another job: {}; train into another output folder", differences);
  if (saved.data_hash != wanted.data_hash)
    throw_error(ErrorCode::kFailedPrecondition,
                "the checkpoint is of other data: its hash was {}, is {}; train into another output folder",
                saved.data_hash, wanted.data_hash);
  if (saved.base_hash != wanted.base_hash)
    throw_error(
        ErrorCode::kFailedPrecondition,
        "the checkpoint is of another base model: its hash was {}, is {}; train into another output folder",
        saved.base_hash, wanted.base_hash);
}

}  // namespace llmhost::train
