// The tensors of an adapter file, by module and by what they are for it. Throws llmh::Error.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/finetune.h"
#include "peft/modules.h"

namespace peft {

// What a tensor is for its module.
enum class Part : size_t {
  kA,
  kB,
  kBranchBias,
  kMagnitudes,
  kSparseIndices,
  kSparseValues,
  kEmbeddingA,
  kEmbeddingB,
  kBaseWeight,
  kBaseBias,
  kWeight,
  kBias,
  kCount
};
std::string_view ending(Part part);  // of the tensor's name, with the dot

// What a tensor's name says.
struct Place {
  std::string_view path;  // of the module, as the file spells it
  Part part = Part::kCount;
};
std::optional<Place> place_of(std::string_view name);  // nothing: no such adapter has one of that name

// With bias "all" the library writes a saved module's bias three times: as that of the module, and by its own
// attributes "modules_to_save" (the same) and "original_module" (the frozen one). The latter two mean
// nothing.
bool is_inner_copy(std::string_view name);

// The tensors of one module. Each is taken once; what is left over has no place in the adapter.
class ModuleTensors {
 public:
  void put(Part part, const llmh_adapter_tensor* tensor);
  bool has(Part part) const { return tensors_[static_cast<size_t>(part)] != nullptr; }
  // Null when it is not there; checks the shape.
  const llmh_adapter_tensor* take(Part part, std::initializer_list<int64_t> shape);
  // The same for one that must be there.
  const llmh_adapter_tensor& require(Part part, std::initializer_list<int64_t> shape,
                                     const std::string& path);
  // Any that was not taken, or null.
  const llmh_adapter_tensor* left_over() const;

 private:
  std::array<const llmh_adapter_tensor*, static_cast<size_t>(Part::kCount)> tensors_{};
};

// Every tensor of the file at its module, [modules of the table]; refuses one that belongs to none.
std::vector<ModuleTensors> sort_tensors(const llmh_adapter_source& source, ModuleTable& table);

[[noreturn]] void refuse_tensor(std::string_view name, const std::string& what);

}  // namespace peft
