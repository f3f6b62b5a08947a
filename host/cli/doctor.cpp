// llmhost doctor: what a bug report needs to know about this machine and this installation; no secrets.
#include <fmt/core.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>

#include "cli/command.h"
#include "cli/support.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/progress.h"
#include "core/thread_pool.h"
#include "engine/model_stack.h"
#include "llmhost/version.h"

namespace llmhost::cli {
namespace {

// The value of the first "name : value" line of /proc/cpuinfo.
std::string cpu_info(const std::string& name) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name)) return line.substr(std::min(line.find(": ") + 2, line.size()));
  return "unknown";
}

OrderedJson machine() {
  utsname name{};
  uname(&name);
  const auto pages = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES));
  const auto free_pages = static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES));
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  OrderedJson isa = OrderedJson::array();
  const std::string flags = " " + cpu_info("flags") + " ";
  for (const char* flag : {"avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile"})
    if (flags.find(" " + std::string(flag) + " ") != std::string::npos) isa.push_back(flag);
  return {{"system", fmt::format("{} {} {}", name.sysname, name.release, name.machine)},
          {"cpu", cpu_info("model name")},
          {"isa", isa},
          {"cores", available_cores()},
          {"memory", format_bytes(pages * page)},
          {"memory_free", format_bytes(free_pages * page)}};
}

OrderedJson plugin_rows(const plugin::Registry& registry) {
  OrderedJson rows = OrderedJson::array();
  for (const plugin::Candidate& candidate : registry.candidates()) {
    OrderedJson row{{"path", candidate.path.string()}};
    if (candidate.has_manifest)
      row["id"] = fmt::format("{} {} {}", plugin::kind_name(candidate.manifest.kind), candidate.manifest.id,
                              candidate.manifest.version);
    row["state"] = candidate.refusal.empty() ? "usable" : "refused: " + candidate.refusal;
    rows.push_back(row);
  }
  return rows;
}

OrderedJson changed_settings(const Settings& settings) {
  OrderedJson rows = OrderedJson::object();
  for (const ConfigKey& key : settings.schema().keys())
    if (!settings.is_default(key.path)) {
      const Setting& setting = settings.at(key.path);
      rows[key.path] = {{"value", to_string(setting.value)}, {"from", setting.where}};
    }
  return rows;
}

class DoctorCommand final : public Command {
 public:
  std::string name() const override { return "doctor"; }
  std::string summary() const override { return "Check the installation and print what a bug report needs"; }
  void declare(Options&) override {}

  int run(Context& context) override {
    OrderedJson report;
    report["version"] = LLMHOST_VERSION;
    report["abi"] =
        fmt::format("{}.{}{}", LLMH_SDK_MAJOR, LLMH_SDK_MINOR, LLMH_SDK_UNSTABLE != 0 ? " (unstable)" : "");
    report["machine"] = machine();
    const auto registry = open_registry(context.settings);
    report["plugins"] = plugin_rows(*registry);
    report["cache"] = cache_dir().string();
    report["settings"] = changed_settings(context.settings);
    const bool healthy = try_backend(context.settings, *registry, report);
    report["verdict"] = healthy ? "ok" : "the configured backend does not start";
    if (context.json)
      print_json(report);
    else
      print_report(report);
    flush_stdout();
    return healthy ? 0 : 1;
  }

 private:
  static bool try_backend(const Settings& settings, const plugin::Registry& registry, OrderedJson& report) {
    try {
      engine::HostDevice host(registry, settings, engine::RunUse::kGeneration);
      report["backend"] = {{"id", host.device().plugin_id()},
                           {"device", host.device().name()},
                           {"threads", host.threads().n_threads()}};
      return true;
    } catch (const Error& e) {
      report["backend"] = {{"error", e.what()}};
      return false;
    }
  }

  static void print_report(const OrderedJson& report) {
    for (const auto& [key, value] : report.items()) {
      if (!value.is_structured()) {
        fmt::print("{:<10} {}\n", key, value.get<std::string>());
        continue;
      }
      fmt::print("{}\n", key);
      for (const auto& [name, child] : value.items())
        fmt::print("  {:<12} {}\n", name, child.is_string() ? child.get<std::string>() : child.dump());
    }
  }
};

}  // namespace

std::unique_ptr<Command> make_doctor_command() {
  return std::make_unique<DoctorCommand>();
}

}  // namespace llmhost::cli
