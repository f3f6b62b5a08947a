#include "core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <string>

#include "core/error.h"

namespace llmhost {

void init_logging(std::string_view level) {
  const auto parsed = spdlog::level::from_str(std::string(level));
  if (parsed == spdlog::level::off && level != "off")
    throw UsageError(
        fmt::format("unknown log level '{}': use trace, debug, info, warn, error or off", level));
  auto logger = spdlog::stderr_color_mt("llmhost");
  logger->set_pattern("%^%l%$: %v");
  spdlog::set_default_logger(std::move(logger));
  spdlog::set_level(parsed);
}

}  // namespace llmhost
