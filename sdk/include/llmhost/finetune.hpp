// Comfort over finetune.h: write a fine-tuning method as one class, export it with one macro. Header-only.
//
//   class MyMethod : public llmh::Method {
//    public:
//     static void schema(llmh::Schema& schema);              // declares the YAML keys
//     explicit MyMethod(const llmh::Settings& settings);     // reads and checks them; throws llmh::Error
//     uint32_t choose(const llmh::Module& module) override;
//     llmh::Tensor rewrite(llmh::Graph& graph, const llmh::Linear& linear) override;
//     std::string config_json() override;
//   };
//   LLMH_FINETUNE_PLUGIN(MyMethod);
//
// A method that scales what a linear gives, one factor an output feature:
//
//   void MyMethod::schema(llmh::Schema& schema) {
//     schema.add_list("target_modules", "[k_proj, v_proj]", "Modules to scale, by name");
//   }
//   uint32_t MyMethod::choose(const llmh::Module& module) {
//     return llmh::rewrite_if(module.is_linear() && llmh::is_target(module.path, targets_));
//   }
//   llmh::Tensor MyMethod::rewrite(llmh::Graph& graph, const llmh::Linear& linear) {
//     return linear.y * graph.parameter(linear.path + ".scale", {linear.out_features}, LLMH_INIT_ONES);
//   }
//
// The host calls schema() before there is an object, makes one object for each job from the job's settings, asks choose()
// about every module and rewrite() for the nodes of those that are to be rewritten, and ends with close, where the macro's
// table deletes the object: the plugin itself never frees it. All of it [control], one call at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "llmhost/finetune.h"
#include "llmhost/graph.hpp"
#include "llmhost/plugin.hpp"

namespace llmh {

// Declares config keys. An empty default makes a key required ("''" is the default of an empty text); `documentation` is
// one line with the unit; `aliases` are other names, "a|b". Texts are copied. Valid during schema() only.
class Schema {
 public:
  explicit Schema(llmh_schema_sink* sink) : sink_(sink) {}

  // `default_value`: "true" or "false".
  void add_bool(std::string_view name, std::string_view default_value, std::string_view documentation,
                std::string_view aliases = {}) {
    add(key(LLMH_KEY_BOOL, name, default_value, documentation, aliases));
  }
  // A whole number from `minimum` to `maximum`, both included.
  void add_int(std::string_view name, std::string_view default_value, std::string_view documentation, int64_t minimum,
               int64_t maximum, std::string_view aliases = {}) {
    llmh_key_spec spec = key(LLMH_KEY_INT, name, default_value, documentation, aliases);
    spec.minimum = static_cast<double>(minimum);
    spec.maximum = static_cast<double>(maximum);
    add(spec);
  }
  // A finite number from `minimum` to `maximum`, both included; without them any.
  void add_float(std::string_view name, std::string_view default_value, std::string_view documentation,
                 double minimum = std::numeric_limits<double>::lowest(),
                 double maximum = std::numeric_limits<double>::max(), std::string_view aliases = {}) {
    llmh_key_spec spec = key(LLMH_KEY_FLOAT, name, default_value, documentation, aliases);
    spec.minimum = minimum;
    spec.maximum = maximum;
    add(spec);
  }
  // `choices`: "a|b|c", or empty for any text.
  void add_string(std::string_view name, std::string_view default_value, std::string_view documentation,
                  std::string_view choices = {}, std::string_view aliases = {}) {
    llmh_key_spec spec = key(LLMH_KEY_STRING, name, default_value, documentation, aliases);
    spec.choices = str(choices);
    add(spec);
  }
  // `default_value` as in YAML: "[q_proj, v_proj]".
  void add_list(std::string_view name, std::string_view default_value, std::string_view documentation,
                std::string_view aliases = {}) {
    add(key(LLMH_KEY_STRING_LIST, name, default_value, documentation, aliases));
  }
  // One text or a list of them; Settings::is_list tells which was written.
  void add_string_or_list(std::string_view name, std::string_view default_value, std::string_view documentation,
                          std::string_view aliases = {}) {
    add(key(LLMH_KEY_STRING_OR_LIST, name, default_value, documentation, aliases));
  }
  // Texts by name: "{q_proj: 16}".
  void add_map(std::string_view name, std::string_view default_value, std::string_view documentation,
               std::string_view aliases = {}) {
    add(key(LLMH_KEY_MAP, name, default_value, documentation, aliases));
  }

