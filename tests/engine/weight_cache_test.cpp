// Weights kept between starts, with the CPU plugin and a small real model: whatever became of the file, the
// logprobs are those of a start without one, bit for bit.
#include "engine/weight_cache.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <fstream>
#include <utility>

#include "engine/story_model.h"

namespace fs = std::filesystem;
using namespace llmhost;
using namespace llmhost::engine;

namespace {

std::vector<uint64_t> logprobs(ModelRunner& runner) {
  std::vector<uint64_t> bits;
  Engine engine(runner);
  for (const size_t i : {3, 9}) {
    Request request;
    request.prompt = test::story_prompts()[i];
    request.max_tokens = 8;
    request.sampling.temperature = 0;
    request.sampling.logprobs = true;
    request.on_token = [&](const TokenEvent& event) {
      bits.push_back(std::bit_cast<uint64_t>(event.choice->logprob));
      return true;
    };
    engine.submit(std::move(request));
    engine.run_all();
  }
  return bits;
}

class WeightCacheFixture {
 public:
  WeightCacheFixture() {
    std::string name = (fs::temp_directory_path() / "llmhost-cache-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    model_ = folder_ / "model.gguf";
    fs::copy_file(test::data("models/stories260K/stories260K-q8_0.gguf"), model_);
  }
  ~WeightCacheFixture() { fs::remove_all(folder_); }

 protected:
  std::vector<uint64_t> run(const std::string& cache) const {
    Settings settings(settings_schema());
    settings.set("engine.threads", "2");
    settings.set("engine.weight_cache", cache);
    settings.set("backend.options", "layout=packed");
    const auto model = model::load_model(model_, test::built_plugins());
    const HostDevice host(test::built_plugins(), settings, RunUse::kGeneration);
    ModelStack stack(*model, host.device(), test::story_options());
    return logprobs(stack.runner());
  }
  std::vector<uint64_t> run() const { return run(cache().string()); }

  fs::path cache() const { return folder_ / "kept"; }
  // The one file of weights; empty when there is none.
  fs::path kept() const {
    fs::path found;
    if (fs::exists(cache()))
      for (const auto& entry : fs::directory_iterator(cache()))
        if (entry.path().extension() == ".weights") {
          REQUIRE(found.empty());
          found = entry.path();
        }
    return found;
  }
  ino_t written() const {  // another one when it was written anew
    struct stat info {};
    REQUIRE(::stat(kept().c_str(), &info) == 0);
    return info.st_ino;
  }

  fs::path folder_;
  fs::path model_;
};

}  // namespace

TEST_CASE_FIXTURE(WeightCacheFixture, "the first start writes the file, the next ones use it") {
  const auto expected = run("off");
  CHECK(kept().empty());
  CHECK(run() == expected);
  REQUIRE_FALSE(kept().empty());
  CHECK(fs::file_size(kept()) > 100'000);
  const ino_t first = written();
  CHECK(run() == expected);
  CHECK(written() == first);
}

TEST_CASE_FIXTURE(WeightCacheFixture, "a damaged file is prepared anew and replaced") {
  const auto expected = run("off");
  run();
  const uint64_t size = fs::file_size(kept());
  for (const uint64_t at : {uint64_t{8}, uint64_t{60}, size / 2, size - 1}) {
    CAPTURE(at);
    {
      std::fstream file(kept(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(static_cast<std::streamoff>(at));
      const char byte = static_cast<char>(file.get() ^ 4);
      file.seekp(static_cast<std::streamoff>(at));
      file.put(byte);
    }
    CHECK(run() == expected);
    const ino_t replaced = written();
    CHECK(run() == expected);
    CHECK(written() == replaced);
  }
  fs::resize_file(kept(), size / 3);
  CHECK(run() == expected);
  CHECK(fs::file_size(kept()) == size);
}

TEST_CASE_FIXTURE(WeightCacheFixture, "a model that was written again is prepared again") {
  const auto expected = run();
  const ino_t first = written();
  fs::last_write_time(model_, fs::last_write_time(model_) + std::chrono::seconds(2));
  CHECK(run() == expected);
  CHECK(written() != first);
}

TEST_CASE_FIXTURE(WeightCacheFixture, "a folder that cannot be made only costs the preparation") {
  const auto expected = run("off");
  std::ofstream(folder_ / "file") << "x";
  CHECK(run((folder_ / "file" / "kept").string()) == expected);
}

TEST_CASE_FIXTURE(WeightCacheFixture, "two processes that start at once leave one good file") {
  pid_t children[2];
  for (pid_t& child : children) {
    child = ::fork();
    if (child == 0) {
      run();
      ::_exit(0);
    }
  }
  for (const pid_t child : children) {
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  const ino_t first = written();
  CHECK(run() == run("off"));
  CHECK(written() == first);
}
