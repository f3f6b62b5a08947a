// Which element types a GGUF file of a named type has (registry/gguf/types.yaml). [thread-safe]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/dtype.h"

namespace llmhost::model {

class GgufTypes {
 public:
  // "q4_k_m", "F16"; throws UsageError with what there is.
  explicit GgufTypes(const std::string& name);
  // Every matrix of one type, as files that keep what they were made of.
  static GgufTypes of(llmh_dtype dtype);

  static std::vector<std::string> names();

  const std::string& name() const { return name_; }
  uint32_t file_type() const { return file_type_; }
  bool is_quantised() const;

  // Of a tensor by its GGUF name. `is_head`: it gives the logits.
  llmh_dtype type_of(std::string_view tensor, const std::vector<int64_t>& shape, int64_t n_layers,
                     bool is_head) const;

 private:
  struct Rule {
    std::vector<std::string> tensors;
    std::string layers;
    llmh_dtype type = LLMH_DTYPE_INVALID;
  };
  GgufTypes() = default;

  std::string name_;
  uint32_t file_type_ = 0;
  llmh_dtype type_ = LLMH_DTYPE_INVALID;
  llmh_dtype output_ = LLMH_DTYPE_INVALID;  // INVALID: as the others
  std::vector<Rule> rules_;
};

}  // namespace llmhost::model
