// mutation_tool OUT.json [CASE...]: drops every feature of the graphs of golden cases, one at a time, and
// says which of them no case notices. A feature of a plugin counts as noticed when one of the plugin's cases
// notices it. Without cases: all of tests/data/goldens. A case is a name in that folder or a folder of its
// own.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <map>

#include "core/error.h"
#include "core/json.h"
#include "core/registry_files.h"
#include "engine/settings.h"
#include "mutation/features.h"
#include "mutation/trial.h"

namespace llmhost::mutation {
namespace {

struct Fate {
  bool killed = false;
  double difference = 0;   // the largest that any case has shown, as a part of its tolerance
  std::string seen_by;     // the case that killed it, else the one with the largest difference
  std::string impossible;  // why the rest does not fit together, in every case
};

struct Score {
  std::map<std::string, Fate> features;
  std::vector<std::string> cases;
};

// The description that has the name among its GGUF architectures; else the name itself.
std::string description_of(const std::string& model_type) {
  for (const RegistryFile& file : registry_files()) {
    constexpr std::string_view kKey = "\ngguf_architectures: [";
    const size_t at = file.subject == "archs" ? file.text.find(kKey) : std::string_view::npos;
    if (at == std::string_view::npos) continue;
    const std::string_view names =
        file.text.substr(at + kKey.size(), file.text.find(']', at) - at - kKey.size());
    if (names == model_type) return std::string(file.name);
  }
  return model_type;
}

// The architecture, and for described ones the description.
std::string plugin_of(const model::LoadedModel& model) {
  if (model.arch_id() != "declarative") return model.arch_id();
  return model.arch_id() + "/" + description_of(model.checkpoint().config().value("model_type", ""));
}

void try_feature(const Trial& trial, const Feature& feature, Fate& fate, bool is_new) {
  try {
    const Trial::Outcome outcome = trial.run(without(trial.model().graph(), feature));
    if (is_new || outcome.killed || !fate.impossible.empty() || outcome.difference > fate.difference)
      fate = {outcome.killed, outcome.difference, trial.golden().name, ""};
  } catch (const Error& error) {
    if (is_new) fate = {false, 0, trial.golden().name, error.what()};
  }
}

void run_case(const std::string& name, const plugin::Registry& registry, const engine::Device& device,
              std::map<std::string, Score>& scores) {
  const auto start = std::chrono::steady_clock::now();
  const Trial trial(name, registry, device);
  if (!(trial.error() <= 1))
    throw_invalid("{}: the unchanged model is off by {} tolerances", name, trial.error());
  Score& score = scores[plugin_of(trial.model())];
  score.cases.push_back(std::filesystem::path(name).filename().string());
  int runs = 0;
  for (const Feature& feature : features_of(trial.model().graph())) {
    const auto [entry, is_new] = score.features.try_emplace(feature.id);
    if (entry->second.killed) continue;
    try_feature(trial, feature, entry->second, is_new);
    ++runs;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cerr << name << ": " << runs << " changes in " << seconds.count() << " s\n";
}

Json to_json(const std::map<std::string, Score>& scores) {
  Json plugins = Json::object();
  for (const auto& [plugin, score] : scores) {
    Json survivors = Json::array();
    Json impossible = Json::array();
    size_t killed = 0;
    for (const auto& [id, fate] : score.features) {
      if (fate.killed)
        ++killed;
      else if (!fate.impossible.empty())
        impossible.push_back({{"feature", id}, {"why", fate.impossible}});
      else
        survivors.push_back({{"feature", id}, {"difference", fate.difference}, {"case", fate.seen_by}});
    }
    plugins[plugin] = {{"cases", score.cases},
                       {"features", score.features.size() - impossible.size()},
                       {"killed", killed},
                       {"survivors", survivors},
                       {"impossible", impossible}};
  }
  return plugins;
}

// Plain checkpoints first: what they notice is not tried again on the same model in another format.
std::vector<std::string> all_cases() {
  auto names = test::golden_case_names();
  std::ranges::stable_partition(
      names, [](const std::string& name) { return name.find("gguf") == std::string::npos; });
  return names;
}

int run(const std::string& out, std::vector<std::string> cases) {
  plugin::RegistryOptions options;
  options.plugin_path = {std::string(LLMHOST_BINARY_DIR) + "/lib/llmhost/plugins"};
  options.use_default_path = false;
  options.allow_insecure = true;  // a build folder may be group-writable
  const plugin::Registry registry(options);
  Settings settings(engine::settings_schema());
  settings.set("engine.threads", "1");
  settings.set("backend.name", "cpu");
  engine::HostDevice host(registry, settings, engine::RunUse::kLogits);
  if (cases.empty()) cases = all_cases();
  std::map<std::string, Score> scores;
  int failed = 0;
  for (const std::string& name : cases) {
    try {
      run_case(name, registry, host.device(), scores);
    } catch (const std::exception& error) {
      std::cerr << "failed: " << name << ": " << error.what() << "\n";
      ++failed;
    }
  }
  std::ofstream(out) << to_json(scores).dump(1) << "\n";
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace llmhost::mutation

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: mutation_tool OUT.json [CASE...]\n";
    return 2;
  }
  return llmhost::mutation::run(argv[1], std::vector<std::string>(argv + 2, argv + argc));
}
