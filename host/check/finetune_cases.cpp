// The life cycle of a fine-tuning method on its default config.
#include <deque>
#include <map>

#include "check/cases.h"
#include "check/child.h"
#include "core/error.h"
#include "core/yaml.h"
#include "graph/builder.h"
#include "plugin/status.h"

namespace llmhost::check {
namespace {

std::string_view view(llmh_str text) {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}

struct Key {
  int32_t type = 0;
  std::string text;                 // the default, as written
  std::vector<std::string> items;   // of a list; names of a map
  std::vector<std::string> values;  // of a map
  std::string scalar;
  bool is_list = false;
};

// Collects the schema.
struct Schema {
  llmh_schema_sink base{sizeof(llmh_schema_sink), &Schema::add};
  std::map<std::string, Key, std::less<>> keys;

  static llmh_status* add(llmh_schema_sink* sink, const llmh_key_spec* spec) {
    return plugin::guard([&] {
      const std::string name(view(spec->name));
      at("schema, the key " + name);
      if (name.empty()) throw_invalid("a key without a name");
      if (spec->type < LLMH_KEY_BOOL || spec->type > LLMH_KEY_MAP)
        throw_invalid("key '{}': unknown type {}", name, spec->type);
      if (spec->documentation.len == 0) throw_invalid("key '{}' has no documentation", name);
      auto& declared = reinterpret_cast<Schema*>(sink)->keys;
      Key key;
      key.type = spec->type;
      key.text = view(spec->default_value);
      if (!key.text.empty()) {
        const YamlNode node = parse_yaml(key.text, fmt::format("default of '{}'", name), {});
        key.scalar = node.text;
        key.is_list = node.kind == YamlNode::Kind::kList;
        const bool is_map = spec->type == LLMH_KEY_MAP;
        if (!key.is_list && spec->type == LLMH_KEY_STRING_OR_LIST) key.items.push_back(node.text);
        for (const YamlNode& item : is_map ? node.keys : node.items) key.items.push_back(item.text);
        for (const YamlNode& item : node.items) key.values.push_back(item.text);
      }
      if (!declared.emplace(name, std::move(key)).second) throw_invalid("key '{}' is declared twice", name);
    });
  }
};

// The defaults as a config.
struct Defaults {
  llmh_config base{};
  const Schema* schema = nullptr;

  explicit Defaults(const Schema& from) : schema(&from) {
    base = {sizeof(llmh_config), &get_int,  &get_float, &get_string, &get_size,
            &get_list,           &get_kind, &get_value, &is_given};
  }
  static const Key& key(const llmh_config* config, llmh_str name) {
    const auto& keys = reinterpret_cast<const Defaults*>(config)->schema->keys;
    const auto found = keys.find(view(name));
    if (found == keys.end())
      throw_error(ErrorCode::kInternal, "key '{}' is asked for and not declared", view(name));
    return found->second;
  }
  static llmh_status* get_int(const llmh_config* config, llmh_str name, int64_t* out) {
    return plugin::guard([&] {
      const Key& found = key(config, name);
      *out = found.type == LLMH_KEY_BOOL ? (found.scalar == "true" ? 1 : 0) : std::stoll(found.scalar);
    });
  }
  static llmh_status* get_float(const llmh_config* config, llmh_str name, double* out) {
    return plugin::guard([&] { *out = std::stod(key(config, name).scalar); });
  }
  static llmh_status* get_string(const llmh_config* config, llmh_str name, llmh_str* out) {
    return plugin::guard([&] {
      const std::string& text = key(config, name).scalar;
      *out = {text.data(), text.size()};
    });
  }
  static llmh_status* get_size(const llmh_config* config, llmh_str name, uint32_t* out) {
    return plugin::guard([&] { *out = static_cast<uint32_t>(key(config, name).items.size()); });
  }
  static llmh_status* get_list(const llmh_config* config, llmh_str name, uint32_t index, llmh_str* out) {
    return plugin::guard([&] {
      const Key& found = key(config, name);
      if (index >= found.items.size())
        throw_error(ErrorCode::kOutOfRange, "item {} of {}", index, found.items.size());
      *out = {found.items[index].data(), found.items[index].size()};
    });
  }
  static llmh_status* get_kind(const llmh_config* config, llmh_str name, int32_t* out) {
    return plugin::guard([&] { *out = key(config, name).is_list ? LLMH_KEY_STRING_LIST : LLMH_KEY_STRING; });
  }
  static llmh_status* get_value(const llmh_config* config, llmh_str name, uint32_t index, llmh_str* out) {
    return plugin::guard([&] {
      const std::string& text = key(config, name).values.at(index);
      *out = {text.data(), text.size()};
    });
  }
  static llmh_status* is_given(const llmh_config* config, llmh_str name, int32_t* out) {
    return plugin::guard([&] {
      key(config, name);
      *out = 0;
    });
  }
};

// Weights of the small model below.
struct NoWeights final : graph::WeightLookup {
  std::optional<graph::WeightInfo> find(std::string_view) const override { return std::nullopt; }
};

// A model of two layers with the modules that most have, for methods to choose from.
struct SmallModel : llmh_base_model {
  static constexpr int64_t kWidth = 64;
  std::deque<std::string> paths;
  std::deque<llmh_base_module> own_modules;
  std::vector<const llmh_base_module*> pointers;

