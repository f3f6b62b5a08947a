#include "serve/http/gate.h"

#include <fmt/format.h>

#include <random>

#include "serve/http/target.h"

namespace llmhost::serve {
namespace {

constexpr int kDrainRetrySeconds = 5;

bool is_reading(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS";
}

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, ", "));
}

HttpError unauthorised() {
  return {401, "invalid_api_key", "a valid API key is needed: send it once, as 'Authorization: Bearer KEY'"};
}

void refuse(Admission& admission, const HttpError& error) {
  admission.route = nullptr;
  if (error.status == 204) {
    admission.refusal = {204, {}, {}, {}};
    return;
  }
  admission.refusal = to_response(error, admission.request.id);
  if (error.status == 401) admission.refusal.headers.emplace_back("WWW-Authenticate", "Bearer");
}

}  // namespace

Gate::Gate(std::shared_ptr<const Router> router, std::shared_ptr<Access> access, OriginPolicy policy)
    : router_(std::move(router)), access_(std::move(access)), policy_(std::move(policy)) {}

Admission Gate::admit(RequestHead head, std::string id) const {
  Admission admission;
  HttpRequest& request = admission.request;
  request.id = std::move(id);
  admission.answer_headers = {{"x-request-id", request.id}, {"x-content-type-options", "nosniff"}};
  auto [target, problem] = parse_target(head.target);
  request.method = head.method;
  if (!problem.empty()) {
    refuse(admission, {400, "invalid_address", std::string(problem)});
    return admission;
  }
  request.path = target.path();
  request.query = std::move(target.query);
  if (head.count("host") == 0 && !target.authority.empty())
    head.headers.emplace_back("host", target.authority);
  Refusal refusal;
  if (!target.authority.empty() && !policy_.allows_host(target.authority))
    refusal = HttpError{403, "host_not_allowed", "this server does not answer to that host name"};
  if (!refusal) refusal = check_origin(head, admission);
  if (!refusal && is_preflight(head, admission)) {
    refuse(admission, {204});
    return admission;
  }
  if (!refusal) {
    Router::Match match = router_->match(head.method, target.segments);
    if (match.route != nullptr) admission.label = match.route->pattern;
    refusal = check_caller(head, std::move(match), admission);
  }
  request.headers = std::move(head.headers);
  if (refusal) refuse(admission, *refusal);
  return admission;
}

Gate::Refusal Gate::check_origin(const RequestHead& head, Admission& admission) const {
  const size_t hosts = head.count("host");
  const std::string_view host = head.value("host");
  if (hosts > 1 || (hosts == 0 && !head.is_http_1_0))
    return HttpError{400, "invalid_host", "a request needs exactly one Host header"};
  if (hosts == 1 && !policy_.allows_host(host))
    return HttpError{403, "host_not_allowed", "this server does not answer to that host name"};
  const size_t origins = head.count("origin");
  if (origins == 0) return std::nullopt;
  const std::string_view origin = head.value("origin");
  const bool is_allowed = origins == 1 && policy_.allows_origin(origin, host);
  if (!is_allowed && (!is_reading(head.method) || head.method == "OPTIONS"))
    return HttpError{403, "origin_not_allowed", "pages of this origin may not use the server"};
  admission.answer_headers.emplace_back("Vary", "Origin");
  if (is_allowed && policy_.lists_origin(origin)) {
    admission.answer_headers.emplace_back("Access-Control-Allow-Origin", origin);
    admission.answer_headers.emplace_back("Access-Control-Expose-Headers", "x-request-id, retry-after");
  }
  return std::nullopt;
}

// A browser asks without the key whether a page may ask with it. Its origin is checked already.
bool Gate::is_preflight(const RequestHead& head, Admission& admission) const {
  if (head.method != "OPTIONS" || head.count("origin") == 0 ||
      head.count("access-control-request-method") == 0)
    return false;
  Headers& headers = admission.answer_headers;
  headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE");
  headers.emplace_back("Access-Control-Allow-Headers", "authorization, content-type, x-api-key");
  headers.emplace_back("Access-Control-Max-Age", "600");
  return true;
}

Gate::Refusal Gate::check_caller(const RequestHead& head, Router::Match match, Admission& admission) const {
  const bool is_public = match.route != nullptr && match.route->scope == Scope::kPublic;
  const auto key = access_->authenticate(head.headers);
  if (!key && !is_public) return unauthorised();
  if (key) admission.request.caller = access_->caller(*key);
  if (match.route == nullptr) {
    if (match.allowed.empty()) return HttpError{404, "unknown_address", "there is no such address"};
    const bool asks = head.method == "OPTIONS";
    admission.answer_headers.emplace_back("Allow", joined(match.allowed));
    if (asks) return HttpError{204};
    return HttpError{405, "method_not_allowed", "this address answers to " + joined(match.allowed)};
  }
  if (key && !admission.request.caller.may(match.route->scope))
    return HttpError{403, "scope_missing",
                     fmt::format("this key has not the scope '{}'", to_text(match.route->scope))};
  if (is_draining_ && !match.route->while_draining)
    return HttpError{503, "shutting_down", "the server is shutting down", {}, kDrainRetrySeconds};
  if (key && !is_public) {
    const Access::Grant grant = access_->acquire(*key);
    if (!grant.is_granted)
      return HttpError{429,
                       "rate_limit_exceeded",
                       fmt::format("the key's limit of {} is reached", grant.reason),
                       {},
                       grant.retry_after};
    admission.slot = Slot(access_, *key);
  }
  admission.route = match.route;
  admission.request.parameters = std::move(match.parameters);
  return std::nullopt;
}

std::string new_request_id() {
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return fmt::format("req-{:016x}", random());
}

}  // namespace llmhost::serve
