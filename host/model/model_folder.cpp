#include "model/model_folder.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxCompanionBytes = uint64_t{1} << 30;

struct TorchName {
  llmh_dtype dtype;
  const char* name;
};
constexpr std::array<TorchName, 4> kTorchNames = {{{LLMH_DTYPE_F32, "float32"},
                                                   {LLMH_DTYPE_F16, "float16"},
                                                   {LLMH_DTYPE_BF16, "bfloat16"},
                                                   {LLMH_DTYPE_F64, "float64"}}};

// Of a quantised checkpoint's former form, or written anew.
bool is_left_out(const std::string& name) {
  constexpr std::array<std::string_view, 3> kLeftOut = {"config.json", "quantize_config.json",
                                                        "quant_config.json"};
  return std::find(kLeftOut.begin(), kLeftOut.end(), name) != kLeftOut.end() ||
         name.ends_with(".index.json") || name.starts_with('.');
}

bool is_companion(const fs::path& path) {
  const std::string name = path.filename().string();
  if (is_left_out(name)) return false;
  if (name.starts_with("LICENSE") || name.starts_with("NOTICE") || name.starts_with("USE_POLICY"))
    return true;
  constexpr std::array<std::string_view, 7> kEndings = {".json",     ".jinja", ".txt", ".model",
                                                        ".tiktoken", ".py",    ".spm"};
  const std::string extension = path.extension().string();
  return std::find(kEndings.begin(), kEndings.end(), extension) != kEndings.end();
}

void copy_content(const fs::path& from, const fs::path& to) {
  std::error_code failed;
  if (fs::file_size(from, failed) > kMaxCompanionBytes || failed) return;
  // The content, not the permissions or the link.
  write_file_atomically(to, read_file(from, kMaxCompanionBytes));
}

// Sets a key where it stands: at the top, in the text model's part, or in both.
void set_where_known(OrderedJson& config, const char* key, const OrderedJson& value, bool always) {
  bool known = config.contains(key);
  if (known) config[key] = value;
  const auto text = config.find("text_config");
  if (text != config.end() && text->is_object() && text->contains(key)) {
    (*text)[key] = value;
    known = true;
  }
  if (!known && always) config[key] = value;
}

void erase_path(OrderedJson& config, std::string_view path) {
  const size_t dot = path.find('.');
  const auto found = config.find(std::string(path.substr(0, dot)));
  if (found == config.end()) return;
  if (dot == std::string_view::npos)
    config.erase(found);
  else if (found->is_object())
    erase_path(*found, path.substr(dot + 1));
}

}  // namespace

void copy_companions(const fs::path& from, const fs::path& to) {
  std::error_code failed;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, failed)) {
    std::error_code ignored;
    if (entry.is_regular_file(ignored) && is_companion(entry.path()))
      copy_content(entry.path(), to / entry.path().filename());
    // Templates beyond the first have a folder of their own.
    const bool is_templates = entry.path().filename() == "additional_chat_templates";
    if (is_templates && entry.is_directory(ignored)) {
      fs::create_directory(to / entry.path().filename());
      copy_companions(entry.path(), to / entry.path().filename());
    }
  }
  if (failed)
    throw_error(ErrorCode::kPermissionDenied, "{}: cannot list: {}", from.string(), failed.message());
}

std::string torch_dtype_name(llmh_dtype dtype) {
  for (const TorchName& known : kTorchNames)
    if (known.dtype == dtype) return known.name;
  return {};
}

llmh_dtype torch_dtype(std::string_view name) {
  if (name.starts_with("torch.")) name.remove_prefix(6);
  for (const TorchName& known : kTorchNames)
    if (known.name == name) return known.dtype;
  return LLMH_DTYPE_INVALID;
}

llmh_dtype config_dtype(const Checkpoint& checkpoint) {
  const Json& config = checkpoint.config();
  const auto text = config.find("text_config");
  for (const Json* part : {&config, text == config.end() ? &config : &*text})
    for (const char* key : {"dtype", "torch_dtype"})
      if (const auto found = part->find(key); found != part->end() && found->is_string())
        return torch_dtype(found->get<std::string>());
  return LLMH_DTYPE_INVALID;
}

std::string changed_config(const Checkpoint& checkpoint, const ConfigChanges& changes) {
  const fs::path file = checkpoint.config_file();
  OrderedJson config = parse_ordered_json(read_file(file), file.string());
  if (!changes.dtype.empty()) {
    const bool has_new_name = config.contains("dtype");
    set_where_known(config, "dtype", changes.dtype, false);
    set_where_known(config, "torch_dtype", changes.dtype, !has_new_name);
  }
  if (changes.drops_quantisation && !checkpoint.quantisation_key().empty())
    erase_path(config, checkpoint.quantisation_key());
  if (!changes.quantisation.empty())
    config["quantization_config"] = parse_ordered_json(changes.quantisation, "quantization_config");
  if (changes.unties_head) set_where_known(config, "tie_word_embeddings", false, true);
  return config.dump(2) + "\n";
}

}  // namespace llmhost::model