  SmallModel() : llmh_base_model{} {
    add(LLMH_MODULE_EMBEDDING, "model.embed_tokens", 256, kWidth, 0);
    for (const char* const layer : {"model.layers.0.", "model.layers.1."}) {
      for (const char* const part : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                     "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj"})
        add(LLMH_MODULE_LINEAR, std::string(layer) + part, kWidth, kWidth, LLMH_MODULE_IN_BLOCK);
      add(LLMH_MODULE_LINEAR, std::string(layer) + "mlp.down_proj", kWidth, kWidth, LLMH_MODULE_IN_BLOCK);
      add(LLMH_MODULE_NORM, std::string(layer) + "input_layernorm", kWidth, kWidth, LLMH_MODULE_IN_BLOCK);
    }
    add(LLMH_MODULE_NORM, "model.norm", kWidth, kWidth, 0);
    add(LLMH_MODULE_LINEAR, "lm_head", kWidth, 256, LLMH_MODULE_HEAD);
    for (const llmh_base_module& module : own_modules) pointers.push_back(&module);
    struct_size = sizeof(llmh_base_model);
    n_modules = static_cast<uint32_t>(pointers.size());
    modules = pointers.data();
    name = {"small", 5};
    weight = [](const llmh_base_model* self, uint32_t module, float* out) {
      return plugin::guard([&] {
        const auto count =
            static_cast<size_t>(static_cast<const SmallModel*>(self)->own_modules.at(module).n_weights);
        for (size_t i = 0; i < count; ++i) out[i] = static_cast<float>(i % 7) / 8 - 0.375F;
      });
    };
  }

