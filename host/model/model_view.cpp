#include "model/model_view.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace llmhost::model {
namespace {

std::string_view to_view(llmh_str text) {
  return {text.ptr, static_cast<size_t>(text.len)};
}

const Json* child_of(const Json& parent, std::string_view name) {
  if (parent.is_object()) {
    const auto it = parent.find(name);
    return it == parent.end() ? nullptr : &*it;
  }
  if (!parent.is_array()) return nullptr;
  size_t index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc{} || end != name.data() + name.size() || index >= parent.size()) return nullptr;
  return &parent[index];
}

}  // namespace

// The C table's functions. Plugins call them from [control] calls only, so no locking.
struct ModelView::Thunks {
  static ModelView& self(const llmh_model* model) { return *reinterpret_cast<const Table*>(model)->owner; }

  static int32_t get_int(const llmh_model* model, llmh_str key, int64_t* out) {
    const Json* value = self(model).find(to_view(key));
    if (value == nullptr) return LLMH_VALUE_ABSENT;
    const bool fits =
        value->is_number_integer() && (!value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX);
    if (!fits) return self(model).wrong_type(to_view(key), *value, "an integer");
    *out = value->get<int64_t>();
    return LLMH_VALUE_OK;
  }
  static int32_t get_float(const llmh_model* model, llmh_str key, double* out) {
    const Json* value = self(model).find(to_view(key));
    if (value == nullptr) return LLMH_VALUE_ABSENT;
    if (!value->is_number()) return self(model).wrong_type(to_view(key), *value, "a number");
    *out = value->get<double>();
    return LLMH_VALUE_OK;
  }
  static int32_t get_bool(const llmh_model* model, llmh_str key, int32_t* out) {
    const Json* value = self(model).find(to_view(key));
    if (value == nullptr) return LLMH_VALUE_ABSENT;
    if (!value->is_boolean()) return self(model).wrong_type(to_view(key), *value, "true or false");
    *out = value->get<bool>() ? 1 : 0;
    return LLMH_VALUE_OK;
  }
  static int32_t get_string(const llmh_model* model, llmh_str key, llmh_str* out) {
    const Json* value = self(model).find(to_view(key));
    if (value == nullptr) return LLMH_VALUE_ABSENT;
    if (!value->is_string()) return self(model).wrong_type(to_view(key), *value, "a string");
    const auto& text = value->get_ref<const std::string&>();
    *out = {text.data(), text.size()};
    return LLMH_VALUE_OK;
  }
  static int32_t get_size(const llmh_model* model, llmh_str key, int64_t* out) {
    const Json* value = self(model).find(to_view(key));
    if (value == nullptr) return LLMH_VALUE_ABSENT;
    if (!value->is_structured()) return self(model).wrong_type(to_view(key), *value, "a list or an object");
    *out = static_cast<int64_t>(value->size());
    return LLMH_VALUE_OK;
  }
  static int32_t get_floats(const llmh_model* model, llmh_str key, double* out, int64_t capacity,
                            int64_t* n) {
    const Json* value = self(model).find(to_view(key));
    if (value == nullptr) return LLMH_VALUE_ABSENT;
    if (!value->is_array()) return self(model).wrong_type(to_view(key), *value, "a list of numbers");
    for (const Json& element : *value)
      if (!element.is_number()) return self(model).wrong_type(to_view(key), *value, "a list of numbers");
    *n = static_cast<int64_t>(value->size());
    for (int64_t i = 0; i < std::min(*n, capacity); ++i)
      out[i] = (*value)[static_cast<size_t>(i)].get<double>();
    return LLMH_VALUE_OK;
  }
  static int32_t has_key(const llmh_model* model, llmh_str key) {
    return self(model).locate(to_view(key)) == nullptr ? 0 : 1;
  }
  static void ignore_key(const llmh_model* model, llmh_str key) {
    self(model).ignored_.emplace(to_view(key));
  }

  static int32_t has_tensor(const llmh_model* model, llmh_str name, int64_t* shape, int32_t* rank) {
    const auto found = self(model).tensors_(to_view(name));
    if (!found || found->size() > LLMH_MAX_RANK) return 0;
    if (rank != nullptr) *rank = static_cast<int32_t>(found->size());
    if (shape != nullptr) std::copy(found->begin(), found->end(), shape);
    return 1;
  }