 private:
  // The parts that every key has.
  static llmh_key_spec key(int32_t type, std::string_view name, std::string_view default_value,
                           std::string_view documentation, std::string_view aliases) {
    llmh_key_spec spec{};
    spec.struct_size = sizeof spec;
    spec.type = type;
    spec.name = str(name);
    spec.documentation = str(documentation);
    spec.default_value = str(default_value);
    spec.minimum = 1;  // above the maximum: no range
    spec.maximum = 0;
    spec.aliases = str(aliases);
    return spec;
  }
  void add(const llmh_key_spec& spec) { check(sink_->add(sink_, &spec)); }

  llmh_schema_sink* sink_;
};

// The validated config of a job: types and ranges are as declared, absent keys have their defaults. Asking for a key
// that schema() did not declare throws. Valid as long as the method that is made from
// it, so it may be kept. [control]
class Settings {
 public:
  explicit Settings(const llmh_config* config) : config_(config) {}

  bool get_bool(std::string_view key) const { return get_int(key) != 0; }
  int64_t get_int(std::string_view key) const {
    int64_t value = 0;
    check(config_->get_int(config_, str(key), &value));
    return value;
  }
  double get_float(std::string_view key) const {
    double value = 0;
    check(config_->get_float(config_, str(key), &value));
    return value;
  }
  // One of the choices, when the key has any.
  std::string get_string(std::string_view key) const {
    llmh_str value{};
    check(config_->get_string(config_, str(key), &value));
    return std::string(view(value));
  }
  // In the order of the config; may be empty. One text is a list of one.
  std::vector<std::string> get_list(std::string_view key) const {
    std::vector<std::string> values;
    uint32_t n = 0;
    check(config_->get_size(config_, str(key), &n));
    for (uint32_t i = 0; i < n; ++i) {
      llmh_str value{};
      check(config_->get_list(config_, str(key), i, &value));
      values.emplace_back(view(value));
    }
    return values;
  }
  // Whether a key of "one text or a list" was written as a list.
  bool is_list(std::string_view key) const {
    int32_t kind = 0;
    check(config_->get_kind(config_, str(key), &kind));
    return kind == LLMH_KEY_STRING_LIST;
  }
  // In the order of the config.
  std::vector<std::pair<std::string, std::string>> get_map(std::string_view key) const {
    std::vector<std::pair<std::string, std::string>> values;
    for (std::string& name : get_list(key)) {
      llmh_str value{};
      check(config_->get_value(config_, str(key), static_cast<uint32_t>(values.size()), &value));
      values.emplace_back(std::move(name), view(value));
    }
    return values;
  }
  // Whether the key was written, even with its default as value.
  bool is_given(std::string_view key) const {
    int32_t given = 0;
    check(config_->is_given(config_, str(key), &given));
    return given != 0;
  }

 private:
  const llmh_config* config_;
};

// A module of the base model, see llmh_base_module.
struct Module {
  uint32_t index = 0;  // in the base model
  int32_t kind = 0;    // LLMH_MODULE_*
  std::string path;    // Hub module path: "model.layers.3.self_attn.q_proj"
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool has_bias = false;
  uint32_t flags = 0;  // LLMH_MODULE_* bits
  bool is_linear() const { return kind == LLMH_MODULE_LINEAR; }
  bool is_embedding() const { return kind == LLMH_MODULE_EMBEDDING; }
  bool is_head() const { return (flags & LLMH_MODULE_HEAD) != 0; }
  bool is_in_block() const { return (flags & LLMH_MODULE_IN_BLOCK) != 0; }
};
inline Module module_of(const llmh_base_model& model, uint32_t index) {
  const llmh_base_module& base = *model.modules[index];
  return {index,     base.kind, std::string(view(base.path)), base.in_features, base.out_features, base.has_bias != 0,
          base.flags};
}

// What choose() answers for a module that is rewritten or left alone.
inline uint32_t rewrite_if(bool is_chosen) {
  return is_chosen ? LLMH_TUNE_REWRITE : 0;
}

// A node of a linear or an embedding that is rewritten. Tensors belong to the graph that is passed with them and mean
// nothing in another.
struct Linear {
  int32_t kind = LLMH_MODULE_LINEAR;             // or LLMH_MODULE_EMBEDDING
  uint32_t module = 0;                           // index in the base model
  std::string path;                              // Hub module path: "model.layers.3.self_attn.q_proj"
  int64_t in_features = 0;                       // K; rows of a table
  int64_t out_features = 0;                      // N; width of a table
  llmh_dtype weight_dtype = LLMH_DTYPE_INVALID;  // of the base weight as stored; may be quantised
  Tensor x;                                      // [..., in_features]; of an embedding ids i32 [T]
  Tensor weight;                                 // [out_features, in_features]; a table [in_features, out_features]
  Tensor bias;                                   // [out_features] or absent
  Tensor y;                                      // [..., out_features]: what the untouched module gives
};

// Whether `path` is one of the modules that `targets` names: a whole path, its end after a dot, or
// "all-linear". "proj" is no match for "q_proj": only whole names count.
inline bool is_target(std::string_view path, const std::vector<std::string>& targets) {
  return std::any_of(targets.begin(), targets.end(), [path](const std::string& target) {
    if (target == "all-linear" || path == target) return true;
    return path.size() > target.size() && path.ends_with(target) && path[path.size() - target.size() - 1] == '.';
  });
}

// JSON text of a string and of a list of strings, for config_json(). The text is UTF-8 and stays so; quotes,
// backslashes and control characters are escaped.
inline std::string json(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      quoted += c;
      continue;
    }
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
    quoted += escaped;
  }
  return quoted + "\"";
}
inline std::string json(const std::vector<std::string>& list) {
  std::string text = "[";
  for (const std::string& item : list) text += (text.size() > 1 ? ", " : "") + json(item);
  return text + "]";
}

