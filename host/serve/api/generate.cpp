// POST /generate, /generate_stream, /: as servers of LoRA adapters have them.
#include "serve/api/endpoints.h"
#include "serve/api/prompts.h"
#include "serve/api/structured_output.h"
#include "serve/api/writers.h"

namespace llmhost::serve {
namespace {

struct GenerateRequest {
  CheckedBody body;
  CheckedBody parameters;
  bool stream = false;
  bool as_list = false;
};

// Without a word on sampling the most probable tokens are taken.
bool samples(const CheckedBody& parameters) {
  return parameters.flag("do_sample", false) || parameters.find("temperature") != nullptr ||
         parameters.find("top_k") != nullptr || parameters.find("top_p") != nullptr;
}

TextOptions generate_options(const GenerateRequest& request, const ServedModel& model) {
  TextOptions options = options_for(kGenerateParametersBody, request.parameters, model);
  if (!samples(request.parameters))
    options.sampling.temperature = 0;
  else if (request.parameters.find("temperature") == nullptr)
    options.sampling.temperature = 1;
  options.stream = request.stream;
  const bool details = request.parameters.flag("details", false) || request.stream;
  options.sampling.logprobs = details;
  const auto alternatives = request.parameters.integer("return_k_alternatives", 0);
  if (details) options.sampling.top_logprobs = static_cast<int32_t>(alternatives);
  options.prompt_logprobs = options.prompt_logprobs && details;
  if (options.prompt_logprobs && request.stream)
    throw bad_field("decoder_input_details", "needs the whole answer: no stream");
  if (options.best_of > 1 && options.sampling.seed) throw bad_field("seed", "excludes best_of above 1");
  if (options.best_of > 1 && !samples(request.parameters)) throw bad_field("best_of", "needs sampling");
  return options;
}

void run_generate(const std::shared_ptr<Call>& call, const GenerateRequest& request, ModelUse use) {
  const ServedModel& model = *use.model;
  GenerationPlan plan;
  AnswerFacts& facts = plan.facts;
  facts.id = answer_id("gen-", *call);
  facts.created = unix_time();
  facts.model = use.shown_name();
  facts.options = generate_options(request, model);
  facts.ignored = request.body.ignored;
  for (const std::string& name : request.parameters.ignored) facts.ignored.push_back("parameters." + name);
  facts.prompt_field = "inputs";
  facts.prompts = read_prompts(model, *request.body.find("inputs"), facts.prompt_field,
                               request.parameters.integer("truncate", 0));
  plan.grammar =
      compile_form(generate_form(request.parameters), *call->context().grammars, "response_format");
  GenerateForm form;
  form.details = request.parameters.flag("details", false);
  form.prompt_details = facts.options.prompt_logprobs;
  form.as_list = request.as_list;
  form.full_text = facts.options.echo;
  form.alternatives = facts.options.sampling.top_logprobs;
  form.tells_seed = samples(request.parameters);
  plan.writer = make_generate_writer(form);
  facts.use = std::move(use);
  start_generation(call, std::move(plan));
}

enum class Answer { kWhole, kStream, kAsAsked };

void answer_generate(const std::shared_ptr<Call>& call, Answer answer) {
  auto request = std::make_shared<GenerateRequest>();
  request->body = check_body(kGenerateBody, call->request().body, call->compat());
  const OrderedJson* parameters = request->body.find("parameters");
  request->parameters = check_object(
      kGenerateParametersBody, parameters == nullptr ? OrderedJson::object() : *parameters, call->compat());
  const bool asked = request->body.flag("stream", false);
  request->stream = answer == Answer::kStream || (answer == Answer::kAsAsked && asked);
  request->as_list = answer == Answer::kAsAsked;
  AdapterChoice adapter{request->parameters.text("adapter_id"), nullptr};
  if (const OrderedJson* merged = request->parameters.find("merged_adapters")) {
    if (!adapter.name.empty()) throw bad_field("merged_adapters", "excludes adapter_id");
    adapter.merged = *merged;
  }
  with_model(call, request->body.text("model"), std::move(adapter),
             [call, request](ModelUse use) { run_generate(call, *request, std::move(use)); });
}

}  // namespace

void generate(const std::shared_ptr<Call>& call) {
  answer_generate(call, Answer::kWhole);
}

void generate_stream(const std::shared_ptr<Call>& call) {
  answer_generate(call, Answer::kStream);
}

void generate_either(const std::shared_ptr<Call>& call) {
  answer_generate(call, Answer::kAsAsked);
}

}  // namespace llmhost::serve
