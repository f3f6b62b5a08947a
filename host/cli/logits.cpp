// llmhost logits: the numbers behind the tokens, for comparison with other engines. Exact by default (f32
// state). The file formats are stable: {"prompts": [[ids…], …], "generate": N} in, safetensors out.
#include <fmt/core.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/support.h"
#include "core/error.h"
#include "engine/engine.h"
#include "model/safetensors.h"

namespace llmhost::cli {
namespace {

// Logits rows of one step may take this many bytes.
constexpr int64_t kMaxLogitsBytes = int64_t{64} << 20;

struct LogitsJob {
  std::vector<std::vector<int32_t>> prompts;
  int64_t generate = 0;
};

std::vector<int32_t> read_ids(const Json& prompt, const std::string& where, int64_t vocab_size) {
  if (!prompt.is_array() || prompt.empty())
    throw_invalid("{}: must be a list of at least one token id", where);
  std::vector<int32_t> ids;
  for (const Json& id : prompt) {
    const bool fits = id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < vocab_size;
    if (!fits) throw_invalid("{}: {} is no token id, they go from 0 to {}", where, id.dump(), vocab_size - 1);
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

LogitsJob read_job(const std::string& path, int64_t vocab_size) {
  const Json json = read_json_file(path);
  const auto prompts = json.find("prompts");
  if (!json.is_object() || prompts == json.end() || !prompts->is_array() || prompts->empty())
    throw_invalid("{}: 'prompts' must be a list of at least one list of token ids", path);
  LogitsJob job;
  for (size_t i = 0; i < prompts->size(); ++i)
    job.prompts.push_back(read_ids((*prompts)[i], fmt::format("{}: prompts[{}]", path, i), vocab_size));
  if (const auto generate = json.find("generate"); generate != json.end()) {
    const bool fits =
        generate->is_number_integer() && generate->get<int64_t>() >= 0 && generate->get<int64_t>() < 1 << 24;
    if (!fits)
      throw_invalid("{}: 'generate' is {}, it must be 0 to {}", path, generate->dump(), (1 << 24) - 1);
    job.generate = generate->get<int64_t>();
  }
  return job;
}

// What one prompt gave.
struct PromptOutput {
  std::vector<float> prompt_logits;     // [T, V]
  std::vector<int32_t> tokens;          // [generate]
  std::vector<float> generated_logits;  // [generate, V]: the row each token was chosen from
};

class LogitsCommand final : public Command {
 public:
  std::string name() const override { return "logits"; }
  std::string summary() const override { return "Write the logits of prompts and greedy continuations"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.value("--tokens", tokens_, R"(JSON file {"prompts": [[ids…], …], "generate": N})");
    options.value("--out", out_, "Safetensors file: logits_i [T,V], tokens_i [N], gen_logits_i [N,V]");
    options.setting("--prefill-chunk", "engine.prefill_chunk");
    options.setting("--sequences", "engine.sequences");
    options.setting("--adapter", "model.adapter");
    options.setting("--receipt", "model.receipt");
    declare_model_options(options);
  }

  int run(Context& context) override {
    if (tokens_.empty() || out_.empty())
      throw UsageError("logits: --tokens FILE.json and --out FILE.safetensors are needed");
    LogitsJob job;
    OpenedModel opened(model_, context.settings, engine::RunUse::kLogits,
                       [&](const model::LoadedModel& model) {
                         job = read_job(tokens_, model.info().vocab_size);
                         return limits_for(job, model.info().vocab_size, context.settings);
                       });
    const std::vector<PromptOutput> outputs = compute(job, opened, context.settings);
    write(job, outputs, opened);
    if (context.json)
      print_json({{"prompts", outputs.size()}, {"out", out_}, {"warnings", opened.model().warnings()}});
    return 0;
  }

 private:
  static engine::RunnerOptions limits_for(const LogitsJob& job, int64_t vocab_size,
                                          const Settings& settings) {
    engine::RunnerOptions limits = runner_options(settings, engine::RunUse::kLogits);
    size_t longest = 0;
    for (const auto& prompt : job.prompts) longest = std::max(longest, prompt.size());
    limits.max_context = static_cast<int64_t>(longest) + job.generate;
    limits.max_sequences = std::min(limits.max_sequences, static_cast<int32_t>(job.prompts.size()));
    limits.max_tokens = std::max(limits.max_tokens, limits.max_sequences);
    const int64_t rows = std::clamp<int64_t>(kMaxLogitsBytes / (vocab_size * 4), 1, limits.max_tokens);
    limits.max_outputs = std::max(static_cast<int32_t>(rows), limits.max_sequences);
    return limits;
  }

  static std::vector<PromptOutput> compute(const LogitsJob& job, OpenedModel& opened,
                                           const Settings& settings) {
    engine::EngineOptions options;
    options.prefill_chunk = static_cast<int32_t>(settings.get_int("engine.prefill_chunk"));
    engine::Engine engine(opened.stack().runner(), options);
    std::vector<PromptOutput> outputs(job.prompts.size());
    std::vector<engine::RequestId> ids;
    for (size_t i = 0; i < job.prompts.size(); ++i)
      ids.push_back(submit(engine, job.prompts[i], job.generate, opened.adapter(), outputs[i]));
    engine.run_all();
    for (size_t i = 0; i < ids.size(); ++i) {
      auto result = engine.take_result(ids[i]);
      if (result->reason == engine::FinishReason::kError)
        throw_error(ErrorCode::kInternal, "{}", result->error);
      outputs[i].tokens = std::move(result->tokens);
    }
    return outputs;
  }

  static engine::RequestId submit(engine::Engine& engine, const std::vector<int32_t>& prompt,
                                  int64_t generate, const std::shared_ptr<const engine::Adapter>& adapter,
                                  PromptOutput& output) {
    engine::Request request;
    request.adapter = adapter;
    request.prompt = prompt;
    request.max_tokens = generate;
    request.sampling.temperature = 0;
    request.on_prompt_logits = [&output](const engine::PromptLogits& logits) {
      output.prompt_logits.insert(output.prompt_logits.end(), logits.rows.begin(), logits.rows.end());
    };
    request.on_token_logits = [&output](std::span<const float> row) {
      output.generated_logits.insert(output.generated_logits.end(), row.begin(), row.end());
    };
    return engine.submit(std::move(request));
  }

  void write(const LogitsJob& job, const std::vector<PromptOutput>& outputs, OpenedModel& opened) const {
    const int64_t vocab_size = opened.stack().runner().vocab_size();
    std::vector<model::SafetensorsEntry> entries;
    const auto add = [&](const std::string& name, size_t i, llmh_dtype dtype, std::vector<int64_t> shape,
                         const auto& data) {
      entries.push_back(
          {fmt::format("{}_{}", name, i), dtype, std::move(shape), std::as_bytes(std::span(data))});
    };
    for (size_t i = 0; i < outputs.size(); ++i) {
      const auto n_prompt = static_cast<int64_t>(job.prompts[i].size());
      const auto n_tokens = static_cast<int64_t>(outputs[i].tokens.size());
      add("logits", i, LLMH_DTYPE_F32, {n_prompt, vocab_size}, outputs[i].prompt_logits);
      add("tokens", i, LLMH_DTYPE_I32, {n_tokens}, outputs[i].tokens);
      add("gen_logits", i, LLMH_DTYPE_F32, {n_tokens, vocab_size}, outputs[i].generated_logits);
    }
    std::map<std::string, std::string> metadata;
    if (const auto& warnings = opened.model().warnings(); !warnings.empty())
      metadata["warnings"] = Json(warnings).dump(-1, ' ', false, Json::error_handler_t::replace);
    model::write_safetensors(out_, std::move(entries), metadata);
  }

  std::string model_, tokens_, out_;
};

}  // namespace

std::unique_ptr<Command> make_logits_command() {
  return std::make_unique<LogitsCommand>();
}

}  // namespace llmhost::cli
