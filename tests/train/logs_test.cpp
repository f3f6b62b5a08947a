// What a run writes while it goes: trace, TensorBoard file, plot.
#include <doctest/doctest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "core/file.h"
#include "core/json.h"
#include "train/logs/loss_plot.h"
#include "train/logs/tensorboard_file.h"
#include "train/logs/trace_log.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("train-logs-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

StepEvent step_of(int64_t step, double loss) {
  StepEvent event;
  event.step = step;
  event.loss = loss;
  event.grad_norm = 0.1;
  event.lr = 1.0 / 3;
  return event;
}

uint64_t fixed(std::string_view bytes, size_t at, size_t n) {
  uint64_t value = 0;
  for (size_t i = 0; i < n; ++i) value |= uint64_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return value;
}

TEST_CASE("CRC-32C of the standard's examples") {
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xE3069283);
  CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AA);  // RFC 3720, B.4
  CHECK(crc32c(std::string(32, '\xFF')) == 0x62A8AB43);
}

TEST_CASE("a trace reads back the same bits, and is cut back to the step that a run goes on from") {
  const Folder folder;
  const fs::path path = folder.path / "deeper" / "trace.jsonl";
  const double odd = std::nextafter(2.5, 3);
  {
    TraceLog log(path);
    log.on_start(0, 3);
    for (int64_t step = 1; step <= 3; ++step) log.on_step(step_of(step, odd * static_cast<double>(step)));
    log.on_eval({3, 1.5, true});
  }
  std::ofstream(path, std::ios::app) << "{\"step\": 4, \"loss\": 1";  // cut off by the end of the process
  CHECK(read_trace(path, 99).size() == 4);
  TraceLog log(path);
  log.on_start(2, 3);
  log.on_step(step_of(3, INFINITY));
  const auto points = read_trace(path, 99);
  REQUIRE(points.size() == 2);
  CHECK(points[1].loss == odd * 2);
  std::istringstream lines(read_file(path));
  std::string last;
  for (std::string line; std::getline(lines, line);) last = line;
  CHECK(Json::parse(last).at("loss").is_null());
  CHECK(Json::parse(last).at("lr").get<double>() == 1.0 / 3);
}

TEST_CASE("records of an event file have their lengths and checksums") {
  const Folder folder;
  {
    TensorBoardFile file(folder.path);
    CHECK(fs::is_empty(folder.path));  // nothing before the run begins
    file.on_start(0, 300);
    file.on_step(step_of(300, 2.5));
    file.on_eval({300, 1.25, false});
  }
  const std::string bytes = read_file(fs::directory_iterator(folder.path)->path());
  const auto masked = [](std::string_view data) { return std::rotr(crc32c(data), 15) + 0xA282EAD8; };
  size_t n = 0, at = 0;
  bool has_loss = false;
  for (; at < bytes.size(); ++n) {
    const size_t length = fixed(bytes, at, 8);
    CHECK(fixed(bytes, at + 8, 4) == masked(std::string_view(bytes).substr(at, 8)));
    const std::string_view data = std::string_view(bytes).substr(at + 12, length);
    CHECK(fixed(bytes, at + 12 + length, 4) == masked(data));
    // step 300, and the scalar eval/loss 1.25
    const std::string_view scalar(
        "\x0a\x09"
        "eval/loss\x15\x00\x00\xa0\x3f",
        16);
    if (data.find(scalar) != std::string_view::npos)
      has_loss = data.find("\x10\xac\x02") != std::string_view::npos;
    at += 16 + length;
  }
  CHECK(at == bytes.size());
  CHECK(n == 6);
  CHECK(has_loss);
}

TEST_CASE("a plot has the curve, the evaluations and ticks, whatever the losses are") {
  std::vector<TracePoint> points;
  CHECK(loss_svg(points).find("</svg>") != std::string::npos);
  points.push_back({1, 3, false});
  CHECK(loss_svg(points).find("nan") == std::string::npos);
  for (int64_t step = 2; step <= 5000; ++step)
    points.push_back({step, 3.0 / static_cast<double>(step), false});
  points.push_back({5000, 0.5, true});
  points.push_back({5001, INFINITY, false});
  const std::string svg = loss_svg(points);
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("inf") == std::string::npos);
  CHECK(svg.find("evaluation") != std::string::npos);
  CHECK(svg.find(">5000</text>") != std::string::npos);
  CHECK(svg.size() < 100'000);
}

}  // namespace
}  // namespace llmhost::train