  void add(int32_t kind, std::string path, int64_t k, int64_t n, uint32_t flags) {
    paths.push_back(std::move(path));
    llmh_base_module module{};
    module.struct_size = sizeof module;
    module.kind = kind;
    module.path = {paths.back().data(), paths.back().size()};
    module.in_features = k;
    module.out_features = n;
    module.flags = flags;
    module.n_weights = static_cast<uint64_t>(kind == LLMH_MODULE_NORM ? n : k * n);
    own_modules.push_back(module);
  }
};

// One chosen module of the small model, rewritten.
void rewrite_module(const llmh_finetune& method, llmh_method* opened, const SmallModel& model,
                    uint32_t index) {
  const llmh_base_module& module = model.own_modules[index];
  const bool is_linear = module.kind == LLMH_MODULE_LINEAR;
  if (!is_linear && module.kind != LLMH_MODULE_EMBEDDING)
    throw_error(ErrorCode::kInternal,
                "select wants '{}' rewritten, which is neither a linear nor an embedding", view(module.path));
  const NoWeights no_weights;
  graph::Graph graph;
  graph::GraphBuilder builder(graph, no_weights, graph::BuilderMode::kRewrite);
  const llmh_dim tokens{1, LLMH_DIM_TOKENS, 0};
  const auto fixed = [](int64_t size) { return llmh_dim{size, LLMH_DIM_CONST, 0}; };
  llmh_linear_info info{};
  info.struct_size = sizeof info;
  info.kind = module.kind;
  info.module = index;
  info.weight_dtype = LLMH_DTYPE_F32;
  info.path = module.path;
  info.in_features = module.in_features;
  info.out_features = module.out_features;
  const graph::Dims table = is_linear ? graph::Dims{fixed(module.out_features), fixed(module.in_features)}
                                      : graph::Dims{fixed(module.in_features), fixed(module.out_features)};
  info.x = is_linear ? graph.add_placeholder({LLMH_DTYPE_F32, {tokens, fixed(module.in_features)}})
                     : graph.add_input(LLMH_INPUT_TOKEN_IDS);
  info.weight = graph.add_placeholder({LLMH_DTYPE_F32, table});
  info.bias = LLMH_NO_TENSOR;
  const std::vector<llmh_tensor> inputs =
      is_linear ? std::vector{info.x, info.weight} : std::vector{info.weight, info.x};
  info.y = graph.add_node(is_linear ? LLMH_OP_LINEAR : LLMH_OP_EMBEDDING, view(module.path), inputs)[0];
  llmh_tensor out = LLMH_NO_TENSOR;
  plugin::check(method.rewrite(opened, builder.table(), &info, &out), "rewrite");
  const graph::TensorType made = graph::type_of(graph.tensor(out));
  if (!graph::same_dims(made.dims, graph::type_of(graph.tensor(info.y)).dims))
    throw_error(ErrorCode::kInternal, "rewrite of '{}' gives {}, another shape than the module's",
                view(module.path), graph::to_text(made.dims));
}

// What follows open; nothing but a note when the method does not take the small model.
std::string apply(const llmh_finetune& method, llmh_method* opened) {
  const SmallModel model;
  std::vector<uint32_t> choices(model.n_modules, 0);
  at("select on a small model");
  if (llmh_status* const status = method.select(opened, &model, choices.data()))
    return fmt::format("not on the small model: {}", plugin::take_error(status).what());
  size_t n_chosen = 0;
  for (uint32_t i = 0; i < model.n_modules; ++i) {
    if (choices[i] == 0) continue;
    ++n_chosen;
    if ((choices[i] & LLMH_TUNE_REWRITE) == 0) continue;
    at(fmt::format("rewrite of '{}'", view(model.own_modules[i].path)));
    rewrite_module(method, opened, model, i);
  }
  return fmt::format("{} of {} modules", n_chosen, model.n_modules);
}

const llmh_finetune& method_of(const Subject& subject) {
  static const auto registry = own_registry(subject);
  return plugin::finetune(registry->require(plugin::Kind::kFinetune, subject.manifest.id));
}

std::string schema_case(const Subject& subject) {
  Schema first;
  Schema second;
  plugin::check(method_of(subject).schema(&first.base), "schema");
  plugin::check(method_of(subject).schema(&second.base), "schema, the second time");
  if (first.keys.size() != second.keys.size())
    throw_error(ErrorCode::kInternal, "schema declares {} keys, then {}", first.keys.size(),
                second.keys.size());
  return fmt::format("{} keys", first.keys.size());
}

std::string defaults_case(const Subject& subject) {
  const llmh_finetune& method = method_of(subject);
  Schema schema;
  plugin::check(method.schema(&schema.base), "schema");
  for (const auto& [name, key] : schema.keys)
    if (key.text.empty()) throw Skipped{fmt::format("the key '{}' is required", name)};
  const Defaults config(schema);
  std::string note;
  for (int round = 0; round < 2; ++round) {
    at("open with the defaults");
    llmh_method* opened = nullptr;
    plugin::check(method.open(&config.base, &opened), "open with the defaults");
    if (opened == nullptr) throw_error(ErrorCode::kInternal, "open reports success and gives no method");
    note = apply(method, opened);
    at("config_json");
    llmh_str json{};
    plugin::check(method.config_json(opened, &json), "config_json");
    at("file_name");
    char name[8];
    uint64_t length = 0;
    const std::string parameter = "model.layers.0.self_attn.q_proj.a_long_name_of_a_parameter";
    llmh_status* status =
        method.file_name(opened, {parameter.data(), parameter.size()}, name, sizeof name, &length);
    if (status == nullptr && length > sizeof name)
      throw_error(ErrorCode::kInternal, "file_name claims {} bytes in a buffer of {}", length, sizeof name);
    if (status != nullptr) plugin::take_error(status);
    at("close");
    method.close(opened);
  }
  return note;
}

}  // namespace

void add_finetune_cases(const Subject& subject, Cases& cases) {
  cases.push_back({"finetune.schema", [&] { return schema_case(subject); }});
  cases.push_back({"finetune.defaults", [&] { return defaults_case(subject); }});
}

}  // namespace llmhost::check
