// Comfort over arch.h: write an architecture as one class, export it with one macro. Header-only.
//
//   class MyArch {
//    public:
//     static int match(const llmh::Model& model);   // LLMH_MATCH_*
//     explicit MyArch(const llmh::Model& model);    // reads and checks the config; throws llmh::Error
//     void describe(llmh_model_info& info, llmh::States& states) const;
//     void names(llmh::Names& names) const;
//     void build(llmh::Graph& graph) const;
//   };
//   LLMH_ARCH_PLUGIN(MyArch);
//
// The functions are called in this order, all of them [control]. The macro's table makes the object in open and deletes
// it in close: the plugin itself never frees it. Whatever a function throws becomes the message of a refused load;
// nothing thrown leaves the plugin.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/arch.h"
#include "llmhost/graph.hpp"
#include "llmhost/plugin.hpp"

namespace llmh {

// Typed access to the config and the tensors of a checkpoint. A key of another type than asked for has been
// reported to the host, which fails the load; the getters treat it as absent. Keys may be dotted paths
// ("rope_scaling.factor", "layer_types.3"). What is read counts as understood: a key that nobody reads and that may
// change the maths makes the load fail, so read or ignore() every key that matters.
//
// The host's view stays valid until the object that was opened with it is closed; what the getters return is copied.
// [control]
class Model {
 public:
  explicit Model(const llmh_model* model) : model_(model) {}

  bool is_gguf() const { return model_->format == LLMH_FORMAT_GGUF; }

  // The same checkpoint with the config's object `object` as the config: a model that is one part of a larger one
  // ("text_config"). Keys in messages have their full path.
  Model section(std::string_view object) const {
    Model inner(model_);
    inner.prefix_ = prefix_ + std::string(object) + ".";
    return inner;
  }

  // The value, or nothing when the key is absent or null.
  std::optional<int64_t> find_int(std::string_view key) const {
    int64_t value = 0;
    if (model_->get_int(model_, str(full(key)), &value) != LLMH_VALUE_OK) return std::nullopt;
    return value;
  }
  // Integers count as well.
  std::optional<double> find_float(std::string_view key) const {
    double value = 0;
    if (model_->get_float(model_, str(full(key)), &value) != LLMH_VALUE_OK) return std::nullopt;
    return value;
  }
  std::optional<bool> find_bool(std::string_view key) const {
    int32_t value = 0;
    if (model_->get_bool(model_, str(full(key)), &value) != LLMH_VALUE_OK) return std::nullopt;
    return value != 0;
  }
  std::optional<std::string> find_string(std::string_view key) const {
    llmh_str value{};
    if (model_->get_string(model_, str(full(key)), &value) != LLMH_VALUE_OK) return std::nullopt;
    return std::string(view(value));
  }
  // A list of numbers, rounded to f32.
  std::optional<std::vector<float>> find_floats(std::string_view key) const {
    int64_t n = 0;
    if (model_->get_floats(model_, str(full(key)), nullptr, 0, &n) != LLMH_VALUE_OK) return std::nullopt;
    std::vector<double> values(static_cast<size_t>(n));
    if (model_->get_floats(model_, str(full(key)), values.data(), n, &n) != LLMH_VALUE_OK) return std::nullopt;
    return std::vector<float>(values.begin(), values.end());
  }
  // True when the key is there and not null. Asking does not count as reading.
  bool has(std::string_view key) const { return model_->has_key(model_, str(full(key))) == 1; }

