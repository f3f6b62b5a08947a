// The memory of what is trained: values and gradients, on the device and seen by the CPU. Private to the
// layer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device.h"
#include "graph/graph.h"

namespace llmhost::train {

class ParameterMemory {
 public:
  // `counts`: elements of each parameter. Throws kUnimplemented when the CPU cannot see the device's memory.
  ParameterMemory(const engine::Device& device, std::vector<std::string> names,
                  const std::vector<uint64_t>& counts);

  size_t size() const { return names_.size(); }
  std::span<float> value(size_t index) const;
  std::span<float> gradient(size_t index) const;
  // Values or gradients one after another, with what lies between them.
  std::span<float> all_gradients() const;

  // [n_tensors] of a graph: where its parameters and their ".gradient"s lie.
  std::vector<llmh_range> ranges(const graph::Graph& graph) const;

  static uint64_t bytes(const std::vector<uint64_t>& counts);  // of the values; the gradients take as many

 private:
  struct Place {
    uint64_t offset = 0;  // bytes
    uint64_t count = 0;   // elements
  };
  std::vector<std::string> names_;
  std::vector<Place> places_;
  engine::DeviceBuffer values_;
  engine::DeviceBuffer gradients_;
};

// The values that a new parameter starts with: the same for the same seed and name, on every machine.
void init_parameter(const graph::ParameterInit& init, std::string_view name, std::span<const int64_t> shape,
                    uint64_t seed, std::span<float> out);

}  // namespace llmhost::train
