// One HTTP request and its answer, without a word of the library underneath. A handler gets the exchange on
// a worker thread and answers now or later, from any thread: `send` once, or start_stream, write…, finish.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llmhost::serve {

using Headers = std::vector<std::pair<std::string, std::string>>;

// What a route needs of the caller's key.
enum class Scope { kPublic, kInfer, kAdapters, kAdmin };
std::string_view to_text(Scope scope);  // "public", "infer", "adapters", "admin"

// Who asks. Without configured keys everybody on the loopback device is one caller with every scope.
struct Caller {
  std::string key_name;  // as in the keys file; "local" without keys
  uint64_t tenant = 0;   // stable for a key; separates what is cached for it
  std::vector<Scope> scopes;
  std::vector<std::string> models;  // that it may use; empty: all
  bool may(Scope scope) const;
  bool may_use(std::string_view model) const;
};

struct HttpRequest {
  std::string id;                                               // "req-…", unique, in answers and logs
  std::string method;                                           // "GET"
  std::string path;                                             // decoded and normalised, without the query
  std::vector<std::pair<std::string, std::string>> query;       // decoded
  std::vector<std::pair<std::string, std::string>> parameters;  // of the route's pattern: {"id", "…"}
  Headers headers;                                              // names in lower case
  std::string body;
  Caller caller;

  // The first header, query or path parameter of this name, or empty.
  std::string_view header(std::string_view lower_case_name) const;
  std::string_view query_value(std::string_view name) const;
  std::string_view parameter(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers;
};

// Every function is [thread-safe]; after the answer is complete, or the client is gone, they do nothing.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;

  // The whole answer.
  virtual void send(Response response) = 0;
  // An answer in pieces (server-sent events, say): status and headers now.
  virtual void start_stream(int status, std::string_view content_type, const Headers& headers = {}) = 0;
  // Queues bytes and never blocks. False: the client is gone, or so slow that it was given up.
  virtual bool write(std::string_view bytes) = 0;
  virtual void finish() = 0;

  // Called once, from the I/O thread, when the client goes (or is given up) before the answer is complete;
  // at once when that happened already. It must not block.
  virtual void on_close(std::function<void()> callback) = 0;
  virtual bool is_open() const = 0;

  // Counts tokens against the caller's rate limit.
  virtual void charge_tokens(int64_t tokens) = 0;
};

using Handler = std::function<void(std::shared_ptr<Exchange>)>;

}  // namespace llmhost::serve
