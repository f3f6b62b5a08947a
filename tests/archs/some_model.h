// A checkpoint that exists on paper: a config, and names of tensors with their shapes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "llmhost/arch.hpp"
#include "model/model_view.h"

namespace llmhost::test {

class SomeModel {
 public:
  using Tensors = std::map<std::string, std::vector<int64_t>, std::less<>>;

  explicit SomeModel(const char* config, Tensors tensors = {})
      : config_(Json::parse(config)), tensors_(std::move(tensors)) {
    for (const auto& [name, shape] : tensors_) names_.emplace_back(name);
    view_.emplace(
        config_, "config.json", LLMH_FORMAT_HUB,
        [this](std::string_view name) {
          const auto found = tensors_.find(name);
          return found == tensors_.end() ? std::nullopt : std::optional(found->second);
        },
        names_);
  }
  SomeModel(const SomeModel&) = delete;
  SomeModel& operator=(const SomeModel&) = delete;

  llmh::Model model() { return llmh::Model(view_->table()); }
  std::vector<std::string> unread() { return view_->unread_keys(); }

 private:
  Json config_;
  Tensors tensors_;
  std::vector<std::string_view> names_;
  std::optional<model::ModelView> view_;
};

}  // namespace llmhost::test
