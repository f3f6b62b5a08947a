#include "serve/http/router.h"

#include <algorithm>

#include "core/error.h"

namespace llmhost::serve {
namespace {

using Parameters = std::vector<std::pair<std::string, std::string>>;

enum class Part : char { kLiteral = 'a', kParameter = 'b', kRest = 'c' };

Part kind_of(std::string_view segment) {
  if (!segment.starts_with('{')) return Part::kLiteral;
  return segment.ends_with("*}") ? Part::kRest : Part::kParameter;
}

std::string_view name_of(std::string_view segment) {
  return segment.substr(1, segment.size() - (kind_of(segment) == Part::kRest ? 3 : 2));
}

std::vector<std::string> split(std::string_view pattern) {
  std::vector<std::string> segments;
  while (pattern.size() > 1) {
    pattern.remove_prefix(1);
    const size_t end = std::min(pattern.find('/'), pattern.size());
    segments.emplace_back(pattern.substr(0, end));
    pattern.remove_prefix(end);
  }
  return segments;
}

bool is_good(const std::vector<std::string>& segments) {
  for (size_t i = 0; i < segments.size(); ++i) {
    const std::string& segment = segments[i];
    if (segment.empty()) return false;
    if (kind_of(segment) == Part::kLiteral) continue;
    if (!segment.ends_with('}') || name_of(segment).empty()) return false;
    if (kind_of(segment) == Part::kRest && i + 1 != segments.size()) return false;
  }
  return true;
}

bool fits(const std::vector<std::string>& pattern, const std::vector<std::string>& path,
          Parameters& parameters) {
  parameters.clear();
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (i >= path.size()) return false;
    const Part part = kind_of(pattern[i]);
    if (part == Part::kLiteral) {
      if (pattern[i] != path[i]) return false;
      continue;
    }
    std::string value = path[i];
    for (size_t k = i + 1; part == Part::kRest && k < path.size(); ++k) value.append("/").append(path[k]);
    parameters.emplace_back(name_of(pattern[i]), std::move(value));
    if (part == Part::kRest) return true;
  }
  return pattern.size() == path.size();
}

}  // namespace

void Router::add(Route route) {
  auto entry = std::make_unique<Entry>();
  const std::string name = route.method + " " + route.pattern;
  entry->segments = split(route.pattern);
  if (!route.pattern.starts_with('/') || !is_good(entry->segments))
    throw_error(ErrorCode::kInternal, "route {}: the pattern is not of the form /a/{{name}}/b", name);
  if (!route.handler || route.doc.empty() || route.method.empty())
    throw_error(ErrorCode::kInternal, "route {}: it needs a method, a handler and a line of documentation",
                name);
  for (const auto& other : entries_)
    if (other->route.method == route.method && other->route.pattern == route.pattern)
      throw_error(ErrorCode::kInternal, "route {}: it exists already", name);
  for (const std::string& segment : entry->segments) entry->rank += static_cast<char>(kind_of(segment));
  entry->route = std::move(route);
  entries_.push_back(std::move(entry));
}

Router::Match Router::match(std::string_view method, const std::vector<std::string>& segments) const {
  Match result;
  const Entry* best = nullptr;
  Parameters parameters;
  for (const auto& entry : entries_) {
    if (!fits(entry->segments, segments, parameters)) continue;
    const Route& route = entry->route;
    const auto allow = [&](std::string_view name) {
      if (std::find(result.allowed.begin(), result.allowed.end(), name) == result.allowed.end())
        result.allowed.emplace_back(name);
    };
    allow(route.method);
    if (route.method == "GET") allow("HEAD");
    const bool answers = route.method == method || (method == "HEAD" && route.method == "GET");
    if (!answers || (best != nullptr && best->rank <= entry->rank)) continue;
    best = entry.get();
    result.route = &route;
    result.parameters = parameters;
  }
  return result;
}

std::vector<const Route*> Router::routes() const {
  std::vector<const Route*> result;
  for (const auto& entry : entries_) result.push_back(&entry->route);
  return result;
}

}  // namespace llmhost::serve
