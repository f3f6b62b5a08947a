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
// reported to the host, which fails the load; the getters treat it as absent.
class Model {
 public:
  explicit Model(const llmh_model* model) : model_(model) {}

  bool is_gguf() const { return model_->format == LLMH_FORMAT_GGUF; }

  std::optional<int64_t> find_int(std::string_view key) const {
    int64_t value = 0;
    if (model_->get_int(model_, str(key), &value) != LLMH_VALUE_OK) return std::nullopt;
    return value;
  }
  std::optional<double> find_float(std::string_view key) const {
    double value = 0;
    if (model_->get_float(model_, str(key), &value) != LLMH_VALUE_OK) return std::nullopt;
    return value;
  }
  std::optional<bool> find_bool(std::string_view key) const {
    int32_t value = 0;
    if (model_->get_bool(model_, str(key), &value) != LLMH_VALUE_OK) return std::nullopt;
    return value != 0;
  }
  std::optional<std::string> find_string(std::string_view key) const {
    llmh_str value{};
    if (model_->get_string(model_, str(key), &value) != LLMH_VALUE_OK) return std::nullopt;
    return std::string(view(value));
  }
  std::optional<std::vector<float>> find_floats(std::string_view key) const {
    int64_t n = 0;
    if (model_->get_floats(model_, str(key), nullptr, 0, &n) != LLMH_VALUE_OK) return std::nullopt;
    std::vector<double> values(static_cast<size_t>(n));
    if (model_->get_floats(model_, str(key), values.data(), n, &n) != LLMH_VALUE_OK) return std::nullopt;
    return std::vector<float>(values.begin(), values.end());
  }
  // True when the key is there and not null.
  bool has(std::string_view key) const { return model_->has_key(model_, str(key)) == 1; }

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
    if (!value) throw Error(LLMH_INVALID_ARGUMENT, "config: '" + std::string(key) + "' is missing");
    return checked_size(key, *value);
  }
  int64_t size_or(std::string_view key, int64_t fallback) const {
    return checked_size(key, find_int(key).value_or(fallback));
  }
  void ignore(std::initializer_list<std::string_view> keys) const {
    for (const std::string_view key : keys) model_->ignore_key(model_, str(key));
  }
  bool has_tensor(std::string_view hub_name) const {
    return model_->has_tensor(model_, str(hub_name), nullptr, nullptr) == 1;
  }

 private:
  static int64_t checked_size(std::string_view key, int64_t value) {
    if (value < 1 || value > INT32_MAX)
      throw Error(LLMH_INVALID_ARGUMENT,
                  "config: '" + std::string(key) + "' is " + std::to_string(value) + ", it must be 1 to 2147483647");
    return value;
  }
  const llmh_model* model_;
};

// Collects name rules; see llmh_name_sink.
class Names {
 public:
  Names(llmh_name_sink* sink, bool gguf) : sink_(sink), gguf_(gguf) {}
  bool is_gguf() const { return gguf_; }
  // Only for GGUF files: the Hub module `hub` is stored as `stored`, its `.weight` and `.bias` alike.
  void gguf_module(std::string_view hub, std::string_view stored, int32_t layout = LLMH_LAYOUT_SAME, int64_t arg0 = 0,
                   int64_t arg1 = 0) {
    if (!gguf_) return;
    for (const std::string_view part : {".weight", ".bias"})
      map(std::string(hub).append(part), std::string(stored).append(part), layout, arg0, arg1);
  }
  void map(std::string_view hub, std::string_view stored, int32_t layout = LLMH_LAYOUT_SAME, int64_t arg0 = 0,
           int64_t arg1 = 0) {
    check(sink_->map(sink_, str(hub), str(stored), layout, arg0, arg1));
  }
  void ignore(std::string_view stored) { check(sink_->ignore(sink_, str(stored))); }

 private:
  llmh_name_sink* sink_;
  bool gguf_;
};

// Collects the per-sequence state.
class States {
 public:
  explicit States(llmh_state_sink* sink) : sink_(sink) {}
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

// The C table over a class as sketched at the top of this file.
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
