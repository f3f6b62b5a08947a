#include "model/checkpoint.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <string>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/gguf.h"
#include "support/paths.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

// A fresh folder under the build tree with a copy of the sharded model.
class ShardedCopy {
 public:
  explicit ShardedCopy(const char* name) : folder_(fs::path(LLMHOST_BINARY_DIR) / name) {
    fs::remove_all(folder_);
    fs::copy(test::data("model/sharded"), folder_);
  }
  ~ShardedCopy() { fs::remove_all(folder_); }
  ShardedCopy(const ShardedCopy&) = delete;
  ShardedCopy& operator=(const ShardedCopy&) = delete;
  fs::path path(const char* name = "") const { return *name == '\0' ? folder_ : folder_ / name; }

  std::string error() const { return error_of(folder_); }
  static std::string error_of(const fs::path& path) {
    try {
      Checkpoint::open(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }

  void edit_index(const std::function<void(Json& weight_map)>& edit) const {
    const fs::path index = folder_ / "model.safetensors.index.json";
    Json json = read_json_file(index);
    edit(json["weight_map"]);
    write_file_atomically(index, json.dump());
  }

 private:
  fs::path folder_;
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("a folder with shards is one list of tensors") {
  const Checkpoint checkpoint = Checkpoint::open(test::data("model/sharded"));
  CHECK(checkpoint.format() == CheckpointFormat::kSafetensors);
  CHECK(checkpoint.gguf() == nullptr);
  CHECK(checkpoint.files().size() == 5);
  CHECK(checkpoint.tensors().size() == 21);
  CHECK(checkpoint.weight_bytes() == 205440);
  CHECK(checkpoint.file_bytes() == 207720);
  const CheckpointTensor* head = checkpoint.find("lm_head.weight");
  REQUIRE(head != nullptr);
  CHECK(head->dtype == LLMH_DTYPE_BF16);
  CHECK(head->stored_type == "BF16");
  CHECK(head->shape == std::vector<int64_t>{272, 64});
  CHECK(head->element_count() == 272 * 64);
  CHECK(head->data().size() == 272 * 64 * 2);
  CHECK(head->file.ends_with("model-00001-of-00005.safetensors"));
  CHECK(checkpoint.config()["hidden_size"] == 64);
  CHECK(checkpoint.config_source("hidden_size") == "hidden_size");
  CHECK(checkpoint.generation_config().eos_token_ids == std::vector<int64_t>{2});
  CHECK(checkpoint.find("absent") == nullptr);
}

TEST_CASE("a GGUF file is the same kind of thing") {
  const Checkpoint checkpoint = Checkpoint::open(test::data("model/stories260K-q4_0.gguf"));
  CHECK(checkpoint.format() == CheckpointFormat::kGguf);
  REQUIRE(checkpoint.gguf() != nullptr);
  CHECK(checkpoint.config()["num_hidden_layers"] == 5);
  CHECK(checkpoint.config_source("num_hidden_layers") == "llama.block_count");
  CHECK(checkpoint.generation_config().eos_token_ids == std::vector<int64_t>{2});
  const CheckpointTensor* down = checkpoint.find("blk.0.ffn_up.weight");
  REQUIRE(down != nullptr);
  CHECK(down->shape == std::vector<int64_t>{172, 64});
  CHECK(down->stored_type == "q4_0");
  CHECK(down->data().size() == 172 * 64 / 32 * 18);
  CHECK(checkpoint.file_bytes() == fs::file_size(checkpoint.path()));
}

TEST_CASE("tensors of a type that is not decoded are listed and refused on use") {
  const Checkpoint checkpoint = Checkpoint::open(test::data("model/metadata.gguf"));
  const CheckpointTensor* tensor = checkpoint.find("unknown");
  REQUIRE(tensor != nullptr);
  CHECK(tensor->stored_type == "ggml type 15");
  CHECK_THROWS_AS(static_cast<void>(tensor->data()), Error);
}

TEST_CASE("a lone safetensors file opens; its config is missed only when asked for") {
  const Checkpoint checkpoint = Checkpoint::open(test::data("model/dtypes.safetensors"));
  CHECK(checkpoint.tensors().size() == 12);
  CHECK_THROWS_AS(checkpoint.config(), Error);
  CHECK(checkpoint.generation_config().eos_token_ids.empty());
}

TEST_CASE("a folder that holds one split GGUF model opens it") {
  const fs::path folder = fs::path(LLMHOST_BINARY_DIR) / "test-checkpoint-gguf";
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const char* name :
       {"split-00001-of-00003.gguf", "split-00002-of-00003.gguf", "split-00003-of-00003.gguf"})
    fs::copy_file(test::data(fs::path("model") / name), folder / name);
  CHECK(Checkpoint::open(folder).tensors().size() == 3);
  fs::copy_file(test::data("model/metadata.gguf"), folder / "other.gguf");
  CHECK(contains(ShardedCopy::error_of(folder), "holds 2 GGUF models; name one, such as 'other.gguf'"));
  fs::remove_all(folder);
}

TEST_CASE("every shard and every tensor of the index must exist") {
  const ShardedCopy copy("test-checkpoint-shards");
  CHECK(copy.error() == "accepted");
  fs::rename(copy.path("model-00003-of-00005.safetensors"), copy.path("away"));
  CHECK(contains(copy.error(), "shard 'model-00003-of-00005.safetensors' is missing"));
  fs::rename(copy.path("away"), copy.path("model-00003-of-00005.safetensors"));
  copy.edit_index([](Json& map) { map["ghost.weight"] = "model-00003-of-00005.safetensors"; });
  CHECK(contains(copy.error(),
                 "weight_map: tensor 'ghost.weight' is not in 'model-00003-of-00005.safetensors'"));
  copy.edit_index([](Json& map) {
    map.erase("ghost.weight");
    map["lm_head.weight"] = "model-00003-of-00005.safetensors";
  });
  CHECK(contains(copy.error(), "weight_map: tensor 'lm_head.weight' is not in"));
}

TEST_CASE("shard names stay inside the folder") {
  const ShardedCopy copy("test-checkpoint-names");
  for (const char* bad : {"../sharded/model-00001-of-00005.safetensors", "/etc/passwd", "..",
                          "a\\b.safetensors", "", "x.bin"}) {
    copy.edit_index([&](Json& map) { map["lm_head.weight"] = bad; });
    CHECK(contains(copy.error(), "is not the plain name of a .safetensors file"));
  }
  copy.edit_index([](Json& map) { map["lm_head.weight"] = 3; });
  CHECK(contains(copy.error(), "weight_map: 'lm_head.weight' is not a string"));
  copy.edit_index([](Json& map) { map = Json::object(); });
  CHECK(contains(copy.error(), "weight_map is empty"));
}

TEST_CASE("a tensor that two shards hold is refused") {
  const ShardedCopy copy("test-checkpoint-twice");
  fs::copy_file(copy.path("model-00001-of-00005.safetensors"), copy.path("model-extra.safetensors"));
  copy.edit_index([](Json& map) { map["x"] = "model-extra.safetensors"; });
  CHECK(contains(copy.error(), "tensor 'lm_head.weight' is also in"));
}

TEST_CASE("what is no model says what to do") {
  const fs::path folder = fs::path(LLMHOST_BINARY_DIR) / "test-checkpoint-none";
  fs::remove_all(folder);
  CHECK(ShardedCopy::error_of(folder) == folder.string() + ": no such file or folder");
  fs::create_directories(folder);
  CHECK(contains(ShardedCopy::error_of(folder),
                 "no model.safetensors, model.safetensors.index.json or .gguf file"));
  write_file_atomically(folder / "pytorch_model.bin", "PK\x03\x04zip");
  CHECK(contains(ShardedCopy::error_of(folder), "'pytorch_model.bin', a pickle"));
  CHECK(contains(ShardedCopy::error_of(folder / "pytorch_model.bin"), "convert it to safetensors"));
  write_file_atomically(folder / "notes.txt", "hello");
  CHECK(contains(ShardedCopy::error_of(folder / "notes.txt"), "neither a .safetensors nor a GGUF file"));
  fs::remove_all(folder);
}

TEST_CASE("a pipe in the place of a file is refused, not waited for") {
  const ShardedCopy copy("test-checkpoint-pipe");
  fs::remove(copy.path("config.json"));
  REQUIRE(::mkfifo(copy.path("config.json").c_str(), 0600) == 0);
  CHECK(contains(copy.error(), "config.json: not a regular file"));
  REQUIRE(::mkfifo(copy.path("pipe.gguf").c_str(), 0600) == 0);
  CHECK(contains(ShardedCopy::error_of(copy.path("pipe.gguf")), "not a regular file"));
  CHECK_THROWS_AS(GgufFile::open(copy.path("pipe.gguf")), Error);
}

TEST_CASE("a config that is no object or far too large is refused") {
  const ShardedCopy copy("test-checkpoint-config");
  write_file_atomically(copy.path("config.json"), "[1]");
  CHECK(contains(copy.error(), "config.json: is not a JSON object"));
  write_file_atomically(copy.path("config.json"),
                        "{\"a\":" + std::string(40, '[') + std::string(40, ']') + "}");
  CHECK(contains(copy.error(), "config.json: JSON nested deeper than 32 levels"));
  write_file_atomically(copy.path("config.json"), std::string(size_t{5} << 20, ' ') + "{}");
  CHECK(contains(copy.error(), "config.json: 5242882 bytes, the limit is 4194304"));
}

}  // namespace
}  // namespace llmhost::model
