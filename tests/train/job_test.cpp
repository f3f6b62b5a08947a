// Job files: what they say, and what is wrong with them.
#include "train/job.h"

#include <doctest/doctest.h>

#include <string>

#include "core/error.h"
#include "core/file.h"

namespace llmhost::train {
namespace {

const std::string kJob =
    "model: base\n"
    "output: /out\n"
    "method: {name: lora, r: 16}\n"
    "data: {train: rows.jsonl}\n";

JobFile parse(const std::string& yaml, const std::vector<std::string>& more = {}) {
  return parse_job(yaml, "job.yaml", "/jobs", Settings(job_schema()), more);
}

void refuses(const std::string& yaml, const std::string& expected) {
  try {
    parse(yaml);
    FAIL("taken: ", yaml);
  } catch (const UsageError& error) {
    CHECK_MESSAGE(std::string(error.what()).find(expected) != std::string::npos, error.what());
  }
}

TEST_CASE("paths are relative to the file, defaults are those of the schema") {
  const Job job =
      parse(kJob + "log: {trace: t.jsonl, plot: auto}\ntraining: {scheduler: linear, warmup_steps: 3}\n").job;
  CHECK(job.model == "/jobs/base");
  CHECK(job.output == "/out");
  CHECK(job.train_data == "/jobs/rows.jsonl");
  CHECK(job.trace == "/jobs/t.jsonl");
  CHECK(parse(kJob + "trace: a.jsonl\n").job.trace == "/jobs/a.jsonl");
  CHECK(job.plot == "/out/loss.svg");
  CHECK(job.method == "lora");
  CHECK(job.method_settings.find("r")->text == "16");
  CHECK(job.schedule.name == "linear");
  CHECK(job.schedule.warmup_steps == 3);
  CHECK(job.optimizer.lr == 2e-4);
  CHECK(job.dataset.format == DataFormat::kAuto);
}

TEST_CASE("settings of the method come from the command line too, and the method may be a name alone") {
  CHECK(parse(kJob, {"r=4", "target_modules=[a, b]"}).job.method_settings.find("r")->text == "4");
  CHECK(parse(kJob, {"target_modules=[a, b]"}).job.method_settings.find("target_modules")->items.size() == 2);
  CHECK(parse("model: m\noutput: o\nmethod: full\ndata: {train: t}\n").job.method == "full");
}

// The sections that are a job's own.
std::string own_keys() {
  ConfigSchema own;
  for (const ConfigKey& key : job_schema().keys())
    for (const char* section : {"data.", "training.", "log."})
      if (key.path.starts_with(section) && key.path != "log.level") own.add_key(key);
  return describe(own);
}

TEST_CASE("docs/finetuning.md lists the keys that there are") {
  const std::string page = read_file(std::string(LLMHOST_TEST_DATA) + "/../../docs/finetuning.md");
  const std::string begin = "<!-- job keys: begin -->\n";
  const size_t at = page.find(begin) + begin.size();
  CHECK_MESSAGE(page.substr(at, page.find("<!-- job keys: end -->") - at) == own_keys(),
                "the table should be:\n", own_keys());
}

TEST_CASE("what is wrong is told with line, column and what was meant") {
  refuses(kJob + "trainning: {}\n", "job.yaml:5:1: unknown key 'trainning'; did you mean 'training'?");
  refuses(kJob + "training: {lr: 1}\n",
          "job.yaml:5:12: unknown key 'training.lr'; it is called 'training.learning_rate' here");
  refuses(kJob + "training: {momentum: 0.9}\n",
          "job.yaml:5:12: training.momentum means nothing with training.optimizer adamw");
  refuses(kJob + "training: {power: 2}\n", "means nothing with training.scheduler cosine");
  refuses(kJob + "training: {micro_batch_tokens: 64}\n", "an example must fit");
  refuses(kJob + "trace: a\nlog: {trace: b}\n", "job.yaml:5:8: 'trace' is log.trace");
  refuses(kJob + "training: {scheduler: cosin}\n", "training.scheduler");
  refuses(kJob + "training: {max_steps: -1}\n", "training.max_steps");
  refuses("model: m\noutput: o\ndata: {train: t}\n", "'method' is missing");
  refuses("model: m\noutput: o\nmethod: {r: 3}\ndata: {train: t}\n", "method has no name");
  refuses("output: o\nmethod: lora\ndata: {train: t}\n", "'model' is missing");
  refuses("model: m\noutput: o\nmethod: lora\n", "'data.train' is missing");
  refuses(kJob + "training: {patience: 2}\n", "needs evaluation data");
  refuses(kJob + "training: {batch_tokens: 2}\n", "needs data.packing");
  refuses("[]", "expected a job");
}

TEST_CASE("the hash tells jobs apart by what decides their result") {
  const std::string hash = parse(kJob).job.hash();
  CHECK(hash == parse(kJob + "log: {trace: t.jsonl}\n").job.hash());
  CHECK(hash == parse(kJob + "training: {checkpoint_every: 3, gradient_checkpointing: true}\n").job.hash());
  for (const char* more :
       {"training: {seed: 1}\n", "training: {learning_rate: 1}\n", "training: {weight_decay: 1}\n",
        "training: {dtype: bf16}\n", "training: {warmup_steps: 1}\n"})
    CHECK(hash != parse(kJob + more).job.hash());
  CHECK(hash != parse(kJob, {"r=4"}).job.hash());
}

}  // namespace
}  // namespace llmhost::train
