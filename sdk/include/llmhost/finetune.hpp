// Comfort over finetune.h: write a fine-tuning method as one class, export it with one macro. Header-only.
//
//   class MyMethod : public llmh::Method {
//    public:
//     static void schema(llmh::Schema& schema);              // declares the YAML keys
//     explicit MyMethod(const llmh::Settings& settings);     // reads and checks them; throws llmh::Error
//     bool selects(const llmh::Linear& linear) override;
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
//   bool MyMethod::selects(const llmh::Linear& linear) { return llmh::is_target(linear.path, targets_); }
//   llmh::Tensor MyMethod::rewrite(llmh::Graph& graph, const llmh::Linear& linear) {
//     return linear.y * graph.parameter(linear.path + ".scale", {linear.out_features}, LLMH_INIT_ONES);
//   }
//
// The host calls schema() before there is an object, makes one object for each job from the job's settings, asks
// selects() about linears and rewrite() for those that were selected, and ends with close, where the macro's table
// deletes the object: the plugin itself never frees it. All of it [control], one call at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llmhost/finetune.h"
#include "llmhost/graph.hpp"
#include "llmhost/plugin.hpp"

namespace llmh {

// Declares config keys. An empty default makes a key required; `documentation` is one line with the unit. Texts
// are copied. Valid during schema() only.
class Schema {
 public:
  explicit Schema(llmh_schema_sink* sink) : sink_(sink) {}

  // `default_value`: "true" or "false".
  void add_bool(std::string_view name, std::string_view default_value, std::string_view documentation) {
    add(key(LLMH_KEY_BOOL, name, default_value, documentation));
  }
  // A whole number from `minimum` to `maximum`, both included.
  void add_int(std::string_view name, std::string_view default_value, std::string_view documentation, int64_t minimum,
               int64_t maximum) {
    llmh_key_spec spec = key(LLMH_KEY_INT, name, default_value, documentation);
    spec.minimum = static_cast<double>(minimum);
    spec.maximum = static_cast<double>(maximum);
    add(spec);
  }
  // A finite number from `minimum` to `maximum`, both included; without them any.
  void add_float(std::string_view name, std::string_view default_value, std::string_view documentation,
                 double minimum = std::numeric_limits<double>::lowest(),
                 double maximum = std::numeric_limits<double>::max()) {
    llmh_key_spec spec = key(LLMH_KEY_FLOAT, name, default_value, documentation);
    spec.minimum = minimum;
    spec.maximum = maximum;
    add(spec);
  }
  // `choices`: "a|b|c", or empty for any text.
  void add_string(std::string_view name, std::string_view default_value, std::string_view documentation,
                  std::string_view choices = {}) {
    llmh_key_spec spec = key(LLMH_KEY_STRING, name, default_value, documentation);
    spec.choices = str(choices);
    add(spec);
  }
  // `default_value` as in YAML: "[q_proj, v_proj]".
  void add_list(std::string_view name, std::string_view default_value, std::string_view documentation) {
    add(key(LLMH_KEY_STRING_LIST, name, default_value, documentation));
  }

 private:
  // The parts that every key has.
  static llmh_key_spec key(int32_t type, std::string_view name, std::string_view default_value,
                           std::string_view documentation) {
    llmh_key_spec spec{};
    spec.struct_size = sizeof spec;
    spec.type = type;
    spec.name = str(name);
    spec.documentation = str(documentation);
    spec.default_value = str(default_value);
    spec.minimum = 1;  // above the maximum: no range
    spec.maximum = 0;
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
  // In the order of the config; may be empty.
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

 private:
  const llmh_config* config_;
};

// A linear node that may be rewritten. Tensors are absent while a method only selects; in rewrite() they belong to the
// graph that is passed with them and mean nothing in another.
struct Linear {
  std::string path;                              // Hub module path: "model.layers.3.self_attn.q_proj"
  int64_t in_features = 0;                       // K
  int64_t out_features = 0;                      // N
  llmh_dtype weight_dtype = LLMH_DTYPE_INVALID;  // of the base weight as stored; may be quantised
  Tensor x;                                      // [..., in_features]
  Tensor weight;                                 // [out_features, in_features]
  Tensor bias;                                   // [out_features] or absent
  Tensor y;                                      // [..., out_features]: what the untouched linear gives
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

// What a method does; see llmh_finetune. Functions may throw llmh::Error, which refuses the job with its message; every
// other exception is reported as an internal error. Made by open() from the settings, deleted by close(). [control]
class Method {
 public:
  Method() = default;
  Method(const Method&) = delete;
  Method& operator=(const Method&) = delete;
  virtual ~Method() = default;

