#include "engine/layout_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "core/error.h"
#include "core/thread_pool.h"

namespace fs = std::filesystem;
using llmhost::engine::LaidOutWeight;
using llmhost::engine::LayoutFile;
using llmhost::engine::write_layout_file;

namespace {

constexpr const char* kIdentity = "model.gguf 17 4096 1.2 3";

class LayoutFileFixture {
 public:
  LayoutFileFixture() {
    std::string name = (fs::temp_directory_path() / "llmhost-layout-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    path_ = folder_ / "model.weights";
    // Lengths around what the checksum takes at a time, and an empty one.
    for (const size_t size : {size_t{3'000'017}, size_t{4096}, size_t{63}, size_t{0}}) {
      std::vector<std::byte>& bytes = data_.emplace_back(size);
      for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
    }
    for (size_t i = 0; i < data_.size(); ++i) weights_.push_back({"weight " + std::to_string(i), data_[i]});
  }
  ~LayoutFileFixture() { fs::remove_all(folder_); }

 protected:
  bool write() { return write_layout_file(path_, kIdentity, weights_, nullptr); }

  std::string content() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void replace(const std::string& content) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << content;
  }
  // Whether opening the file and asking for every weight is refused.
  bool is_refused(const char* identity = kIdentity) const {
    try {
      const LayoutFile file(path_, identity, nullptr);
      for (const LaidOutWeight& weight : weights_)
        if (!file.find(weight.key)) return false;
      return false;
    } catch (const llmhost::Error& error) {
      CHECK(error.code() == llmhost::ErrorCode::kDataLoss);
      return true;
    }
  }
  size_t files_in_folder() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
  fs::path path_;
  std::vector<std::vector<std::byte>> data_;
  std::vector<LaidOutWeight> weights_;
};

}  // namespace

TEST_CASE_FIXTURE(LayoutFileFixture, "what was written is read, whatever the number of threads") {
  llmhost::ThreadPool pool(3);
  CHECK(write_layout_file(path_, kIdentity, weights_, pool.api()));
  for (const llmh_thread_pool* threads : {static_cast<const llmh_thread_pool*>(nullptr), pool.api()}) {
    const LayoutFile file(path_, kIdentity, threads);
    for (const LaidOutWeight& weight : weights_) {
      const auto found = file.find(weight.key);
      REQUIRE(found);
      REQUIRE(found->size() == weight.bytes.size());
      CHECK(std::equal(found->begin(), found->end(), weight.bytes.begin()));
      CHECK(reinterpret_cast<uintptr_t>(found->data()) % 4096 == 0);
    }
    CHECK_FALSE(file.find("another"));
  }
}

TEST_CASE_FIXTURE(LayoutFileFixture, "a file that was cut off anywhere is refused") {
  write();
  const std::string whole = content();
  for (const size_t size : {size_t{0}, size_t{7}, size_t{63}, size_t{64}, size_t{100}, size_t{4096},
                            whole.size() / 2, whole.size() - 1}) {
    replace(whole.substr(0, size));
    CHECK(is_refused());
  }
  replace(whole + "x");
  CHECK(is_refused());
  replace(whole);
  CHECK_FALSE(is_refused());
}

TEST_CASE_FIXTURE(LayoutFileFixture, "a flipped bit in header, index or data is found") {
  write();
  const std::string whole = content();
  const size_t index_end = 56 + weights_.size() * sizeof(LayoutFile::Entry);
  for (size_t at = 0; at < index_end; ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
    replace(damaged);
    CHECK(is_refused());
  }
  const size_t first = 4096;
  for (const size_t at : {first, first + 1'048'575, first + 1'048'576, first + 3'000'016}) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    replace(damaged);
    CHECK(is_refused());
  }
}

TEST_CASE_FIXTURE(LayoutFileFixture, "a file of another model is refused") {
  write();
  CHECK(is_refused("model.gguf 17 4096 1.3 3"));
  replace(std::string(10000, 'x'));
  CHECK(is_refused());
}

TEST_CASE_FIXTURE(LayoutFileFixture, "who comes while another writes leaves the file to it") {
  const int other = ::open((path_.string() + ".lock").c_str(), O_CREAT | O_RDWR, 0600);
  REQUIRE(::flock(other, LOCK_EX) == 0);
  CHECK_FALSE(write());
  CHECK_FALSE(fs::exists(path_));
  ::close(other);
  CHECK(write());
  CHECK_FALSE(is_refused());
}

TEST_CASE_FIXTURE(LayoutFileFixture, "writers and readers at once never see half a file") {
  write();
  std::vector<std::thread> writers;
  for (int i = 0; i < 3; ++i)
    writers.emplace_back([this] {
      for (int round = 0; round < 3; ++round) write();
    });
  bool refused = false;
  for (int round = 0; round < 20; ++round) refused = is_refused() || refused;
  for (std::thread& writer : writers) writer.join();
  CHECK_FALSE(refused);
  CHECK(files_in_folder() == 2);  // the file and its lock
}

TEST_CASE_FIXTURE(LayoutFileFixture, "a full disk leaves nothing behind and the old file as it was") {
  write();
  const std::string before = content();
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  rlimit small = limit;
  small.rlim_cur = 100'000;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  CHECK_THROWS_AS(write(), llmhost::Error);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  CHECK(content() == before);
  CHECK(files_in_folder() == 2);
}

TEST_CASE_FIXTURE(LayoutFileFixture, "a folder that cannot be written to is an error") {
  path_ = folder_ / "absent" / "model.weights";
  CHECK_THROWS_AS(write(), llmhost::Error);
  if (::geteuid() == 0) return;  // permissions do not hold the superuser
  fs::create_directory(folder_ / "absent");
  fs::permissions(folder_ / "absent", fs::perms::owner_read | fs::perms::owner_exec);
  CHECK_THROWS_AS(write(), llmhost::Error);
}
