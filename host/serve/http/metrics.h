// What the server counts, for GET /metrics in Prometheus' text format. A part of the program asks once for a
// counter and keeps it: adding to one is an atomic operation. Labels are bounded: past `max_series` label
// sets of a name, new ones are counted under "other". [thread-safe]
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace llmhost::serve {

// These are copied freely and are valid as long as the Metrics that gave them.
class Counter {
 public:
  explicit Counter(prometheus::Counter* counter) : counter_(counter) {}
  void add(double amount = 1) const;

 private:
  prometheus::Counter* counter_;
};

class Gauge {
 public:
  explicit Gauge(prometheus::Gauge* gauge) : gauge_(gauge) {}
  void set(double value) const;
  void add(double amount) const;

 private:
  prometheus::Gauge* gauge_;
};

class Histogram {
 public:
  explicit Histogram(prometheus::Histogram* histogram) : histogram_(histogram) {}
  void observe(double value) const;

 private:
  prometheus::Histogram* histogram_;
};

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class Metrics {
 public:
  static constexpr size_t kMaxSeries = 100;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // "llmhost_" and the name. The same name and labels give the same counter; one name is of one kind, with
  // one set of label names, or Error(kInternal).
  Counter counter(std::string_view name, std::string_view help, const MetricLabels& labels = {},
                  size_t max_series = kMaxSeries);
  Gauge gauge(std::string_view name, std::string_view help, const MetricLabels& labels = {},
              size_t max_series = kMaxSeries);
  // `bounds` ascending; those of the first call for a name hold.
  Histogram histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                      const MetricLabels& labels = {}, size_t max_series = kMaxSeries);

  // Called before each text, for values that are looked up and not counted.
  void before_text(std::function<void()> update);
  std::string text();
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Of requests: counts by route, method and class of status, durations, bytes.
class HttpMetrics {
 public:
  explicit HttpMetrics(std::shared_ptr<Metrics> metrics);

  void request_done(std::string_view route, std::string_view method, int status, double seconds,
                    uint64_t bytes, bool is_cancelled) const;

  Gauge connections;
  Gauge running;
  Counter refused_connections;
  Counter slow_clients;

 private:
  std::shared_ptr<Metrics> metrics_;
};

}  // namespace llmhost::serve