  // Whether this linear is to be rewritten, by its path (is_target), sizes or type. There is no graph yet.
  virtual bool selects(const Linear& linear) = 0;
  // Returns the replacement of linear.y, of the same shape [..., out_features]. New tensors are made with
  // graph.parameter() and named "<path>.<something>". The untouched linear (linear.y) may be part of the result:
  // y + something is what most methods return.
  virtual Tensor rewrite(Graph& graph, const Linear& linear) = 0;
  // The tensor's name in the adapter file, for a name that was given to parameter(); by default the one that PEFT
  // gives it. Different for different parameters.
  virtual std::string file_name(std::string_view parameter) {
    return std::string("base_model.model.").append(parameter);
  }
  // The adapter's config file: one JSON object with what another program needs to apply the adapter.
  virtual std::string config_json() = 0;

  // A method whose adapters can be served has, besides, two static functions, which any thread may call
  // (LLMH_SERVING_DELTA_EXTENSION; see llmh_serving_delta):
  //   static bool claims(std::string_view config_json);
  //   static void read(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink);
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
    return nullptr;
  }

 private:
  static constexpr bool kIsServed =
      requires(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink) {
    M::read(source, model, sink);
    M::claims(std::string_view());
  };

  // What llmh_method stands for: made by open(), deleted by close().
  struct Held {
    explicit Held(const Settings& settings) : method(settings) {}
    M method;
    std::string json;  // what config_json() gave last; the host may read it until close
  };

  static Held& held(llmh_method* self) { return *reinterpret_cast<Held*>(self); }

  static llmh_finetune make() {
    llmh_finetune table{};
    table.struct_size = sizeof table;
    table.schema = &schema;
    table.open = &open;
    table.close = &close;
    table.selects = &selects;
    table.rewrite = &rewrite;
    table.file_name = &file_name;
    table.config_json = &config_json;
    return table;
  }

  // `graph` null: a linear to select, without tensors.
  static Linear linear_of(const llmh_linear_info& info, Graph* graph) {
    Linear linear;
    linear.path = view(info.path);
    linear.in_features = info.in_features;
    linear.out_features = info.out_features;
    linear.weight_dtype = info.weight_dtype;
    if (graph == nullptr) return linear;
    linear.x = Tensor(graph, info.x);
    linear.weight = Tensor(graph, info.weight);
    linear.bias = Tensor(graph, info.bias);
    linear.y = Tensor(graph, info.y);
    return linear;
  }

  static llmh_status* schema(llmh_schema_sink* sink) {
    return guard([&] {
      Schema declared(sink);
      M::schema(declared);
    });
  }
  static llmh_status* open(const llmh_config* config, llmh_method** out) {
    return guard([&] { *out = reinterpret_cast<llmh_method*>(new Held(Settings(config))); });
  }
  static void close(llmh_method* self) { delete &held(self); }
  static llmh_status* selects(llmh_method* self, const llmh_linear_info* info, int32_t* out) {
    return guard([&] { *out = held(self).method.selects(linear_of(*info, nullptr)) ? 1 : 0; });
  }
  static llmh_status* rewrite(llmh_method* self, llmh_builder* builder, const llmh_linear_info* info,
                              llmh_tensor* out) {
    return guard([&] {
      Graph graph(builder);
      *out = held(self).method.rewrite(graph, linear_of(*info, &graph)).id();
    });
  }
  static llmh_status* file_name(llmh_method* self, llmh_str parameter, char* name, uint64_t capacity,
                                uint64_t* length) {
    return guard([&] {
      const std::string text = held(self).method.file_name(view(parameter));
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
      held(self).json = held(self).method.config_json();
      *out = str(held(self).json);
    });
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