  static int64_t n_tensors(const llmh_model* model) {
    return static_cast<int64_t>(self(model).tensor_names_.size());
  }
  static llmh_str tensor_name(const llmh_model* model, int64_t index) {
    const auto& names = self(model).tensor_names_;
    if (index < 0 || static_cast<size_t>(index) >= names.size()) return {"", 0};
    const std::string_view name = names[static_cast<size_t>(index)];
    return {name.data(), name.size()};
  }
  static llmh_str key_name(const llmh_model* model, llmh_str object, int64_t index) {
    const Json* value = object.len == 0 ? &self(model).config_ : self(model).locate(to_view(object));
    const bool has =
        value != nullptr && value->is_object() && index >= 0 && static_cast<size_t>(index) < value->size();
    if (!has) return {"", 0};
    const std::string& name = std::next(value->begin(), static_cast<std::ptrdiff_t>(index)).key();
    return {name.data(), name.size()};
  }
  static int32_t kind_of(const llmh_model* model, llmh_str key) {
    const Json* value = self(model).locate(to_view(key));
    if (value == nullptr) return LLMH_KIND_OF_NOTHING;
    if (value->is_boolean()) return LLMH_KIND_OF_BOOL;
    if (value->is_number_integer()) return LLMH_KIND_OF_INT;
    if (value->is_number()) return LLMH_KIND_OF_FLOAT;
    if (value->is_string()) return LLMH_KIND_OF_STRING;
    return value->is_array() ? LLMH_KIND_OF_LIST : LLMH_KIND_OF_OBJECT;
  }
};

ModelView::ModelView(const Json& config, std::string source, int32_t format, TensorShapeLookup tensors,
                     std::vector<std::string_view> tensor_names)
    : config_(config),
      source_(std::move(source)),
      tensors_(std::move(tensors)),
      tensor_names_(std::move(tensor_names)),
      table_{{sizeof(llmh_model), format, &Thunks::get_int, &Thunks::get_float, &Thunks::get_bool,
              &Thunks::get_string, &Thunks::get_size, &Thunks::get_floats, &Thunks::has_key,
              &Thunks::ignore_key, &Thunks::has_tensor, &Thunks::n_tensors, &Thunks::tensor_name,
              &Thunks::key_name, &Thunks::kind_of},
             this} {}

const Json* ModelView::locate(std::string_view key) const {
  const Json* value = child_of(config_, key);
  if (value == nullptr) {
    value = &config_;
    size_t begin = 0;
    while (value != nullptr && begin <= key.size()) {
      const size_t dot = std::min(key.find('.', begin), key.size());
      value = child_of(*value, key.substr(begin, dot - begin));
      begin = dot + 1;
    }
  }
  return value == nullptr || value->is_null() ? nullptr : value;
}

const Json* ModelView::find(std::string_view key) {
  const Json* value = locate(key);
  if (value != nullptr) read_.emplace(key);
  return value;
}

int32_t ModelView::wrong_type(std::string_view key, const Json& value, std::string_view wanted) {
  std::string shown = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (shown.size() > 60) shown.resize(60);
  type_errors_.push_back(fmt::format("{}: '{}' is {}, it must be {}", source_, key, shown, wanted));
  return LLMH_VALUE_WRONG_TYPE;
}

void ModelView::forget_reads() {
  read_.clear();
  ignored_.clear();
  type_errors_.clear();
}

void ModelView::collect_unread(const Json& value, const std::string& path,
                               std::vector<std::string>& out) const {
  if (ignored_.contains(path) || value.is_null()) return;
  if (value.is_object()) {
    for (const auto& [key, child] : value.items())
      collect_unread(child, path.empty() ? key : path + "." + key, out);
    return;
  }
  if (value.is_array() && value.empty()) return;
  if (read_.contains(path)) return;
  // A list counts as read once one of its elements is.
  const auto next = read_.lower_bound(path + ".");
  if (value.is_array() && next != read_.end() && next->starts_with(path + ".")) return;
  out.push_back(path);
}

std::vector<std::string> ModelView::unread_keys() const {
  std::vector<std::string> unread;
  collect_unread(config_, "", unread);
  return unread;
}

}  // namespace llmhost::model
