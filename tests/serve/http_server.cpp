// A server with handlers that do what tests need. Prints its address, then obeys lines on standard input:
// "drain", "force", "quit".
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/log.h"
#include "serve/http/errors.h"
#include "serve/http/server.h"

using namespace llmhost;
using namespace llmhost::serve;
using Clock = std::chrono::steady_clock;

namespace {

// One thread that writes to all streams in turn, as an engine does after each step.
class Ticker {
 public:
  struct Stream {
    std::shared_ptr<Exchange> exchange;
    int64_t left = 0;
    std::string event;
    std::chrono::microseconds period{};
    Clock::time_point next;
  };

  Ticker() : thread_([this] { run(); }) {}
  ~Ticker() {
    is_stopping_ = true;
    thread_.join();
  }
  void add(Stream stream) {
    const std::lock_guard lock(mutex_);
    added_.push_back(std::move(stream));
  }
  double longest_write_ms() const { return static_cast<double>(longest_ns_) / 1e6; }

 private:
  void run() {
    std::vector<Stream> streams;
    while (!is_stopping_) {
      {
        const std::lock_guard lock(mutex_);
        for (Stream& stream : added_) streams.push_back(std::move(stream));
        added_.clear();
      }
      const auto now = Clock::now();
      std::erase_if(streams, [&](Stream& stream) { return stream.next <= now && !step(stream, now); });
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

  // False: it is over.
  bool step(Stream& stream, Clock::time_point now) {
    stream.next = std::max(stream.next + stream.period, now - std::chrono::milliseconds(100));
    const bool goes_on = stream.exchange->write(stream.event);
    longest_ns_ = std::max<int64_t>(longest_ns_, (Clock::now() - now) / std::chrono::nanoseconds(1));
    if (!goes_on) return false;
    if (--stream.left > 0) return true;
    stream.exchange->write("data: [DONE]\n\n");
    stream.exchange->finish();
    return false;
  }

  std::atomic<bool> is_stopping_{false};
  std::atomic<int64_t> longest_ns_{0};
  std::mutex mutex_;
  std::vector<Stream> added_;
  std::thread thread_;
};

int64_t number(const HttpRequest& request, std::string_view name, int64_t fallback) {
  const std::string text(request.query_value(name));
  return text.empty() ? fallback : std::stoll(text);
}

void answer_text(Exchange& exchange, std::string text) {
  exchange.send({200, "text/plain", std::move(text), {}});
}

class TestRoutes {
 public:
  TestRoutes(Router& router, std::shared_ptr<Metrics> metrics) : metrics_(std::move(metrics)) {
    router.add({"GET", "/health", Scope::kPublic, [](auto exchange) { answer_text(*exchange, "ok"); },
                "GET of the test", true, true});
    add(router, "GET", "/ready", Scope::kInfer, true, [this](auto exchange) { ready(*exchange); });
    add(router, "GET", "/", Scope::kPublic, false, [](auto exchange) {
      exchange->send({200, "text/html", "<!doctype html><title>page</title>", {}});
    });
    add(router, "GET", "/metrics", Scope::kAdmin, true, [this](auto exchange) {
      exchange->send({200, std::string(Metrics::kContentType), metrics_->text(), {}});
    });
    add(router, "POST", "/echo", Scope::kInfer, false,
        [](auto exchange) { answer_text(*exchange, exchange->request().body); });
    add(router, "GET", "/things/{id}", Scope::kInfer, false,
        [](auto exchange) { answer_text(*exchange, std::string(exchange->request().parameter("id"))); });
    add(router, "DELETE", "/things/{id}", Scope::kAdmin, false,
        [](auto exchange) { answer_text(*exchange, "gone"); });
    add(router, "POST", "/stream", Scope::kInfer, false, [this](auto exchange) { stream(exchange); });
    add(router, "POST", "/slow", Scope::kInfer, false, [this](auto exchange) { slow(exchange); });
    add(router, "POST", "/sleep", Scope::kInfer, false, [](auto exchange) {
      std::this_thread::sleep_for(std::chrono::milliseconds(number(exchange->request(), "ms", 100)));
      answer_text(*exchange, "slept");
    });
    add(router, "POST", "/throw", Scope::kInfer, false,
        [](auto exchange) { throw_invalid("/secret/path: {}", exchange->request().body); });
    add(router, "POST", "/drop", Scope::kInfer, false, [](auto) {});
    add(router, "POST", "/charge", Scope::kInfer, false, [](auto exchange) {
      exchange->charge_tokens(number(exchange->request(), "tokens", 0));
      answer_text(*exchange, "charged");
    });
    add(router, "GET", "/closed", Scope::kInfer, false, [this](auto exchange) {
      answer_text(*exchange, std::to_string(closed_) + " " + std::to_string(last_close_ms_) + " " +
                                 std::to_string(ticker_.longest_write_ms()));
    });
  }

  void serve_with(Server* server) { server_ = server; }

 private:
  static void add(Router& router, std::string method, std::string pattern, Scope scope, bool while_draining,
                  Handler handler) {
    const std::string doc = method + " of the test";
    router.add({std::move(method), std::move(pattern), scope, std::move(handler), doc, while_draining});
  }

  void ready(Exchange& exchange) {
    if (server_->is_draining()) return send_error(exchange, {503, "draining", "the server is shutting down"});
    answer_text(exchange, "ready");
  }

  void count_close(Exchange& exchange) {
    exchange.on_close([this] {
      ++closed_;
      last_close_ms_ = std::chrono::duration_cast<std::chrono::milliseconds>(
                           std::chrono::system_clock::now().time_since_epoch())
                           .count();
    });
  }

  // ?n=events&us=between two&bytes=of each
  void stream(const std::shared_ptr<Exchange>& exchange) {
    const HttpRequest& request = exchange->request();
    count_close(*exchange);
    exchange->start_stream(200, "text/event-stream", {{"Cache-Control", "no-cache"}});
    Ticker::Stream stream;
    stream.exchange = exchange;
    stream.left = number(request, "n", 10);
    stream.period = std::chrono::microseconds(number(request, "us", 20'000));
    stream.event = "data: " + std::string(static_cast<size_t>(number(request, "bytes", 40)), 'x') + "\n\n";
    stream.next = Clock::now();
    ticker_.add(std::move(stream));
  }

  // Answers never, as a request that waits in a queue: only the client's going ends it.
  void slow(const std::shared_ptr<Exchange>& exchange) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(exchange);
    }
    count_close(*exchange);
    exchange->on_close([this, raw = exchange.get()] {
      std::shared_ptr<Exchange> dropped;
      const std::lock_guard inner(mutex_);
      for (auto& one : waiting_)
        if (one.get() == raw) dropped = std::exchange(one, nullptr);
      std::erase(waiting_, nullptr);
    });
  }

  std::shared_ptr<Metrics> metrics_;
  Server* server_ = nullptr;
  std::atomic<int64_t> closed_{0};
  std::atomic<int64_t> last_close_ms_{0};
  std::mutex mutex_;
  std::vector<std::shared_ptr<Exchange>> waiting_;
  Ticker ticker_;
};

void obey(Server& server) {
  std::string line;
  while (std::getline(std::cin, line)) {
    if (line == "drain") {
      server.begin_drain();
      std::cout << "draining" << std::endl;
    } else if (line.starts_with("wait ")) {
      const bool is_drained = server.wait_drained(std::chrono::milliseconds(std::stoi(line.substr(5))));
      std::cout << (is_drained ? "drained" : "running") << std::endl;
    } else if (line == "force") {
      server.force_close();
      std::cout << "forced" << std::endl;
    } else if (line == "quit") {
      break;
    }
  }
}

int run(int argc, char** argv) {
  CLI::App app("A server for tests");
  ServerOptions options;
  options.port = 0;
  std::string keys_file;
  std::string log_level = "info";
  int header_ms = 10'000;
  int body_ms = 30'000;
  int idle_ms = 60'000;
  int write_ms = 30'000;
  app.add_option("--host", options.host);
  app.add_option("--port", options.port);
  app.add_option("--unix", options.unix_socket);
  app.add_option("--keys", keys_file);
  app.add_option("--log-level", log_level);
  app.add_option("--max-connections", options.max_connections);
  app.add_option("--max-queued-requests", options.max_queued_requests);
  app.add_option("--max-body", options.max_body_bytes);
  app.add_option("--max-bodies", options.max_bodies_bytes);
  app.add_option("--header-ms", header_ms);
  app.add_option("--body-ms", body_ms);
  app.add_option("--idle-ms", idle_ms);
  app.add_option("--write-ms", write_ms);
  app.add_option("--allow-origin", options.allowed_origins);
  app.add_option("--allow-host", options.allowed_hosts);
  CLI11_PARSE(app, argc, argv);
  options.header_time = std::chrono::milliseconds(header_ms);
  options.body_time = std::chrono::milliseconds(body_ms);
  options.idle_time = std::chrono::milliseconds(idle_ms);
  options.write_time = std::chrono::milliseconds(write_ms);
  init_logging(log_level);

  std::vector<AccessKey> keys;
  if (!keys_file.empty()) keys = read_keys_file(keys_file);
  if (auto key = key_from_environment()) keys.push_back(std::move(*key));
  const auto metrics = std::make_shared<Metrics>();
  const auto router = std::make_shared<Router>();
  TestRoutes routes(*router, metrics);
  Server server(std::move(options), router, std::make_shared<Access>(std::move(keys)), metrics);
  routes.serve_with(&server);
  for (const Route* route : router->routes())
    std::cout << "route " << route->method << " " << route->pattern << " " << to_text(route->scope) << "\n";
  server.start();
  std::cout << "address " << server.address() << std::endl;
  obey(server);
  server.stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const UsageError& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
}
