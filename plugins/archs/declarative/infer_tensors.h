// The stored tensors of a checkpoint that nobody described: those of the layers under one pattern, and the
// rest.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/arch.hpp"

namespace declarative {

using Shape = std::vector<int64_t>;

// A tensor of the layers, under one name.
struct LayerTensor {
  std::map<int64_t, Shape> shapes;  // by layer
  int64_t parts = 0;                // how many numbers stand for the {j} in its name; 0: it has none
  const Shape& shape() const { return shapes.begin()->second; }
  bool is_uniform() const;
};

class Tensors {
 public:
  // Throws llmh::Error when no stack of layers is there, or more than one.
  explicit Tensors(const llmh::Model& model);

  const std::string& pattern() const { return pattern_; }  // "model.layers.{i}"
  int64_t stored_layers() const { return stored_layers_; }
  // Layers from `n` on are taken out; their names as they are stored.
  std::vector<std::string> take_layers_from(int64_t n);

  // Names below the layer: "self_attn.q_proj.weight".
  const std::map<std::string, LayerTensor>& layer() const { return layer_; }
  const std::map<std::string, Shape>& globals() const { return globals_; }
  const LayerTensor* find(const std::string& name) const;
  const Shape* find_global(const std::string& name) const;
  // "model.layers." and ".self_attn.q_proj.weight" around the layer's number, as an expression's text.
  std::string quoted(const std::string& name) const;

  // Marks as understood; names that are not there are passed over.
  void claim(const std::string& name) { claimed_.insert(name); }
  void claim_module(const std::string& module);  // its .weight and .bias
  bool is_claimed(const std::string& name) const { return claimed_.contains(name); }

 private:
  void find_pattern(const std::vector<std::string>& names);
  void add_layer_tensors(const llmh::Model& model, const std::vector<std::string>& names);

  std::string pattern_;
  std::string prefix_;
  int64_t stored_layers_ = 0;
  std::map<std::string, LayerTensor> layer_;
  std::map<std::string, Shape> globals_;
  std::map<int64_t, std::vector<std::string>> names_of_layer_;
  std::set<std::string> claimed_;
};

// "self_attn.q_proj" of "self_attn.q_proj.weight"; empty for a name that ends otherwise.
std::string module_of(const std::string& tensor);
// "self_attn" and "q_proj" of "self_attn.q_proj".
std::string parent_of(const std::string& module);
std::string last_of(const std::string& module);
// parent + "." + last; a parent may be empty.
std::string joined(const std::string& parent, const std::string& last);

}  // namespace declarative
