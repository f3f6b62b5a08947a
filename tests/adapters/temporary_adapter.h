// A copy of an adapter of tests/data that a test may change; gone with the object.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "adapters/adapter_model.h"
#include "core/json.h"

namespace llmhost::test {

class TemporaryAdapter {
 public:
  explicit TemporaryAdapter(const std::string& source, const std::string& name = "adapter")
      : parent_(std::filesystem::temp_directory_path() / ("llmhost_adapter_" + std::to_string(getpid()))),
        folder_(parent_ / name) {
    copy(source);
  }
  ~TemporaryAdapter() { std::filesystem::remove_all(parent_); }
  TemporaryAdapter(const TemporaryAdapter&) = delete;
  TemporaryAdapter& operator=(const TemporaryAdapter&) = delete;

  const std::filesystem::path& folder() const { return folder_; }

  // Puts the source's files in place of what is there.
  void copy(const std::string& source) {
    std::filesystem::create_directories(folder_);
    for (const char* file : {"adapter_config.json", "adapter_model.safetensors"}) {
      std::filesystem::remove(folder_ / file);
      std::filesystem::copy_file(test::data(source) / file, folder_ / file);
      std::filesystem::permissions(folder_ / file, std::filesystem::perms::owner_write,
                                   std::filesystem::perm_options::add);
    }
  }
  void remove(const char* file) { std::filesystem::remove(folder_ / file); }
  void write(const char* file, const std::string& text) {
    std::ofstream(folder_ / file, std::ios::trunc) << text;
  }

  // Sets keys of the config; "__absent__" takes one out.
  void patch(const Json& changes) {
    Json config = read_json_file(folder_ / "adapter_config.json");
    for (const auto& [key, value] : changes.items()) {
      config.erase(key);
      if (value != "__absent__") config[key] = value;
    }
    write("adapter_config.json", config.dump());
  }

  void set(const std::string& tensor, size_t element, float value) {
    change([&](Tensor& own) {
      if (own.name == tensor) own.data.at(element) = value;
    });
  }
  void reshape(const std::string& tensor, std::vector<int64_t> shape) {
    change([&](Tensor& own) {
      if (own.name == tensor) own.shape = shape;
    });
  }
  void rename(const std::string& tensor, const std::string& name) {
    change([&](Tensor& own) {
      if (own.name == tensor) own.name = name;
    });
  }
  void rename_all(const std::string& prefix, const std::string& other) {
    change([&](Tensor& own) { own.name = other + own.name.substr(prefix.size()); });
  }
  void drop(const std::string& tensor) {
    change([&](Tensor& own) {
      if (own.name == tensor) own.name.clear();
    });
  }

 private:
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> data;
  };

  template <typename Fn>
  void change(const Fn& fn) {
    std::vector<Tensor> tensors;
    {
      const auto file = model::SafetensorsFile::open(folder_ / "adapter_model.safetensors");
      for (const auto& stored : file.tensors())
        tensors.push_back({stored.name, stored.shape, tensor_values<float>(file, stored.name)});
    }
    std::vector<model::SafetensorsEntry> entries;
    for (Tensor& tensor : tensors) {
      fn(tensor);
      if (!tensor.name.empty())
        entries.push_back({tensor.name, LLMH_DTYPE_F32, tensor.shape, std::as_bytes(std::span(tensor.data))});
    }
    model::write_safetensors(folder_ / "adapter_model.safetensors", std::move(entries));
  }

  std::filesystem::path parent_;
  std::filesystem::path folder_;
};

}  // namespace llmhost::test
