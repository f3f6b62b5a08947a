// Checkpoints of a run: folders that appear whole or not at all, each with everything that is needed to go on
// as if nothing had happened. Random numbers go by seed and step, so there is no generator to keep.
//
//   <folder>/step-120/state.json           where the run is, and what it is a run of
//   <folder>/step-120/tensors.safetensors  values, what the optimiser remembers, what the method remembers
//   <folder>/best-100/…                    the values of the best evaluation so far
//   <folder>/finished.json                 as state.json, once the output is written
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::train {

struct CheckpointState {
  int64_t step = 0;            // done
  int64_t updates = 0;         // of the optimiser
  int64_t evaluated_step = 0;  // the last that was evaluated
  // Evaluations: the best so far, and how many in a row were not better.
  int64_t best_step = 0;  // 0: none yet
  double best_loss = 0;
  int64_t evals_since_best = 0;
  // What it is a run of.
  std::string job;        // Job::description()
  std::string data_hash;  // of both data sets
  std::string base_hash;
};

// Memory that is saved and loaded, under a name that is unique in the checkpoint.
struct CheckpointTensor {
  std::string name;
  std::span<float> values;
};

class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& path() const { return folder_; }
  bool exists() const;  // something of a run is there
  // Removes what a killed run left half written.
  void clean() const;

  // Returns the folder. One of this step that is there already and whole is kept: it is the same.
  std::filesystem::path save(const CheckpointState& state, std::span<const CheckpointTensor> tensors,
                             std::span<const std::byte> method_state) const;
  std::filesystem::path save_best(int64_t step, std::span<const CheckpointTensor> values) const;
  // Removes all but the newest `keep` checkpoints, and best values that neither they nor `best_step` name.
  void prune(int64_t keep, int64_t best_step) const;

  // The newest that is whole; `skipped` is told the folders that are not, with the reason.
  std::optional<CheckpointState> newest(const std::function<void(std::string_view)>& skipped) const;
  // Fills the tensors and returns the method's state. Throws Error naming the file for anything that does not
  // fit.
  std::vector<std::byte> load(int64_t step, std::span<const CheckpointTensor> tensors) const;
  void load_best(int64_t step, std::span<const CheckpointTensor> values) const;

  // That the output is written: the run is not to be gone on with.
  void mark_finished(const CheckpointState& state) const;
  std::optional<CheckpointState> finished() const;

 private:
  std::filesystem::path step_folder(int64_t step) const;
  std::filesystem::path best_folder(int64_t step) const;
  CheckpointState read_whole(int64_t step) const;
  bool is_whole(int64_t step) const;

  std::filesystem::path folder_;
};

// state.json. `source` names it in errors.
CheckpointState parse_checkpoint_state(std::string_view text, const std::string& source);
std::string to_text(const CheckpointState& state);

// Throws kFailedPrecondition, saying what differs, unless both are states of the same run.
void check_same_run(const CheckpointState& saved, const CheckpointState& wanted);

}  // namespace llmhost::train
