// The parts of an HTTP request that are read by us: address, query, host, credentials, framing, route. Any
// bytes give an admission or a refusal of one known shape, and no path climbs.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "serve/http/gate.h"
#include "serve/http/target.h"

namespace {

using namespace llmhost;
using namespace llmhost::serve;

const Gate& gate() {
  static const Gate kGate = [] {
    const auto router = std::make_shared<Router>();
    for (const char* pattern : {"/health", "/v1/models/{id}", "/files/{path*}"})
      router->add({"GET", pattern, Scope::kInfer, [](std::shared_ptr<Exchange>) {}, "a route", false});
    const auto keys = parse_keys("keys: [{name: a, key: key-of-the-fuzzer}]", "fuzz");
    return Gate(router, std::make_shared<Access>(keys), OriginPolicy{true, {}, {"https://app.test"}});
  }();
  return kGate;
}

// One line of input is one part of the request.
RequestHead head_of(std::string_view text) {
  const auto next = [&] {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() == text.size() ? line.size() : line.size() + 1);
    return std::string(line);
  };
  RequestHead head;
  head.method = next();
  head.target = next();
  head.is_http_1_0 = next() == "0";
  while (!text.empty() && head.headers.size() < 200) {
    const std::string line = next();
    const size_t colon = line.find(':');
    head.headers.emplace_back(line.substr(0, colon), colon == line.npos ? "" : line.substr(colon + 1));
  }
  return head;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const TargetResult direct = parse_target(text);
  for (const std::string& segment : direct.target.segments)
    if (segment.empty() || segment == "." || segment == ".." || !is_utf8(segment) ||
        segment.find('\0') != segment.npos)
      std::abort();
  if (const auto authority = parse_authority(text); authority && authority->host.empty()) std::abort();
  if (const auto key = parse_bearer(text); key && key->find_first_of(" ,\r\n") != key->npos) std::abort();

  const RequestHead head = head_of(text);
  const bool has_key = text.find("key-of-the-fuzzer") != text.npos;
  const auto refusal = check_framing(head, {});
  if (refusal && (refusal->status < 400 || refusal->status > 431)) std::abort();
  const Admission admission = gate().admit(head, "req-0");
  if (admission.route != nullptr && !has_key) std::abort();
  if (admission.route == nullptr && admission.refusal.status != 204 &&
      (admission.refusal.status < 400 || admission.refusal.body.empty()))
    std::abort();
  return 0;
}
