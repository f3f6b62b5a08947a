// A fine-tuning method of a plugin with its settings: opens it, asks it what it trains, applies its rewrites.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/yaml.h"
#include "graph/graph.h"
#include "llmhost/finetune.h"
#include "model/loader.h"
#include "plugin/registry.h"

namespace llmhost::train {

class QuantisedBase;

// One of a method's keys, as it was declared.
struct MethodKey {
  std::string name;
  std::vector<std::string> aliases;
  int32_t type = 0;  // LLMH_KEY_*
  std::string documentation;
  std::string default_value;
  bool is_required = false;
  double minimum = 1, maximum = 0;
  std::vector<std::string> choices;
};

std::vector<MethodKey> method_keys(const llmh_finetune& api);

class Method {
 public:
  // `settings` is the map under the job's `method:` without `name`; positions in it are for errors: an
  // unknown key is refused with file, line and the nearest known one, a wrong value with what is expected.
  // Throws UsageError.
  static std::unique_ptr<Method> open(const plugin::Registry& registry, std::string_view name,
                                      const YamlNode& settings, std::string_view source);
  // The plugin that claims the adapter, opened from its config file, which says what is trained. How the base
  // is held is up to `settings`, the method of a job, where there is one.
  static std::unique_ptr<Method> open_adapter(const plugin::Registry& registry,
                                              const std::filesystem::path& folder,
                                              const Method* settings = nullptr);
  ~Method();
  Method(const Method&) = delete;
  Method& operator=(const Method&) = delete;

  const std::string& name() const;  // of the plugin: "lora"
  const llmh_finetune& api() const;
  llmh_method* get() const;
  const llmh_tuning_steps* steps() const;  // null: it has none

  // What the method asks of the base.
  llmh_base_request base() const;

  // The model's graph with this method's choices: chosen weights are parameters under their names, chosen
  // modules are rewritten, attentions have their ratio. Values of weights that became parameters are to be
  // taken from `from_weights`. May be called again, for another device or size: the result is the same.
  struct Tuned {
    graph::Graph graph;
    struct FromWeight {
      std::string parameter;  // in the graph
      std::string name;       // what the method calls it: another one where a frozen weight has the same name
      std::string weight;     // Hub name of the weight it starts as
    };
    std::vector<FromWeight> from_weights;
  };
  Tuned apply(const model::LoadedModel& model);

  // How the frozen weights of the model are held for the method.
  const QuantisedBase& base_weights(const model::LoadedModel& model);
  // Frozen tensors that belong into the adapter file besides what is trained.
  struct FileTensor {
    std::string name;    // there
    std::string weight;  // Hub name of the base weight that it is a copy of; empty: what follows
    llmh_dtype dtype = LLMH_DTYPE_F32;
    std::vector<int64_t> shape;
    std::span<const std::byte> data;  // the method's
  };
  std::vector<FileTensor> file_tensors(const model::LoadedModel& model) const;
  // Whether the method, with its settings, fits the model: LLMH_FIT_* and the reason. With `n_weights` the
  // model stands for one of the same modules with so many weights.
  std::pair<int32_t, std::string> fit(const model::LoadedModel& model, uint64_t n_weights = 0) const;

  std::string file_name(std::string_view parameter) const;
  std::string config_json() const;  // empty: makes whole models

 private:
  Method();
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace llmhost::train