// Whether a method fits an architecture; see llmh_finetune::applies.
struct Fit {
  int32_t verdict = LLMH_FIT_YES;
  std::string reason;  // one line unless LLMH_FIT_YES
};

// What a method does; see llmh_finetune. Functions may throw llmh::Error, which refuses the job with its message; every
// other exception is reported as an internal error. Made by open() from the settings, deleted by close(). [control]
class Method {
 public:
  Method() = default;
  Method(const Method&) = delete;
  Method& operator=(const Method&) = delete;
  virtual ~Method() = default;

  // A graph of this model is to be made: choose() follows for each module, in order, then the rewrites. The place to
  // refuse names that match no module. The model is valid until the next begin(). The same for the same model.
  virtual void begin(const llmh_base_model& /*model*/) {}
  // What is trained of the module: LLMH_TUNE_* bits, by its path (is_target), sizes or kind.
  virtual uint32_t choose(const Module& module) = 0;
  // Returns the replacement of linear.y, of the same shape [..., out_features]. New tensors are made with
  // graph.parameter() and named "<path>.<something>". The untouched linear (linear.y) may be part of the result:
  // y + something is what most methods return. Never called by a method that chooses no LLMH_TUNE_REWRITE.
  virtual Tensor rewrite(Graph& /*graph*/, const Linear& linear) {
    throw Error(LLMH_INTERNAL, "'" + linear.path + "' is to be rewritten, which nobody asked for");
  }
  // The tensor's name in the adapter file, for a name that was given to parameter() or that of a trained weight; by
  // default the one that PEFT gives it. Different for different parameters.
  virtual std::string file_name(std::string_view parameter) {
    return std::string("base_model.model.").append(parameter);
  }
  // The adapter's config file: one JSON object with what another program needs to apply the adapter. Empty: the method
  // makes no adapter but a whole model.
  virtual std::string config_json() = 0;

  // What is asked of the base; comes as it is stored.
  virtual void base(llmh_base_request& /*request*/) {}
  // The top_k_ratio of an attention, see llmh_attention_attrs; `of_model` as the model has it.
  virtual float top_k_ratio(std::string_view /*path*/, float of_model) { return of_model; }
  // Frozen tensors of the adapter's file, by index from 0; false when there are no more. Names and data are the method's.
  virtual bool file_tensor(uint32_t /*index*/, llmh_file_tensor& /*out*/) { return false; }
  virtual Fit applies(const llmh_base_model& /*model*/) { return {}; }

  // A method whose adapters can be trained on has, besides, a static function
  //   static std::unique_ptr<M> from_adapter(const llmh_adapter_source& source);
  // and one whose adapters can be served two that any thread may call (LLMH_SERVING_DELTA_EXTENSION; see
  // llmh_serving_delta):
  //   static bool claims(std::string_view config_json);
  //   static void read(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink);
};

// A trained tensor with its gradient and moments, see llmh_tuned_tensor; what is not there is empty.
struct TunedTensor {
  std::string_view name;
  std::span<const int64_t> shape;
  std::span<float> value;
  std::span<float> gradient;
  std::span<float> first_moment;
  std::span<float> second_moment;
};

