#include "cli/model_export.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cli/support.h"
#include "core/error.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/thread_pool.h"
#include "engine/prompt_logits.h"
#include "model/gguf_export.h"
#include "model/new_weights.h"
#include "text/chat_template_source.h"
#include "text/gguf_export.h"

namespace llmhost::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kCheckTokens = 16;

// A file beside the wanted one, under whose name it is put when it has passed; gone otherwise.
class Draft {
 public:
  explicit Draft(const fs::path& wanted)
      : wanted_(wanted), path_(wanted.string() + fmt::format(".{}.gguf", ::getpid())) {}
  ~Draft() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove(path_, ignored);
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  const fs::path& path() const { return path_; }
  void keep() {
    fs::rename(path_, wanted_);
    path_.clear();
  }

 private:
  fs::path wanted_, path_;
};

void check_target(const fs::path& from, const fs::path& to, bool force) {
  std::error_code ignored;
  if (!fs::exists(to, ignored)) return;
  if (fs::equivalent(from, to, ignored))
    throw UsageError(to.string() + ": is the model itself; name another file");
  if (fs::is_directory(to, ignored)) throw UsageError(to.string() + ": is a folder; name a file");
  if (!force) throw UsageError(to.string() + ": is there already; --force replaces it");
}

std::string model_name(const std::string& from, const ModelExport& options) {
  if (!options.name.empty()) return options.name;
  const fs::path path = fs::absolute(from).lexically_normal();
  const fs::path whole = path.has_filename() ? path : path.parent_path();
  return (fs::is_directory(whole) ? whole.filename() : whole.parent_path().filename()).string();
}

// What comes with the weights of a Hub model.
struct Companions {
  std::string name;
  std::optional<text::GgufTokenizer> tokenizer;
  std::optional<text::ChatTemplateSource> chat_template;

  void write(model::GgufWriter& writer) const {
    writer.set("general.name", name);
    if (tokenizer)
      text::write_gguf_tokenizer(*tokenizer, writer);
    else
      writer.set("tokenizer.ggml.model", "no_vocab");
    if (chat_template) writer.set("tokenizer.chat_template", chat_template->text);
  }
};

Companions companions_of(const model::LoadedModel& model, const std::string& from,
                         const ModelExport& options) {
  Companions companions;
  companions.name = model_name(from, options);
  if (options.no_tokenizer) return companions;
  companions.tokenizer =
      text::gguf_tokenizer(model.checkpoint().folder(), model.info().vocab_size, options.pre);
  companions.chat_template = text::find_chat_template(model.checkpoint());
  return companions;
}

void check_tokenizer(const model::LoadedModel& model, const fs::path& file, const text::GgufTokenizer& made) {
  const auto original = text::load_tokenizer(model.checkpoint().folder());
  const auto written = text::load_tokenizer(file);
  const std::string difference = text::first_difference(*original, *written, made);
  if (!difference.empty())
    throw_error(
        ErrorCode::kUnimplemented,
        "{}: the tokenizer of the GGUF file would give other tokens for {}; --no-tokenizer leaves it out",
        model.checkpoint().folder().string(), Json(difference).dump());
}

// Token ids from all of the vocabulary.
std::vector<int32_t> check_prompt(const model::LoadedModel& model) {
  const auto n = std::min<size_t>(kCheckTokens, static_cast<size_t>(model.info().context_length));
  std::vector<int32_t> ids;
  for (size_t i = 0; i < n; ++i)
    ids.push_back(
        static_cast<int32_t>((i * 2654435761U + 12345U) % static_cast<uint64_t>(model.info().vocab_size)));
  return ids;
}

std::vector<float> logits_of(const model::LoadedModel& model, const engine::Device& device,
                             const std::vector<int32_t>& prompt) {
  const std::vector<std::vector<int32_t>> prompts = {prompt};
  engine::ModelStack stack(model, device, engine::limits_for_prompts(prompts, 0));
  return engine::run_prompts(stack.runner(), prompts, 0).front().logits;
}

struct Comparison {
  double largest = 0;        // difference of two logits
  double largest_logit = 0;  // magnitude
  double same_choice = 0;    // share of positions with the same best token
};

Comparison compare(const std::vector<float>& a, const std::vector<float>& b, size_t vocab_size) {
  Comparison result;
  const size_t rows = a.size() / vocab_size;
  for (size_t row = 0; row < rows; ++row) {
    const auto first = a.begin() + static_cast<std::ptrdiff_t>(row * vocab_size);
    const auto second = b.begin() + static_cast<std::ptrdiff_t>(row * vocab_size);
    const auto size = static_cast<std::ptrdiff_t>(vocab_size);
    const auto best = std::max_element(first, first + size) - first;
    result.same_choice += best == std::max_element(second, second + size) - second ? 1.0 : 0.0;
    for (std::ptrdiff_t i = 0; i < size; ++i) {
      result.largest =
          std::max(result.largest, std::fabs(static_cast<double>(first[i]) - static_cast<double>(second[i])));
      result.largest_logit = std::max(result.largest_logit, std::fabs(static_cast<double>(first[i])));
    }
  }
  result.same_choice /= static_cast<double>(std::max<size_t>(rows, 1));
  return result;
}

