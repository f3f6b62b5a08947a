// Lists and loads every plugin of a folder: "<kind> <id> <version> ok", or the reason; exit code 1 when one
// fails.
#include <cstdio>
#include <string>

#include "core/error.h"
#include "plugin/registry.h"

using llmhost::plugin::Kind;
using llmhost::plugin::Plugin;

namespace {

void use(Plugin& plugin) {
  switch (plugin.kind()) {
    case Kind::kArch:
      llmhost::plugin::arch(plugin);
      return;
    case Kind::kBackend:
      llmhost::plugin::backend(plugin);
      return;
    case Kind::kFinetune:
      llmhost::plugin::finetune(plugin);
      return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const llmhost::plugin::Registry registry({{argv[1]}, false, false});
  int result = 0;
  for (const auto& candidate : registry.candidates()) {
    std::string outcome = candidate.refusal;
    try {
      if (candidate.plugin != nullptr) use(*candidate.plugin);
    } catch (const llmhost::Error& error) {
      outcome = error.what();
    }
    if (!outcome.empty()) result = 1;
    std::printf("%s %s %s %s\n", std::string(kind_name(candidate.manifest.kind)).c_str(),
                candidate.manifest.id.c_str(), candidate.manifest.version.c_str(),
                outcome.empty() ? "ok" : outcome.c_str());
  }
  return result;
}
