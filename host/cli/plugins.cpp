// llmhost plugins: every plugin found on the search path, and why one was refused.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "cli/support.h"
#include "llmhost/version.h"

namespace llmhost::cli {
namespace {

std::string abi_of(const plugin::Manifest& manifest) {
  return fmt::format("{}.{}", manifest.sdk_major, manifest.sdk_minor);
}

OrderedJson to_json(const plugin::Candidate& candidate) {
  OrderedJson row{
      {"path", candidate.path.string()}, {"origin", candidate.origin}, {"usable", candidate.refusal.empty()}};
  if (candidate.has_manifest) {
    const plugin::Manifest& m = candidate.manifest;
    row["kind"] = plugin::kind_name(m.kind);
    row["id"] = m.id;
    row["version"] = m.version;
    row["abi"] = abi_of(m);
    row["provides"] = m.provides;
    row["description"] = m.description;
    if (!m.variants.empty()) row["variants"] = m.variants;
    if (!m.adapter_targets.empty()) row["adapter_targets"] = m.adapter_targets;
  }
  if (!candidate.refusal.empty()) row["refusal"] = candidate.refusal;
  return row;
}

class PluginsCommand final : public Command {
 public:
  std::string name() const override { return "plugins"; }
  std::string summary() const override { return "List plugins and why any was refused"; }

  void declare(Options& options) override {
    options.flag("--load", load_, "Also load each plugin, to see whether it starts");
  }

  int run(Context& context) override {
    const auto registry = open_registry(context.settings);
    OrderedJson rows = OrderedJson::array();
    for (const plugin::Candidate& candidate : registry->candidates()) {
      OrderedJson row = to_json(candidate);
      if (load_ && candidate.plugin != nullptr) try_load(*candidate.plugin, row);
      if (context.json) {
        rows.push_back(std::move(row));
      } else {
        print_row(row);
      }
    }
    if (context.json)
      print_json({{"host_abi", fmt::format("{}.{}", LLMH_SDK_MAJOR, LLMH_SDK_MINOR)},
                  {"abi_unstable", LLMH_SDK_UNSTABLE != 0},
                  {"plugins", rows}});
    else if (registry->candidates().empty())
      fmt::print("no plugins found; name a folder with --plugin-path\n");
    flush_stdout();
    return 0;
  }

 private:
  static void try_load(plugin::Plugin& plugin, OrderedJson& row) {
    try {
      plugin.load();
      row["loaded"] = true;
    } catch (const std::exception& e) {
      row["usable"] = false;
      row["refusal"] = e.what();
    }
  }

  static void print_row(const OrderedJson& row) {
    if (row.contains("id"))
      fmt::print("{:<9} {:<14} {:<8} abi {:<5} {}\n", row["kind"].get<std::string>(),
                 row["id"].get<std::string>(), row["version"].get<std::string>(),
                 row["abi"].get<std::string>(),
                 fmt::join(row["provides"].get<std::vector<std::string>>(), " "));
    fmt::print("          {} ({})\n", row["path"].get<std::string>(), row["origin"].get<std::string>());
    if (row.contains("refusal")) fmt::print("          refused: {}\n", row["refusal"].get<std::string>());
  }

  bool load_ = false;
};

}  // namespace

std::unique_ptr<Command> make_plugins_command() {
  return std::make_unique<PluginsCommand>();
}

}  // namespace llmhost::cli