Comparison compare_models(const model::LoadedModel& model, const model::LoadedModel& written,
                          const plugin::Registry& registry, const Settings& settings) {
  const engine::HostDevice host(registry, settings, engine::RunUse::kLogits);
  std::vector<int32_t> prompt = check_prompt(model);
  prompt.resize(std::min<size_t>(prompt.size(), static_cast<size_t>(written.info().context_length)));
  return compare(logits_of(model, host.device(), prompt), logits_of(written, host.device(), prompt),
                 static_cast<size_t>(model.info().vocab_size));
}

class Exporting {
 public:
  Exporting(const std::string& from, const std::optional<model::GgufTypes>& types, const ModelExport& options,
            const Settings& settings)
      : from_(from),
        options_(options),
        settings_(settings),
        registry_(open_registry(settings)),
        model_(model::load_model(from, *registry_, load_options(settings))),
        types_(types ? *types : model::GgufTypes::of(model::usual_dtype(model_->checkpoint()))) {}

  void write(const fs::path& path) {
    ThreadPool threads(static_cast<int32_t>(settings_.get_int("engine.threads")));
    Progress progress("writing", model::bytes_to_write(*model_), ProgressUnit::kBytes);
    model::GgufExportOptions into;
    into.threads = &threads;
    into.progress = [&](uint64_t bytes) { progress.advance(bytes); };
    if (model_->checkpoint().format() == model::CheckpointFormat::kGguf) {
      model::requantize_gguf(model_->checkpoint(), types_, path, into);
      return;
    }
    const Companions companions = companions_of(*model_, from_, options_);
    into.add_metadata = [&](model::GgufWriter& writer) { companions.write(writer); };
    notes_ = model::export_gguf(*model_, *registry_, types_, path, into);
    progress.finish();
    if (!companions.tokenizer) return;
    notes_.insert(notes_.end(), companions.tokenizer->notes.begin(), companions.tokenizer->notes.end());
    check_tokenizer(*model_, path, *companions.tokenizer);
  }

  // What cannot be read again is not left behind.
  void check(const fs::path& path) {
    const auto written = model::load_model(path, *registry_);
    if (options_.check) comparison_ = compare_models(*model_, *written, *registry_, settings_);
    if (comparison_ && !types_.is_quantised() && comparison_->largest > 0.02 * comparison_->largest_logit)
      throw_error(
          ErrorCode::kInternal,
          "{}: the logits of the written model differ by up to {:.3g} from {:.3g}: it is not the same model",
          from_, comparison_->largest, comparison_->largest_logit);
  }

  void report(const std::string& to, bool as_json) const {
    for (const std::string& note : notes_) spdlog::warn("{}", note);
    const uint64_t bytes = fs::file_size(to);
    if (as_json) {
      OrderedJson result = {{"out", to}, {"type", types_.name()}, {"bytes", bytes}, {"notes", notes_}};
      if (comparison_)
        result["check"] = {{"largest_difference", comparison_->largest},
                           {"largest_logit", comparison_->largest_logit},
                           {"same_choice", comparison_->same_choice}};
      print_json(result);
      return;
    }
    fmt::print("{}: {}, {}\n", to, types_.name(), format_bytes(bytes));
    if (comparison_)
      fmt::print(
          "logits differ by at most {:.3g} (the largest is {:.3g}); the same token is the likeliest in "
          "{:.0f} %\n",
          comparison_->largest, comparison_->largest_logit, 100 * comparison_->same_choice);
  }

 private:
  std::string from_;
  const ModelExport& options_;
  const Settings& settings_;
  std::unique_ptr<plugin::Registry> registry_;
  std::unique_ptr<model::LoadedModel> model_;
  model::GgufTypes types_;
  std::vector<std::string> notes_;
  std::optional<Comparison> comparison_;
};

}  // namespace

void declare_export_options(Options& options, ModelExport& into) {
  options.value("--pre", into.pre, "Name of the patterns that cut text (tokenizer.ggml.pre; default: found)");
  options.value("--name", into.name, "The model's name in the file (default: the folder's)");
  options.flag("--no-tokenizer", into.no_tokenizer, "Leave tokenizer and chat template out");
  options.flag("--check", into.check, "Compare the logits of both models for a few tokens");
  options.flag("--force", into.force, "Replace a file that is there");
}

int export_model(const std::string& from, const std::string& to, const std::optional<model::GgufTypes>& types,
                 const ModelExport& options, Context& context) {
  check_target(from, to, options.force);
  Exporting exporting(from, types, options, context.settings);
  Draft draft(to);
  exporting.write(draft.path());
  exporting.check(draft.path());
  draft.keep();
  exporting.report(to, context.json);
  return 0;
}

}  // namespace llmhost::cli