// A method that looks at weights and gradients between the backward pass and the optimiser; see llmh_tuning_steps.
class SteppedMethod : public Method {
 public:
  // Once before the first step; not after a resume.
  virtual void start(std::span<const TunedTensor> /*tensors*/) {}
  // Before clipping. False: the optimiser leaves this step out.
  virtual bool before_update(const llmh_step_info& /*step*/, std::span<const TunedTensor> /*tensors*/) { return true; }
  virtual void after_update(const llmh_step_info& /*step*/, std::span<const TunedTensor> /*tensors*/) {}
  // Any bytes; what was given to set_state() in place of start() makes the method go on as if it had never stopped.
  virtual std::string state() { return {}; }
  virtual void set_state(std::string_view /*state*/) {}
};

// The C table over a class as sketched at the top of this file. Every function has the contract of the field of
// llmh_finetune that it fills; nothing thrown in `M` passes it.
template <typename M>
class FinetuneTable {
 public:
  static const llmh_finetune* get() {
    static const llmh_finetune table = make();
    return &table;
  }
  // The interfaces of a plugin of this method.
  static const void* get_extension(llmh_str id) {
    if (view(id) == LLMH_FINETUNE_INTERFACE) return get();
    if constexpr (kIsServed) {
      static const llmh_serving_delta table{sizeof(llmh_serving_delta), &claims, &read};
      if (view(id) == LLMH_SERVING_DELTA_EXTENSION) return &table;
    }
    if constexpr (kHasSteps) {
      static const llmh_tuning_steps table{
          sizeof(llmh_tuning_steps), &start, &before_update, &after_update, &state_bytes, &save_state, &load_state};
      if (view(id) == LLMH_TUNING_STEPS_EXTENSION) return &table;
    }
    return nullptr;
  }

 private:
  static constexpr bool kIsServed =
      requires(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink) {
    M::read(source, model, sink);
    M::claims(std::string_view());
  };
  static constexpr bool kReadsAdapters = requires(const llmh_adapter_source& source) { M::from_adapter(source); };
  static constexpr bool kHasSteps = std::is_base_of_v<SteppedMethod, M>;

  // What llmh_method stands for: made by open(), deleted by close().
  struct Held {
    std::unique_ptr<M> method;
    // What was given last; the host may read it until the next call or close.
    std::string json;
    std::string reason;
  };

  static Held& held(llmh_method* self) { return *reinterpret_cast<Held*>(self); }
  static M& method(llmh_method* self) { return *held(self).method; }
  static llmh_method* hold(std::unique_ptr<M> method) {
    auto made = std::make_unique<Held>();
    made->method = std::move(method);
    return reinterpret_cast<llmh_method*>(made.release());
  }

  static llmh_finetune make() {
    llmh_finetune table{};
    table.struct_size = sizeof table;
    table.schema = &schema;
    table.open = &open;
    table.close = &close;
    table.select = &select;
    table.rewrite = &rewrite;
    table.file_name = &file_name;
    table.config_json = &config_json;
    if constexpr (kReadsAdapters) table.open_adapter = &open_adapter;
    table.base = &base;
    table.attention = &attention;
    table.file_tensor = &file_tensor;
    table.applies = &applies;
    return table;
  }

  static Linear linear_of(const llmh_linear_info& info, Graph& graph) {
    Linear linear;
    linear.kind = info.kind;
    linear.module = info.module;
    linear.path = view(info.path);
    linear.in_features = info.in_features;
    linear.out_features = info.out_features;
    linear.weight_dtype = info.weight_dtype;
    linear.x = Tensor(&graph, info.x);
    linear.weight = Tensor(&graph, info.weight);
    linear.bias = Tensor(&graph, info.bias);
    linear.y = Tensor(&graph, info.y);
    return linear;
  }

