#include "infer_tensors.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace declarative {

using llmh::Error;

namespace {

constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxParts = 65536;

std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t dot = std::min(name.find('.', begin), name.size());
    parts.push_back(name.substr(begin, dot - begin));
    begin = dot + 1;
  }
  return parts;
}

std::string join(const std::vector<std::string>& parts, size_t begin, size_t end) {
  std::string name;
  for (size_t i = begin; i < end; ++i) name += (i == begin ? "" : ".") + parts[i];
  return name;
}

// The number that a part of a name is; without leading zeros, as the name is made again from it.
std::optional<int64_t> number_of(const std::string& part, int64_t most) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
  const bool whole = error == std::errc{} && end == part.data() + part.size() && !part.empty();
  if (!whole || value < 0 || value >= most || (part.size() > 1 && part[0] == '0')) return std::nullopt;
  return value;
}

// The place of the first number in a name.
std::optional<size_t> first_number(const std::vector<std::string>& parts, size_t from, int64_t most) {
  for (size_t at = from; at < parts.size(); ++at)
    if (number_of(parts[at], most)) return at;
  return std::nullopt;
}

}  // namespace

bool LayerTensor::is_uniform() const {
  return std::all_of(shapes.begin(), shapes.end(), [&](const auto& each) { return each.second == shape(); });
}

Tensors::Tensors(const llmh::Model& model) {
  const std::vector<std::string> names = model.tensor_names();
  find_pattern(names);
  add_layer_tensors(model, names);
}

// The stack with the most tensors is the layers; a second one with as many kinds of tensors is another model.
void Tensors::find_pattern(const std::vector<std::string>& names) {
  std::map<std::string, std::set<std::string>> kinds;
  for (const std::string& name : names) {
    const std::vector<std::string> parts = split(name);
    const auto at = first_number(parts, 0, kMaxLayers);
    if (at && *at > 0) kinds[join(parts, 0, *at)].insert(join(parts, *at + 1, parts.size()));
  }
  const auto more = [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); };
  const auto best = std::max_element(kinds.begin(), kinds.end(), more);
  if (best == kinds.end() || best->second.size() < 4)
    throw Error(LLMH_UNIMPLEMENTED, "inferred: no tensor name holds the number of a layer");
  for (const auto& [prefix, below] : kinds)
    if (prefix != best->first && below.size() >= 4)
      throw Error(LLMH_UNIMPLEMENTED, "inferred: two stacks of layers, '" + best->first + "' and '" + prefix +
                                          "': how they work together cannot be told");
  prefix_ = best->first + ".";
  pattern_ = prefix_ + "{i}";
}

void Tensors::add_layer_tensors(const llmh::Model& model, const std::vector<std::string>& names) {
  struct Numbered {
    std::string name;  // with {j}
    int64_t layer, part;
    std::string literal;
  };
  std::vector<Numbered> numbered;
  std::map<std::pair<std::string, int64_t>, std::set<int64_t>> parts_of;
  const auto add = [&](const std::string& name, int64_t layer, const Shape& shape) {
    layer_[name].shapes.emplace(layer, shape);
  };
  const auto shape_of = [&](const std::string& name) { return model.find_shape(name).value_or(Shape{}); };
  for (const std::string& name : names) {
    const std::vector<std::string> parts = split(name);
    const auto at = first_number(parts, 0, kMaxLayers);
    if (!at || join(parts, 0, *at) + "." != prefix_) {
      globals_.emplace(name, shape_of(name));
      continue;
    }
    const int64_t layer = *number_of(parts[*at], kMaxLayers);
    stored_layers_ = std::max(stored_layers_, layer + 1);
    names_of_layer_[layer].push_back(name);
    const std::string below = join(parts, *at + 1, parts.size());
    const auto inner = first_number(parts, *at + 1, kMaxParts);
    if (!inner) {
      add(below, layer, shape_of(name));
      continue;
    }
    const int64_t part = *number_of(parts[*inner], kMaxParts);
    std::vector<std::string> pattern = parts;
    pattern[*inner] = "{j}";
    const std::string with_j = join(pattern, *at + 1, parts.size());
    numbered.push_back({with_j, layer, part, below});
    parts_of[{with_j, layer}].insert(part);
  }
  for (const Numbered& each : numbered) {
    const std::set<int64_t>& found = parts_of[{each.name, each.layer}];
    const auto n = static_cast<int64_t>(found.size());
    const bool dense = n > 1 && *found.begin() == 0 && *found.rbegin() == n - 1;
    add(dense ? each.name : each.literal, each.layer,
        shape_of(prefix_ + std::to_string(each.layer) + "." + each.literal));
    if (dense) layer_[each.name].parts = n;
  }
}

std::vector<std::string> Tensors::take_layers_from(int64_t n) {
  std::vector<std::string> taken;
  for (auto it = names_of_layer_.lower_bound(n); it != names_of_layer_.end(); ++it)
    taken.insert(taken.end(), it->second.begin(), it->second.end());
  for (auto it = layer_.begin(); it != layer_.end();) {
    auto& shapes = it->second.shapes;
    shapes.erase(shapes.lower_bound(n), shapes.end());
    it = shapes.empty() ? layer_.erase(it) : std::next(it);
  }
  return taken;
}

const LayerTensor* Tensors::find(const std::string& name) const {
  const auto found = layer_.find(name);
  return found == layer_.end() ? nullptr : &found->second;
}

const Shape* Tensors::find_global(const std::string& name) const {
  const auto found = globals_.find(name);
  return found == globals_.end() ? nullptr : &found->second;
}

std::string Tensors::quoted(const std::string& name) const {
  return "'" + prefix_ + "' + i + '." + name + "'";
}

void Tensors::claim_module(const std::string& module) {
  claim(module + ".weight");
  claim(module + ".bias");
}

std::string module_of(const std::string& tensor) {
  constexpr std::string_view kEnd = ".weight";
  return tensor.ends_with(kEnd) ? tensor.substr(0, tensor.size() - kEnd.size()) : "";
}

std::string parent_of(const std::string& module) {
  const size_t dot = module.rfind('.');
  return dot == std::string::npos ? "" : module.substr(0, dot);
}

std::string last_of(const std::string& module) {
  const size_t dot = module.rfind('.');
  return dot == std::string::npos ? module : module.substr(dot + 1);
}

std::string joined(const std::string& parent, const std::string& last) {
  return parent.empty() ? last : last.empty() ? parent : parent + "." + last;
}

}  // namespace declarative
