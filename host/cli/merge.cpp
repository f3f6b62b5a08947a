// llmhost merge: a model with adapters worked into its weights, in the format it has.
#include <fmt/core.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/support.h"
#include "core/error.h"
#include "core/new_folder.h"
#include "core/progress.h"
#include "core/thread_pool.h"
#include "engine/adapter_reader.h"
#include "engine/merged_weights.h"
#include "graph/adapter_sites.h"
#include "model/new_weights.h"
#include "model/written_type.h"

namespace llmhost::cli {
namespace {

constexpr uint64_t kMaxAdapterBytes = uint64_t{64} << 30;

std::vector<std::string> split_list(const std::vector<std::string>& given) {
  std::vector<std::string> parts;
  for (const std::string& text : given)
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      if (end > begin) parts.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  return parts;
}

class MergeCommand final : public Command {
 public:
  std::string name() const override { return "merge"; }
  std::string summary() const override { return "Work adapters into a model's weights"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.list("--adapter", adapters_, "Adapter folder; several with commas or by repeating the option");
    options.value("--out", out_, "Folder of the merged model, which must not be there yet");
    options.value(
        "--dtype", dtype_,
        "Element type of the weights: f32, f16 or bf16, in GGUF files any that is written (default: "
        "as they are stored)");
    options.setting("--receipt", "model.receipt");
    options.setting("--threads", "engine.threads");
    options.setting("--arch", "model.arch");
    options.setting_flag("--best-effort", "model.best_effort");
  }

  int run(Context& context) override {
    const std::vector<std::string> adapters = split_list(adapters_);
    if (adapters.empty() || out_.empty())
      throw UsageError("merge: --adapter FOLDER and --out FOLDER are needed");
    const auto registry = open_registry(context.settings);
    const auto model = model::load_model(model_, *registry, load_options(context.settings));
    ThreadPool threads(static_cast<int32_t>(context.settings.get_int("engine.threads")));
    model::WriteModelOptions options;
    options.dtype = wanted_dtype(*model);
    options.threads = &threads;

    std::vector<graph::AdapterSite> sites;
    static_cast<void>(graph::with_adapter_sites(
        model->graph(), [](const graph::AdapterSite&) { return true; }, sites));
    const engine::MergedWeights merged(*model, sites,
                                       read(adapters, *model, sites, *registry, context.settings), &threads);
    NewFolder folder(out_);
    write(*model, *registry, merged, folder.at(), options);
    // What cannot be read again is not put in place.
    static_cast<void>(model::load_model(folder.at(), *registry, load_options(context.settings)));
    folder.commit();
    if (context.json)
      print_json({{"out", out_}, {"adapters", adapters}, {"changed", merged.size()}});
    else
      fmt::print("{}: {} tensors changed by {} adapter{}\n", out_, merged.size(), adapters.size(),
                 adapters.size() == 1 ? "" : "s");
    return 0;
  }

 private:
  llmh_dtype wanted_dtype(const model::LoadedModel& model) const {
    if (dtype_.empty()) return LLMH_DTYPE_INVALID;
    return model::parse_written_type(dtype_, model.checkpoint().format());
  }

  static std::vector<engine::MergedWeights::Part> read(const std::vector<std::string>& adapters,
                                                       const model::LoadedModel& model,
                                                       const std::vector<graph::AdapterSite>& sites,
                                                       const plugin::Registry& registry,
                                                       const Settings& settings) {
    const engine::AdapterReader reader(std::make_shared<const engine::BaseModel>(model, sites), registry,
                                       kMaxAdapterBytes, settings.get_string("model.receipt") != "ignore");
    std::vector<engine::MergedWeights::Part> parts;
    for (const std::string& adapter : adapters)
      parts.push_back({adapter, reader.read(engine::AdapterFolder(adapter), adapter)});
    return parts;
  }

  static void write(const model::LoadedModel& model, const plugin::Registry& registry,
                    const model::NewWeights& weights, const std::filesystem::path& folder,
                    model::WriteModelOptions& options) {
    const bool is_gguf = model.checkpoint().format() == model::CheckpointFormat::kGguf;
    model::NameMap names;
    model::read_names(model, registry, is_gguf ? LLMH_FORMAT_GGUF : LLMH_FORMAT_HUB, names);
    Progress progress("writing", model::bytes_to_write(model), ProgressUnit::kBytes);
    options.progress = [&](uint64_t bytes) { progress.advance(bytes); };
    model::write_model(model, names, weights, folder, options);
    options.progress = nullptr;
  }

  std::string model_, out_, dtype_;
  std::vector<std::string> adapters_;
};

}  // namespace

std::unique_ptr<Command> make_merge_command() {
  return std::make_unique<MergeCommand>();
}

}  // namespace llmhost::cli
