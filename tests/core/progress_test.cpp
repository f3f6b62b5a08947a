#include "core/progress.h"

#include <doctest/doctest.h>

#include <vector>

namespace llmhost {
namespace {

using std::chrono::milliseconds;

struct Recorder {
  std::vector<std::string> lines;
  Progress::Clock::time_point now{};

  Progress::Output output(bool is_terminal) {
    return {[this](std::string_view text) { lines.emplace_back(text); }, [this] { return now; }, is_terminal};
  }
};

}  // namespace

TEST_CASE("amounts and times read well") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(1536) == "1.5 KiB");
  CHECK(format_bytes(UINT64_MAX) == "16.0 EiB");
  CHECK(format_duration(0.25) == "250 ms");
  CHECK(format_duration(59.4) == "59 s");
  CHECK(format_duration(185) == "3 min 05 s");
  CHECK(format_duration(7800) == "2 h 10 min");
  CHECK(format_duration(1e300) == "very long");
}

TEST_CASE("a line tells share, rate and time left") {
  CHECK(format_progress({"load", 30 << 20, 120 << 20, 3, ProgressUnit::kBytes}) ==
        "load  25%  30.0 MiB of 120.0 MiB  10.0 MiB/s  9 s left");
  CHECK(format_progress({"rows", 10, 0, 4, ProgressUnit::kCount}) == "rows  10  2.5/s");
  CHECK(format_progress({"rows", 10, 10, 4, ProgressUnit::kCount}) == "rows  100%  10 of 10  2.5/s  in 4 s");
  CHECK(format_progress({"rows", 0, 10, 0, ProgressUnit::kCount}) == "rows  0%  0 of 10");
}

TEST_CASE("a log gets a line every five seconds and one at the end") {
  Recorder recorder;
  Progress progress("rows", 100, ProgressUnit::kCount, recorder.output(false));
  for (int i = 0; i < 100; ++i) {
    recorder.now += milliseconds(120);
    progress.advance(1);
  }
  CHECK(recorder.lines.size() == 2);
  progress.finish();
  progress.finish();
  REQUIRE(recorder.lines.size() == 3);
  CHECK(recorder.lines[2] == "rows  100%  100 of 100  8.3/s  in 12 s\n");
}

TEST_CASE("a terminal line is redrawn at most ten times a second and ended once") {
  Recorder recorder;
  {
    Progress progress("rows", 1000, ProgressUnit::kCount, recorder.output(true));
    for (int i = 0; i < 1000; ++i) {
      recorder.now += milliseconds(1);
      progress.advance(1);
    }
  }
  REQUIRE(recorder.lines.size() == 11);
  CHECK(recorder.lines[0].starts_with("\r\033[K"));
  CHECK(recorder.lines.back().ends_with("\n"));
}

TEST_CASE("a short job stays silent") {
  Recorder recorder;
  { Progress progress("rows", 3, ProgressUnit::kCount, recorder.output(true)); }
  CHECK(recorder.lines.empty());
}

}  // namespace llmhost