  static llmh_status* schema(llmh_schema_sink* sink) {
    return guard([&] {
      Schema declared(sink);
      M::schema(declared);
    });
  }
  static llmh_status* open(const llmh_config* config, llmh_method** out) {
    return guard([&] { *out = hold(std::make_unique<M>(Settings(config))); });
  }
  static void close(llmh_method* self) { delete &held(self); }
  static llmh_status* open_adapter(const llmh_adapter_source* source, llmh_method** out) {
    return guard([&] { *out = hold(M::from_adapter(*source)); });
  }
  static llmh_status* select(llmh_method* self, const llmh_base_model* model, uint32_t* choices) {
    return guard([&] {
      method(self).begin(*model);
      for (uint32_t i = 0; i < model->n_modules; ++i) choices[i] = method(self).choose(module_of(*model, i));
    });
  }
  static llmh_status* rewrite(llmh_method* self, llmh_builder* builder, const llmh_linear_info* info,
                              llmh_tensor* out) {
    return guard([&] {
      Graph graph(builder);
      *out = method(self).rewrite(graph, linear_of(*info, graph)).id();
    });
  }
  static llmh_status* file_name(llmh_method* self, llmh_str parameter, char* name, uint64_t capacity,
                                uint64_t* length) {
    return guard([&] {
      const std::string text = method(self).file_name(view(parameter));
      *length = text.size();  // also when it does not fit, so that the host can ask again
      if (text.size() > capacity)
        throw Error(LLMH_OUT_OF_RANGE,
                    "the name of " + std::string(view(parameter)) + " needs " + std::to_string(text.size()) + " bytes");
      std::memcpy(name, text.data(), text.size());
    });
  }
  static llmh_status* claims(llmh_str config_json, int32_t* out) {
    return guard([&] { *out = M::claims(view(config_json)) ? 1 : 0; });
  }
  static llmh_status* read(const llmh_adapter_source* source, const llmh_base_model* model, llmh_delta_sink* sink) {
    return guard([&] { M::read(*source, *model, *sink); });
  }
  static llmh_status* config_json(llmh_method* self, llmh_str* out) {
    return guard([&] {
      held(self).json = method(self).config_json();
      *out = str(held(self).json);
    });
  }
  static llmh_status* base(llmh_method* self, llmh_base_request* request) {
    return guard([&] { method(self).base(*request); });
  }
  static llmh_status* attention(llmh_method* self, llmh_str path, float* ratio) {
    return guard([&] { *ratio = method(self).top_k_ratio(view(path), *ratio); });
  }
  static llmh_status* file_tensor(llmh_method* self, uint32_t index, llmh_file_tensor* out) {
    return guard([&] {
      llmh_file_tensor found = *out;
      if (method(self).file_tensor(index, found)) *out = found;
    });
  }
  static llmh_status* applies(llmh_method* self, const llmh_base_model* model, int32_t* verdict, llmh_str* reason) {
    return guard([&] {
      Fit fit = method(self).applies(*model);
      held(self).reason = std::move(fit.reason);
      *verdict = fit.verdict;
      *reason = str(held(self).reason);
    });
  }

  using Tuned = const llmh_tuned_tensor* const*;
  static std::vector<TunedTensor> tuned(Tuned tensors, uint32_t n) {
    const auto part = [](float* data, const llmh_tuned_tensor& of) {
      return data == nullptr ? std::span<float>() : std::span<float>(data, static_cast<size_t>(of.n));
    };
    std::vector<TunedTensor> all;
    for (uint32_t i = 0; i < n; ++i) {
      const llmh_tuned_tensor& of = *tensors[i];
      all.push_back({view(of.name),
                     {of.shape, static_cast<size_t>(of.rank)},
                     part(of.value, of),
                     part(of.gradient, of),
                     part(of.first_moment, of),
                     part(of.second_moment, of)});
    }
    return all;
  }
  static llmh_status* start(llmh_method* self, Tuned tensors, uint32_t n) {
    return guard([&] { method(self).start(tuned(tensors, n)); });
  }
  static llmh_status* before_update(llmh_method* self, const llmh_step_info* step, Tuned tensors, uint32_t n,
                                    int32_t* updates) {
    return guard([&] { *updates = method(self).before_update(*step, tuned(tensors, n)) ? 1 : 0; });
  }
  static llmh_status* after_update(llmh_method* self, const llmh_step_info* step, Tuned tensors, uint32_t n) {
    return guard([&] { method(self).after_update(*step, tuned(tensors, n)); });
  }
  static llmh_status* state_bytes(llmh_method* self, uint64_t* out) {
    return guard([&] { *out = method(self).state().size(); });
  }
  static llmh_status* save_state(llmh_method* self, void* out, uint64_t bytes) {
    return guard([&] {
      const std::string state = method(self).state();
      if (state.size() != bytes)
        throw Error(LLMH_OUT_OF_RANGE, "the state has " + std::to_string(state.size()) + " bytes, there is room for " +
                                           std::to_string(bytes));
      std::copy(state.begin(), state.end(), static_cast<char*>(out));
    });
  }
  static llmh_status* load_state(llmh_method* self, const void* state, uint64_t bytes) {
    return guard(
        [&] { method(self).set_state(std::string_view(static_cast<const char*>(state), static_cast<size_t>(bytes))); });
  }
};

}  // namespace llmh

// Exports `Class` as this plugin.
#define LLMH_FINETUNE_PLUGIN(Class)                             \
  static llmh_status* llmh_plugin_init(const llmh_host* host) { \
    ::llmh::set_host(host);                                     \
    return nullptr;                                             \
  }                                                             \
  LLMH_PLUGIN(LLMH_KIND_FINETUNE, &llmh_plugin_init, nullptr, &::llmh::FinetuneTable<Class>::get_extension)
