#include "train/logs/loss_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/file.h"
#include "core/log.h"

namespace llmhost::train {
namespace {

constexpr double kWidth = 800, kHeight = 440;
constexpr double kLeft = 72, kRight = 24, kTop = 40, kBottom = 56;
constexpr size_t kMostPoints = 1200;     // of a line: more than pixels is of no use
constexpr double kMeanShare = 1.0 / 30;  // of all steps: what the running mean looks back

constexpr const char* kStyle =
    "svg{background:#fff;color:#1f2328;font:13px system-ui,sans-serif}.g{stroke:#d8dee4}.t{fill:#57606a}"
    ".s{stroke:#9ec5f4}.m{stroke:#0969da}.e{stroke:#cf5b00}.d{fill:#cf5b00}path{fill:none}"
    "@media(prefers-color-scheme:dark){svg{background:#0d1117;color:#e6edf3}.g{stroke:#30363d}.t{fill:#"
    "9198a1}"
    ".s{stroke:#1f4b7d}.m{stroke:#58a6ff}.e{stroke:#f0883e}.d{fill:#f0883e}}";

struct Axis {
  double least = 0, most = 1, step = 1;
  double from = 0, to = 1;  // pixels

  double at(double value) const { return from + (value - least) / (most - least) * (to - from); }
};

// Ticks at 1, 2 or 5 times a power of ten, about `count` of them; the axis ends at ticks.
Axis make_axis(double least, double most, int count, double from, double to) {
  if (most - least < 1e-12 * std::max(1.0, std::abs(most))) most = least + 1;
  const double raw = (most - least) / count;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double lead = raw / power;
  const double step = power * (lead > 5 ? 10 : lead > 2 ? 5 : lead > 1 ? 2 : 1);
  return {std::floor(least / step) * step, std::ceil(most / step) * step, step, from, to};
}

std::string line(const std::vector<TracePoint>& points, const Axis& x, const Axis& y, const char* style,
                 double width) {
  std::string path;
  const size_t stride = points.size() / kMostPoints + 1;
  for (size_t i = 0; i < points.size(); ++i) {
    if (i % stride != 0 && i + 1 != points.size()) continue;
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L",
                        x.at(static_cast<double>(points[i].step)), y.at(points[i].loss));
  }
  return fmt::format("<path class=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\" d=\"{}\"/>\n", style,
                     width, path);
}

std::vector<TracePoint> running_mean(const std::vector<TracePoint>& points) {
  const double keep = 1 - 1 / std::max(1.0, static_cast<double>(points.size()) * kMeanShare);
  std::vector<TracePoint> means = points;
  double sum = 0, weight = 0;
  for (TracePoint& point : means) {
    sum = sum * keep + point.loss;
    weight = weight * keep + 1;
    point.loss = sum / weight;
  }
  return means;
}

std::string grid(const Axis& x, const Axis& y) {
  std::string out;
  for (double value = y.least; value < y.most + y.step / 2; value += y.step) {
    out += fmt::format("<path class=\"g\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", x.from, y.at(value), x.to);
    out += fmt::format("<text class=\"t\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:.4g}</text>\n",
                       x.from - 8, y.at(value) + 4, std::abs(value) < y.step / 1e6 ? 0.0 : value);
  }
  for (double value = x.least; value < x.most + x.step / 2; value += x.step) {
    out += fmt::format("<path class=\"g\" d=\"M{:.1f} {:.1f}v5\"/>", x.at(value), y.from);
    out += fmt::format("<text class=\"t\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:.6g}</text>\n",
                       x.at(value), y.from + 20, value);
  }
  out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text>\n", (x.from + x.to) / 2,
                     kHeight - 12);
  return out + fmt::format("<text x=\"{}\" y=\"{}\">loss</text>\n", kLeft, kTop - 16);
}

std::string legend(bool has_evaluations) {
  const double x = kWidth - kRight;
  std::string out = fmt::format(
      "<path class=\"m\" stroke-width=\"2\" d=\"M{} {}h24\"/><text x=\"{}\" y=\"{}\">training</text>\n",
      x - 100, kTop - 20, x - 70, kTop - 16);
  if (has_evaluations)
    out += fmt::format(
        "<path class=\"e\" stroke-width=\"2\" d=\"M{} {}h24\"/><text x=\"{}\" y=\"{}\">evaluation</text>\n",
        x - 220, kTop - 20, x - 190, kTop - 16);
  return out;
}

}  // namespace

std::string loss_svg(const std::vector<TracePoint>& points) {
  std::vector<TracePoint> steps, evaluations;
  for (const TracePoint& point : points)
    if (std::isfinite(point.loss)) (point.is_eval ? evaluations : steps).push_back(point);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "fill=\"currentColor\" "
      "role=\"img\" aria-label=\"Loss by step\"><style>{2}</style>\n",
      kWidth, kHeight, kStyle);
  double least = INFINITY, most = -INFINITY, last = 1;
  for (const auto* list : {&steps, &evaluations})
    for (const TracePoint& point : *list) {
      least = std::min(least, point.loss);
      most = std::max(most, point.loss);
      last = std::max(last, static_cast<double>(point.step));
    }
  if (!std::isfinite(least)) least = 0, most = 1;
  Axis x = make_axis(0, last, 8, kLeft, kWidth - kRight);
  x.most = last;
  const Axis y = make_axis(least, most, 6, kHeight - kBottom, kTop);
  svg += grid(x, y);
  if (!steps.empty()) svg += line(steps, x, y, "s", 1) + line(running_mean(steps), x, y, "m", 2);
  if (!evaluations.empty()) svg += line(evaluations, x, y, "e", 2);
  for (const TracePoint& point : evaluations)
    svg += fmt::format("<circle class=\"d\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>\n",
                       x.at(static_cast<double>(point.step)), y.at(point.loss));
  return svg + legend(!evaluations.empty()) + "</svg>\n";
}

LossPlot::LossPlot(std::filesystem::path path, std::filesystem::path trace)
    : path_(std::move(path)), trace_(std::move(trace)) {}

LossPlot::~LossPlot() {
  if (points_.empty()) return;
  try {
    write();
  } catch (const std::exception& error) {
    spdlog::warn("the loss plot: {}", error.what());
  }
}

void LossPlot::on_start(int64_t done_steps, int64_t /*n_steps*/) {
  refuse_other_file(path_, "log.plot", [](std::string_view text) { return text.starts_with("<svg "); });
  if (done_steps > 0 && !trace_.empty()) points_ = read_trace(trace_, done_steps);
}

void LossPlot::on_step(const StepEvent& step) {
  points_.push_back({step.step, step.loss, false});
}

void LossPlot::on_eval(const EvalEvent& eval) {
  points_.push_back({eval.step, eval.loss, true});
  write();
}

void LossPlot::on_checkpoint(int64_t /*step*/, std::string_view /*folder*/) {
  write();
}

void LossPlot::write() const {
  if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path());
  write_file_atomically(path_, loss_svg(points_));
}

}  // namespace llmhost::train