  // The value, or `fallback` when the key is absent or null: the default of the reference implementation belongs here.
  int64_t int_or(std::string_view key, int64_t fallback) const { return find_int(key).value_or(fallback); }
  float float_or(std::string_view key, double fallback) const {
    return static_cast<float>(find_float(key).value_or(fallback));
  }
  bool bool_or(std::string_view key, bool fallback) const { return find_bool(key).value_or(fallback); }
  std::string string_or(std::string_view key, std::string_view fallback) const {
    return find_string(key).value_or(std::string(fallback));
  }
  // A count that the model cannot be built without: present and in [1, 2^31).
  int64_t require_size(std::string_view key) const {
    const std::optional<int64_t> value = find_int(key);
    if (!value) throw Error(LLMH_INVALID_ARGUMENT, "config: '" + full(key) + "' is missing");
    return checked_size(full(key), *value);
  }
  // The same with a default; `fallback` is checked as well.
  int64_t size_or(std::string_view key, int64_t fallback) const {
    return checked_size(full(key), find_int(key).value_or(fallback));
  }
  // Keys (with what is below them) that have no effect on the maths. Say why beside the call.
  void ignore(std::initializer_list<std::string_view> keys) const {
    for (const std::string_view key : keys) model_->ignore_key(model_, str(full(key)));
  }
  // LLMH_KIND_OF_*: what the key holds. Asking does not count as reading.
  int32_t kind_of(std::string_view key) const { return model_->kind_of(model_, str(full(key))); }
  // Elements of a list or keys of an object; 0 when the key is absent.
  int64_t size_of(std::string_view key) const {
    int64_t value = 0;
    return model_->get_size(model_, str(full(key)), &value) == LLMH_VALUE_OK ? value : 0;
  }
  // Keys of the object at `object` (empty: the whole config).
  std::vector<std::string> keys(std::string_view object = {}) const {
    std::string place = full(object);
    if (!place.empty() && place.back() == '.') place.pop_back();
    std::vector<std::string> found;
    for (int64_t i = 0;; ++i) {
      const llmh_str key = model_->key_name(model_, str(place), i);
      if (key.len == 0) return found;
      found.emplace_back(view(key));
    }
  }
  // The stored tensors, in the checkpoint's order.
  std::vector<std::string> tensor_names() const {
    std::vector<std::string> found;
    const int64_t n = model_->n_tensors(model_);
    found.reserve(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) found.emplace_back(view(model_->tensor_name(model_, i)));
    return found;
  }
  // The tensor's shape, row-major, or nothing; which names it goes by is said at has_tensor().
  std::optional<std::vector<int64_t>> find_shape(std::string_view name) const {
    int64_t shape[LLMH_MAX_RANK] = {};
    int32_t rank = 0;
    if (model_->has_tensor(model_, str(name), shape, &rank) != 1) return std::nullopt;
    return std::vector<int64_t>(shape, shape + rank);
  }
  // Whether the checkpoint holds the tensor. In match() and the constructor the rules of names() are not known yet: the
  // name is then the stored one.
  bool has_tensor(std::string_view name) const { return model_->has_tensor(model_, str(name), nullptr, nullptr) == 1; }

 private:
  // What does not fit is refused before anything is allocated by it.
  static int64_t checked_size(std::string_view key, int64_t value) {
    if (value < 1 || value > INT32_MAX)
      throw Error(LLMH_INVALID_ARGUMENT,
                  "config: '" + std::string(key) + "' is " + std::to_string(value) + ", it must be 1 to 2147483647");
    return value;
  }
  std::string full(std::string_view key) const { return prefix_ + std::string(key); }

  const llmh_model* model_;
  std::string prefix_;  // of the section, with its dot; empty: the whole config
};

// Changes on the way from a stored tensor to the Hub's, in the order in which they are applied; see LLMH_LAYOUT_*.
//   {llmh::transposed(), llmh::rows(0, n)}   the first n rows of the transposed matrix
using LayoutSteps = std::vector<llmh_layout_step>;

// Rotary pairs stored adjacent become the Hub's halves, in each of `n_heads` heads.
inline llmh_layout_step rotary_pairs(int64_t n_heads) {
  return {LLMH_LAYOUT_ROTARY_PAIRS, 0, n_heads, 0, 0};
}
// [in, out] becomes [out, in]; vectors stay as they are.
inline llmh_layout_step transposed() {
  return {LLMH_LAYOUT_TRANSPOSED, 0, 0, 0, 0};
}
// Rows [begin, end) of a fused tensor; of a vector its elements.
inline llmh_layout_step rows(int64_t begin, int64_t end) {
  return {LLMH_LAYOUT_ROWS, 0, begin, end, 0};
}
// Of each `group` rows those in [begin, end).
inline llmh_layout_step strided_rows(int64_t group, int64_t begin, int64_t end) {
  return {LLMH_LAYOUT_STRIDED_ROWS, 0, group, begin, end};
}
// [n * R, ...] becomes [n, R, ...].
inline llmh_layout_step split(int64_t n) {
  return {LLMH_LAYOUT_SPLIT, 0, n, 0, 0};
}

// Collects name rules; see llmh_name_rule for what patterns may hold. Valid during names() only. [control]
class Names {
 public:
  Names(llmh_name_sink* sink, bool gguf) : sink_(sink), gguf_(gguf) {}
  bool is_gguf() const { return gguf_; }
  // Only for GGUF files: the Hub module `hub` is stored as `stored`, its `.weight` and `.bias` alike.
  void gguf_module(std::string_view hub, std::string_view stored, const LayoutSteps& steps = {}) {
    if (!gguf_) return;
    for (const std::string_view part : {".weight", ".bias"})
      map(std::string(hub).append(part), std::string(stored).append(part), steps);
  }
  // One tensor, in files of every format.
  void map(std::string_view hub, std::string_view stored, const LayoutSteps& steps = {}) {
    llmh_name_rule rule{};
    rule.struct_size = sizeof rule;
    rule.n_steps = static_cast<uint32_t>(steps.size());
    rule.hub_name = str(hub);
    rule.stored_name = str(stored);
    rule.steps = steps.data();
    check(sink_->map(sink_, &rule));
  }
  // Stored tensors that may be there and are not needed.
  void ignore(std::string_view stored) { check(sink_->ignore(sink_, str(stored))); }

