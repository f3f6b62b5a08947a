#include "serve/http/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <variant>

#include "core/error.h"

namespace llmhost::serve {
namespace {

using Family = std::variant<prometheus::Family<prometheus::Counter>*, prometheus::Family<prometheus::Gauge>*,
                            prometheus::Family<prometheus::Histogram>*>;
using LabelMap = std::map<std::string, std::string>;

struct Series {
  Family family;
  std::vector<std::string> label_names;
  std::vector<double> bounds;
  std::set<LabelMap> known;
};

const std::vector<double>& request_seconds() {
  static const std::vector<double> kBounds = {0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5,
                                              1,     2.5,   5,    10,   30,  60,   300};
  return kBounds;
}

}  // namespace

void Counter::add(double amount) const {
  counter_->Increment(amount);
}
void Gauge::set(double value) const {
  gauge_->Set(value);
}
void Gauge::add(double amount) const {
  gauge_->Increment(amount);
}
void Histogram::observe(double value) const {
  histogram_->Observe(value);
}

struct Metrics::State {
  // The labels to count under: these, or "other" for each when there are too many.
  static LabelMap bounded(Series& series, const MetricLabels& labels, size_t max_series) {
    LabelMap map(labels.begin(), labels.end());
    if (series.known.contains(map)) return map;
    if (series.known.size() >= max_series)
      for (auto& [name, value] : map) value = "other";
    else
      series.known.insert(map);
    return map;
  }

  template <typename T>
  std::pair<prometheus::Family<T>*, Series*> find(std::string_view name, std::string_view help,
                                                  const MetricLabels& labels) {
    std::vector<std::string> names;
    for (const auto& label : labels) names.push_back(label.first);
    std::sort(names.begin(), names.end());
    const auto [at, is_new] = all.try_emplace(std::string(name));
    Series& series = at->second;
    if (is_new) {
      series.label_names = names;
      const std::string full = "llmhost_" + std::string(name);
      series.family = &prometheus::detail::Builder<T>().Name(full).Help(std::string(help)).Register(registry);
    }
    auto* family = std::get_if<prometheus::Family<T>*>(&series.family);
    if (family == nullptr || series.label_names != names)
      throw_error(ErrorCode::kInternal, "metric {}: it exists with another kind or other labels", name);
    return {*family, &series};
  }

  std::mutex mutex;
  prometheus::Registry registry;
  std::map<std::string, Series, std::less<>> all;
  std::vector<std::function<void()>> updates;
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

Counter Metrics::counter(std::string_view name, std::string_view help, const MetricLabels& labels,
                         size_t max_series) {
  const std::lock_guard lock(state_->mutex);
  const auto [family, series] = state_->find<prometheus::Counter>(name, help, labels);
  return Counter(&family->Add(State::bounded(*series, labels, max_series)));
}

Gauge Metrics::gauge(std::string_view name, std::string_view help, const MetricLabels& labels,
                     size_t max_series) {
  const std::lock_guard lock(state_->mutex);
  const auto [family, series] = state_->find<prometheus::Gauge>(name, help, labels);
  return Gauge(&family->Add(State::bounded(*series, labels, max_series)));
}

Histogram Metrics::histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                             const MetricLabels& labels, size_t max_series) {
  const std::lock_guard lock(state_->mutex);
  const auto [family, series] = state_->find<prometheus::Histogram>(name, help, labels);
  if (series->bounds.empty()) series->bounds = bounds;
  return Histogram(&family->Add(State::bounded(*series, labels, max_series), series->bounds));
}

void Metrics::before_text(std::function<void()> update) {
  const std::lock_guard lock(state_->mutex);
  state_->updates.push_back(std::move(update));
}

std::string Metrics::text() {
  std::vector<std::function<void()>> updates;
  {
    const std::lock_guard lock(state_->mutex);
    updates = state_->updates;
  }
  for (const auto& update : updates) update();
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

HttpMetrics::HttpMetrics(std::shared_ptr<Metrics> metrics)
    : connections(metrics->gauge("http_connections", "Open connections")),
      running(metrics->gauge("http_requests_running", "Requests that are being answered")),
      refused_connections(metrics->counter("http_connections_refused_total", "Connections beyond the limit")),
      slow_clients(
          metrics->counter("http_slow_clients_total", "Streams given up because the client did not read")),
      metrics_(std::move(metrics)) {}

void HttpMetrics::request_done(std::string_view route, std::string_view method, int status, double seconds,
                               uint64_t bytes, bool is_cancelled) const {
  constexpr std::string_view kMethods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"};
  const bool is_known = std::find(std::begin(kMethods), std::end(kMethods), method) != std::end(kMethods);
  const std::string name(route);
  metrics_
      ->counter("http_requests_total", "Requests by route, method and class of status",
                {{"route", name},
                 {"method", is_known ? std::string(method) : "other"},
                 {"status", std::to_string(status / 100) + "xx"}},
                400)
      .add();
  metrics_
      ->histogram("http_request_seconds", "From the head of a request to the end of its answer",
                  request_seconds(), {{"route", name}})
      .observe(seconds);
  metrics_->counter("http_sent_bytes_total", "Bytes of answers", {{"route", name}})
      .add(static_cast<double>(bytes));
  if (is_cancelled)
    metrics_
        ->counter("http_requests_cancelled_total", "Requests whose client went before the end",
                  {{"route", name}})
        .add();
}

}  // namespace llmhost::serve
