#include "serve/http/exchange.h"

#include <algorithm>

namespace llmhost::serve {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string_view first_of(const Pairs& pairs, std::string_view name) {
  const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const auto& p) { return p.first == name; });
  return found == pairs.end() ? std::string_view() : std::string_view(found->second);
}

}  // namespace

std::string_view to_text(Scope scope) {
  switch (scope) {
    case Scope::kPublic:
      return "public";
    case Scope::kInfer:
      return "infer";
    case Scope::kAdapters:
      return "adapters";
    case Scope::kAdmin:
      return "admin";
  }
  return "admin";
}

bool Caller::may(Scope scope) const {
  return scope == Scope::kPublic || std::find(scopes.begin(), scopes.end(), scope) != scopes.end();
}

bool Caller::may_use(std::string_view model) const {
  return models.empty() || std::find(models.begin(), models.end(), model) != models.end();
}

std::string_view HttpRequest::header(std::string_view lower_case_name) const {
  return first_of(headers, lower_case_name);
}

std::string_view HttpRequest::query_value(std::string_view name) const {
  return first_of(query, name);
}

std::string_view HttpRequest::parameter(std::string_view name) const {
  return first_of(parameters, name);
}

}  // namespace llmhost::serve