 private:
  llmh_name_sink* sink_;
  bool gguf_;
};

// Collects the per-sequence state. Valid during describe() only. [control]
class States {
 public:
  explicit States(llmh_state_sink* sink) : sink_(sink) {}
  // Keys and values of every token of one layer. `slot` is the number that its attention uses (AttentionConfig::layer);
  // `window` the positions that it looks back, 0 for all: pages beyond it may be given back.
  void paged_kv(int64_t slot, int64_t n_kv_heads, int64_t k_head_dim, int64_t v_head_dim, int64_t window = 0) {
    llmh_state_spec spec{};
    spec.struct_size = sizeof spec;
    spec.kind = LLMH_STATE_PAGED_KV;
    spec.slot = static_cast<int32_t>(slot);
    spec.n_kv_heads = static_cast<int32_t>(n_kv_heads);
    spec.k_head_dim = static_cast<int32_t>(k_head_dim);
    spec.v_head_dim = static_cast<int32_t>(v_head_dim);
    spec.window = static_cast<int32_t>(window);
    check(sink_->add(sink_, &spec));
  }

 private:
  llmh_state_sink* sink_;
};

// The C table over a class as sketched at the top of this file. Each function has the contract of the field of llmh_arch
// that it fills.
template <typename Arch>
class ArchTable {
 public:
  static const llmh_arch* get() {
    static const llmh_arch table = {sizeof(llmh_arch), &match, &open, &close, &describe, &names, &build};
    return &table;
  }

 private:
  // The plugin's side of llmh_arch_model.
  static Arch* self(llmh_arch_model* model) { return reinterpret_cast<Arch*>(model); }

  static int32_t match(const llmh_model* model) {
    int32_t score = LLMH_MATCH_NONE;
    // A config that cannot even be matched is no match; open() of the chosen plugin reports what is wrong
    // with it.
    try {
      score = Arch::match(Model(model));
    } catch (...) {
      return LLMH_MATCH_NONE;
    }
    return score;
  }
  static llmh_status* open(const llmh_model* model, llmh_arch_model** out) {
    return guard([&] { *out = reinterpret_cast<llmh_arch_model*>(new Arch(Model(model))); });
  }
  // Nothing of the model is used after this.
  static void close(llmh_arch_model* model) { delete self(model); }
  static llmh_status* describe(llmh_arch_model* model, llmh_model_info* info, llmh_state_sink* sink) {
    return guard([&] {
      States states(sink);
      self(model)->describe(*info, states);
    });
  }
  static llmh_status* names(llmh_arch_model* model, const llmh_model* view_of_model, llmh_name_sink* sink) {
    return guard([&] {
      Names collected(sink, view_of_model->format == LLMH_FORMAT_GGUF);
      self(model)->names(collected);
    });
  }
  static llmh_status* build(llmh_arch_model* model, llmh_builder* builder) {
    return guard([&] {
      Graph graph(builder);
      self(model)->build(graph);
    });
  }
};

}  // namespace llmh

// Exports `Arch` as this plugin.
#define LLMH_ARCH_PLUGIN(Arch) LLMH_DEFINE_PLUGIN(LLMH_KIND_ARCH, LLMH_ARCH_INTERFACE, llmh::ArchTable<Arch>::get())
