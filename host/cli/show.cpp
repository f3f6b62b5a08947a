// llmhost show: what a model is, before anything of it is loaded into a backend.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <map>
#include <set>

#include "cli/command.h"
#include "cli/support.h"
#include "core/error.h"
#include "core/progress.h"
#include "model/gguf.h"
#include "model/loader.h"
#include "text/chat_template_source.h"
#include "text/tokenizer.h"

namespace llmhost::cli {
namespace {

struct TypeCount {
  int64_t tensors = 0;
  int64_t elements = 0;
  uint64_t bytes = 0;
};

OrderedJson types_of(const model::Checkpoint& checkpoint) {
  std::map<std::string, TypeCount> types;
  for (const model::CheckpointTensor& tensor : checkpoint.tensors()) {
    TypeCount& count = types[tensor.stored_type];
    count.tensors += 1;
    count.elements += tensor.element_count();
    count.bytes += tensor.stored_bytes();
  }
  OrderedJson rows = OrderedJson::object();
  for (const auto& [type, count] : types)
    rows[type] = {{"tensors", count.tensors}, {"parameters", count.elements}, {"bytes", count.bytes}};
  return rows;
}

// With its weights put together; as stored where that is refused, which loading the model reports.
model::Checkpoint open_joined(const std::string& path) {
  model::Checkpoint checkpoint = model::Checkpoint::open(path);
  try {
    checkpoint.join_quantised();
  } catch (const Error&) {
  }
  return checkpoint;
}

// Provenance and licence, as the GGUF metadata gives it.
OrderedJson licence_of(const model::Checkpoint& checkpoint) {
  OrderedJson keys = OrderedJson::object();
  if (checkpoint.gguf() == nullptr) return keys;
  for (const model::GgufValue& value : checkpoint.gguf()->metadata()) {
    const bool is_about = value.key().starts_with("general.") && value.type() == model::GgufType::kString;
    if (is_about) keys[std::string(value.key())] = value.as_string();
  }
  return keys;
}

OrderedJson architecture_of(const model::LoadedModel& loaded) {
  const llmh_model_info& info = loaded.info();
  std::set<int32_t> windows;
  for (const llmh_state_spec& spec : loaded.states()) windows.insert(spec.window);
  return {{"plugin", loaded.arch_id()},
          {"model_type", loaded.checkpoint().config().value("model_type", "")},
          {"inferred", loaded.is_inferred()},
          {"layers", info.n_layers},
          {"hidden_size", info.hidden_size},
          {"heads", info.n_heads},
          {"kv_heads", info.n_kv_heads},
          {"head_dim", info.head_dim},
          {"vocab_size", info.vocab_size},
          {"context_length", info.context_length},
          {"tied_embeddings", info.tied_embeddings != 0},
          {"attention_windows", windows}};
}

OrderedJson tokenizer_of(const std::filesystem::path& path) {
  try {
    const auto tokenizer = text::load_tokenizer(path);
    const text::SpecialIds& ids = tokenizer->special_ids();
    OrderedJson row{{"vocab_size", tokenizer->vocab_size()},
                    {"adds_bos", tokenizer->adds_bos()},
                    {"adds_eos", tokenizer->adds_eos()},
                    {"stop_ids", ids.stop}};
    if (ids.bos) row["bos"] = {{"id", *ids.bos}, {"piece", tokenizer->piece_of(*ids.bos)}};
    if (ids.eos) row["eos"] = {{"id", *ids.eos}, {"piece", tokenizer->piece_of(*ids.eos)}};
    return row;
  } catch (const Error& e) {
    return {{"error", e.what()}};
  }
}

class ShowCommand final : public Command {
 public:
  std::string name() const override { return "show"; }
  std::string summary() const override {
    return "Describe a model: architecture, sizes, tensors, tokenizer, template";
  }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.flag("--tensors", tensors_, "List every tensor");
    options.setting("--arch", "model.arch");
    options.setting_flag("--best-effort", "model.best_effort");
  }

  int run(Context& context) override {
    const OrderedJson description = describe(context.settings);
    if (context.json)
      print_json(description);
    else
      print_text(description, 0);
    flush_stdout();
    return 0;
  }

 private:
  OrderedJson describe(const Settings& settings) const {
    const model::Checkpoint checkpoint = open_joined(model_);
    OrderedJson out;
    out["path"] = model_;
    out["format"] = checkpoint.format() == model::CheckpointFormat::kGguf ? "gguf" : "safetensors";
    out["files"] = checkpoint.files().size();
    out["file_bytes"] = checkpoint.file_bytes();
    int64_t parameters = 0;
    for (const model::CheckpointTensor& tensor : checkpoint.tensors()) parameters += tensor.element_count();
    out["parameters"] = parameters;
    out["types"] = types_of(checkpoint);
    try {
      const auto loaded = model::load_model(model_, *open_registry(settings), load_options(settings));
      out["architecture"] = architecture_of(*loaded);
      if (!loaded->recipe().empty()) out["recipe"] = recipe_json(*loaded);
      out["warnings"] = loaded->warnings();
    } catch (const Error& e) {
      out["architecture"] = {{"error", e.what()}};
    }
    out["tokenizer"] = tokenizer_of(model_);
    const auto source = text::find_chat_template(checkpoint);
    out["chat_template"] = source ? OrderedJson(source->text) : OrderedJson();
    out["about"] = licence_of(checkpoint);
    if (tensors_) out["tensors"] = list_tensors(checkpoint);
    return out;
  }

  static OrderedJson list_tensors(const model::Checkpoint& checkpoint) {
    OrderedJson rows = OrderedJson::array();
    for (const model::CheckpointTensor& tensor : checkpoint.tensors())
      rows.push_back({{"name", tensor.name},
                      {"type", tensor.stored_type},
                      {"shape", tensor.shape},
                      {"bytes", tensor.stored_bytes()}});
    return rows;
  }

  static void print_recipe(const OrderedJson& rows) {
    fmt::print("  {:<32} {:<32} {:>5}  {}\n", "what", "value", "sure", "source");
    for (const OrderedJson& row : rows)
      fmt::print("  {:<32} {:<32} {:>3} %  {}\n", row["what"].get<std::string>(),
                 row["value"].get<std::string>(), row["certainty"].get<int>(),
                 row["source"].get<std::string>());
  }

  static void print_text(const OrderedJson& value, int indent) {
    for (const auto& [key, child] : value.items()) {
      if (child.is_object()) {
        fmt::print("{:{}}{}:\n", "", indent, key);
        print_text(child, indent + 2);
      } else if (key == "tensors" && child.is_array()) {
        fmt::print("{:{}}tensors:\n", "", indent);
        for (const OrderedJson& row : child)
          fmt::print("  {:<60} {:<8} {}\n", row["name"].get<std::string>(), row["type"].get<std::string>(),
                     row["shape"].dump());
      } else if (key == "recipe" && child.is_array()) {
        fmt::print("{:{}}recipe:\n", "", indent);
        print_recipe(child);
      } else if (key == "warnings" && child.empty()) {
        continue;
      } else if (child.is_string()) {
        fmt::print("{:{}}{:<16} {}\n", "", indent, key, child.get<std::string>());
      } else {
        fmt::print("{:{}}{:<16} {}\n", "", indent, key, child.dump());
      }
    }
  }

  std::string model_;
  bool tensors_ = false;
};

}  // namespace

std::unique_ptr<Command> make_show_command() {
  return std::make_unique<ShowCommand>();
}

}  // namespace llmhost::cli
