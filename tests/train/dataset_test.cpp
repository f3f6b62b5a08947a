// From files to tokens and labels, with the tokenizer and template of a tiny model.
#include "train/dataset.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "support/paths.h"
#include "support/temp_dir.h"
#include "train/example_maker.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kVocabulary = 320;
constexpr int32_t kEnd = 2;  // <|im_end|>

const fs::path& model() {
  static const fs::path path = test::data("models/tiny_chat");
  return path;
}

class Files {
 public:
  fs::path write(const std::string& name, const std::string& text) const {
    const fs::path path = folder_.path() / name;
    std::ofstream(path) << text;
    return path;
  }
  Dataset load(const std::string& name, const std::string& text, const DatasetOptions& options = {}) const {
    return load_dataset(write(name, text), model(), options, kVocabulary);
  }
  std::string fault(const std::string& name, const std::string& text,
                    const DatasetOptions& options = {}) const {
    try {
      load(name, text, options);
    } catch (const Error& error) {
      const std::string what = error.what();
      const std::string folder = folder_.path().string() + "/";
      return what.starts_with(folder) ? what.substr(folder.size()) : what;
    }
    return "taken";
  }
  const fs::path& folder() const { return folder_.path(); }

 private:
  test::TempDir folder_;
};

// The text with what is learnt in brackets.
std::string marked(const Example& example) {
  static const auto tokenizer = text::load_tokenizer(model());
  std::string out;
  for (size_t i = 0; i < example.ids.size(); ++i) {
    const bool is_learnt = example.labels[i] != kNoLabel;
    if (is_learnt) CHECK(example.labels[i] == example.ids[i]);
    const bool was_learnt = i > 0 && example.labels[i - 1] != kNoLabel;
    if (is_learnt && !was_learnt) out += "[[";
    if (!is_learnt && was_learnt) out += "]]";
    out += tokenizer->decode(std::span(&example.ids[i], 1));
  }
  return !example.labels.empty() && example.labels.back() != kNoLabel ? out + "]]" : out;
}

const std::string kMessages =
    R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."}, {"role": "user", "content": "Three?\nYes?"},
        {"role": "assistant", "content": "Four."}]})";
const std::string kMarked =
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
    "[[Two.<|im_end|>]]\n<|im_start|>user\nThree?\nYes?<|im_end|>\n<|im_start|>assistant\n[[Four.<|im_end|>]]"
    "\n";

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

TEST_CASE("one conversation in every form and every kind of file is the same tokens and labels") {
  const Files files;
  const Dataset base = files.load("m.jsonl", one_line(kMessages));
  REQUIRE(base.examples.size() == 1);
  CHECK(base.format == DataFormat::kMessages);
  CHECK(marked(base.examples[0]) == kMarked);
  const std::string alpaca =
      R"({"instruction": "Three?", "input": "Yes?", "output": "Four.", "system": "Be brief.", "history": [["One?", "Two."]]})";
  const std::string sharegpt =
      R"({"system": "Be brief.", "conversations": [{"from": "human", "value": "One?"}, {"from": "gpt", "value": "Two."},
          {"from": "human", "value": "Three?\nYes?"}, {"from": "gpt", "value": "Four."}]})";
  const std::string parts =
      R"({"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "One?"},
          {"role": "assistant", "content": "Two."}, {"role": "user", "content": [{"type": "text", "text": "Three?"},
          {"type": "text", "text": "Yes?"}]}, {"role": "assistant", "content": "Four."}]})";
  std::vector<int32_t> ids = base.examples[0].ids, labels = base.examples[0].labels;
  ids.insert(ids.end(), {0, 0});
  labels.insert(labels.end(), {kNoLabel, kNoLabel});
  std::vector<int> mask(ids.size() - 2, 1);
  mask.insert(mask.end(), {0, 0});
  const std::string tokens =
      OrderedJson{{"input_ids", ids}, {"labels", labels}, {"attention_mask", mask}}.dump();
  const std::string csv =
      "instruction,input,output,system,history\r\nThree?,Yes?,Four.,Be brief.,\"[[\"\"One?\"\", "
      "\"\"Two.\"\"]]\"\r\n";
  const std::string text_prompt = kMarked.substr(0, kMarked.find("[["));
  const std::string segments = OrderedJson{
      {"segments",
       {{{"text", text_prompt}, {"label", false}},
        {{"text", "Two.<|im_end|>"}, {"label", true}},
        {{"text", "\n<|im_start|>user\nThree?\nYes?<|im_end|>\n<|im_start|>assistant\n"}, {"label", false}},
        {{"text", "Four.<|im_end|>"}, {"label", true}},
        {{"text", "\n"},
         {"label", false}}}}}.dump();
  DatasetOptions plain;
  plain.add_eos = false;
  for (const Dataset& other :
       {files.load("a.json", "[" + alpaca + "]"), files.load("s.json", "{\"data\": [" + sharegpt + "]}"),
        files.load("p.jsonl", one_line(parts)), files.load("t.jsonl", tokens), files.load("a.csv", csv),
        files.load("seg.jsonl", segments, plain)}) {
    REQUIRE(other.examples.size() == 1);
    CHECK(other.examples[0].ids == base.examples[0].ids);
    CHECK(other.examples[0].labels == base.examples[0].labels);
    CHECK(other.hash == base.hash);
  }
}

TEST_CASE("the tokens before an answer are those of a server's prompt") {
  const Files files;
  const Example example = files.load("m.jsonl", one_line(kMessages)).examples[0];
  const ExampleMaker maker(model(), {});
  OrderedJson messages = OrderedJson::parse(kMessages)["messages"];
  for (const size_t n : {4, 2}) {
    while (messages.size() > n) messages.erase(messages.size() - 1);
    const auto prompt = maker.tokenizer().encode(maker.chats()->prompt(messages, {}), {.add_special = false});
    REQUIRE(prompt.size() < example.ids.size());
    CHECK(std::equal(prompt.begin(), prompt.end(), example.ids.begin()));
    CHECK(example.labels[prompt.size() - 1] == kNoLabel);
    CHECK(example.labels[prompt.size()] == example.ids[prompt.size()]);
  }
}

TEST_CASE("prompts that are lists, answers that are only read, loss on everything") {
  const Files files;
  const Dataset lists = files.load(
      "p.jsonl",
      R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]})");
  CHECK(marked(lists.examples[0]) ==
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
        "<|im_start|>assistant\n[[d<|im_end|>]]\n");
  DatasetOptions all;
  all.loss_on = LossOn::kAll;
  const Dataset whole = files.load("m.jsonl", one_line(kMessages), all);
  CHECK(whole.examples[0].labels == whole.examples[0].ids);
  DatasetOptions last;
  last.loss_on = LossOn::kLast;
  const Dataset end = files.load("m.jsonl", one_line(kMessages), last);
  CHECK(end.examples[0].ids == whole.examples[0].ids);
  std::string only_last = kMarked;
  for (const char* mark : {"[[", "]]"}) only_last.erase(only_last.find(mark), 2);
  CHECK(marked(end.examples[0]) == only_last);
}

TEST_CASE("names of roles in the wild; calls and results are told from what is said") {
  const Files files;
  const fs::path chat = files.write(
      "t.jinja",
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.tool_calls %}{% for c in m.tool_calls %}"
      "{{ c.function.name }}({{ c.function.arguments.x }}){% endfor %}{% else %}{{ m.content }}{% endif %}"
      "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  DatasetOptions options;
  options.chat_template = chat.string();
  const Dataset data = files.load(
      "s.jsonl",
      R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "u"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 7}}"}, {"from": "observation", "value": "o"}, {"from": "gpt", "value": "g"}]})",
      options);
  CHECK(marked(data.examples.at(0)) ==
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n"
        "[[f(7)<|im_end|>]]\n<|im_start|>tool\no<|im_end|>\n<|im_start|>assistant\n[[g<|im_end|>]]\n");
  const Dataset alpaca = files.load("a.csv", "instruction,input,output\na,,b\na,i,b\n");
  REQUIRE(alpaca.examples.size() == 2);
  CHECK(marked(alpaca.examples[0]) ==
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[[b<|im_end|>]]\n");
  CHECK(marked(alpaca.examples[1]) ==
        "<|im_start|>user\na\ni<|im_end|>\n<|im_start|>assistant\n[[b<|im_end|>]]\n");
}

TEST_CASE("prompt and completion as texts: the boundary is a server's, the end is learnt") {
  const Files files;
  const Dataset data = files.load("p.jsonl", R"({"prompt": "What is\n", "completion": "\nthe sea?"})");
  // Whole, the two line feeds are one token.
  CHECK(marked(data.examples[0]) == "What is\n[[\nthe sea?<|im_end|>]]");
  CHECK(data.examples[0].ids.back() == kEnd);
}

TEST_CASE("plain text is cut into windows; what they share is learnt once") {
  const Files files;
  std::string text;
  for (int i = 0; i < 60; ++i) text += "The sea is wide. ";
  DatasetOptions options;
  options.max_length = 50;
  options.stride = 10;
  const Dataset data = files.load("t.txt", text, options);
  REQUIRE(data.examples.size() > 4);
  CHECK(data.format == DataFormat::kText);
  const auto whole = text::load_tokenizer(model())->encode(text);
  int64_t learnt = 0;
  for (size_t i = 0; i < data.examples.size(); ++i) {
    const Example& window = data.examples[i];
    CHECK(window.ids.size() <= 50);
    for (size_t k = 0; k < window.ids.size(); ++k) {
      const size_t at = i * 40 + k;
      CHECK(window.ids[k] == (at < whole.size() ? whole[at] : kEnd));
      learnt += window.labels[k] != kNoLabel ? 1 : 0;
    }
  }
  CHECK(learnt == static_cast<int64_t>(whole.size()) + 1);
}

TEST_CASE("rows that are too long are cut, left out or refused; rows without anything to learn are told") {
  const Files files;
  const std::string rows = R"({"prompt": "The sea is wide and the wind is cold.", "completion": "Yes."})"
                           "\n"
                           R"({"prompt": "a", "completion": "b"})";
  DatasetOptions options;
  options.max_length = 10;
  const Dataset cut = files.load("p.jsonl", rows, options);
  CHECK(cut.n_truncated == 1);
  CHECK(cut.n_without_targets == 1);
  CHECK(cut.examples.size() == 1);
  REQUIRE(cut.notes.size() == 1);
  CHECK(cut.notes[0].find("p.jsonl:1: nothing in it is learnt") != std::string::npos);
  options.too_long = TooLong::kSkip;
  const Dataset skipped = files.load("p.jsonl", rows, options);
  CHECK(skipped.n_skipped == 1);
  CHECK(skipped.n_rows == 2);
  options.too_long = TooLong::kRefuse;
  CHECK(files.fault("p.jsonl", rows, options).find("p.jsonl:1: ") == 0);
}

TEST_CASE("mixed, unknown and wrong rows are refused with file, line and fields") {
  const Files files;
  const auto fault = [&](const std::string& rows) { return files.fault("f.jsonl", rows); };
  CHECK(fault("{\"question\": \"a\", \"answer\": \"b\"}\n")
            .find("f.jsonl:1: the row is of no known form; it has 'question', 'answer'") == 0);
  CHECK(fault("{\"text\": \"a\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n")
            .find("f.jsonl:2: the row is of the form prompt_completion, the first one") == 0);
  CHECK(fault("{\"text\": \"a\"}\n{\"txt\": \"b\"}\n") == "f.jsonl:2: there is no 'text'; the row has 'txt'");
  CHECK(fault("{\"messages\": [{\"role\": \"usr\", \"content\": \"a\"}]}")
            .find("f.jsonl:1: messages[0]: the role is 'usr'") == 0);
  CHECK(fault("{\"messages\": [{\"role\": \"user\", \"text\": \"a\"}]}")
            .find("f.jsonl:1: messages[0]: has neither content nor value; it has 'role', 'text'") == 0);
  CHECK(fault("{\"messages\": []}").find("f.jsonl:1: messages is empty") == 0);
  CHECK(fault("{\"input_ids\": [1, 320]}") ==
        "f.jsonl:1: token 320 at position 1 is none of the model's 320");
  CHECK(fault("{\"input_ids\": [1, 2], \"labels\": [1]}")
            .find("f.jsonl:1: labels has 1 entries, input_ids has 2") == 0);
  CHECK(fault("{\"input_ids\": [1, 2], \"attention_mask\": [1, 2]}")
            .find("f.jsonl:1: attention_mask[1] is 2") == 0);
  CHECK(fault("{\"input_ids\": [1, 2.5]}").find("f.jsonl:1: input_ids[1] is 2.5") == 0);
  CHECK(fault("").find("there are no rows") != std::string::npos);
  DatasetOptions alpaca;
  alpaca.format = DataFormat::kAlpaca;
  CHECK(files.fault("f.jsonl", "{\"text\": \"a\"}", alpaca) ==
        "f.jsonl:1: there is no 'instruction'; the row has 'text'");
}

TEST_CASE("conversations that the template refuses: the job ends, or the rows are left out and told") {
  const Files files;
  const fs::path chat =
      files.write("t.jinja",
                  "{% for m in messages %}{% if m.content == 'x' %}{{ raise_exception('Not this.') }}"
                  "{% endif %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
                  "{% if add_generation_prompt %}assistant: {% endif %}");
  DatasetOptions options;
  options.chat_template = chat.string();
  const std::string rows = R"({"instruction": "x", "output": "b"})"
                           "\n"
                           R"({"instruction": "a", "output": "b"})";
  CHECK(files.fault("f.jsonl", rows, options) == "f.jsonl:1: Not this.");
  options.bad_rows = BadRow::kSkip;
  const Dataset data = files.load("f.jsonl", rows, options);
  CHECK(data.n_bad == 1);
  CHECK(marked(data.examples.at(0)) == "user: a<|im_end|>assistant: [[b<|im_end|>]]");
}

TEST_CASE("a share for evaluation is the same for a seed, and nothing is lost") {
  const Files files;
  std::string rows;
  for (int i = 0; i < 40; ++i) rows += fmt::format("{{\"prompt\": \"{}\", \"completion\": \"{}\"}}\n", i, i);
  Dataset a = files.load("f.jsonl", rows), b = files.load("f.jsonl", rows);
  const Dataset held = split_off(a, 0.25, 7), again = split_off(b, 0.25, 7);
  CHECK(held.examples.size() == 10);
  CHECK(a.examples.size() == 30);
  CHECK(held.hash == again.hash);
  CHECK(a.hash == b.hash);
  Dataset c = files.load("f.jsonl", rows);
  CHECK(split_off(c, 0.25, 8).hash != held.hash);
  Dataset one = files.load("f.jsonl", "{\"text\": \"abc\"}");
  CHECK_THROWS_AS(split_off(one, 0.5, 0), Error);
}

TEST_CASE("files of a folder may have forms of their own") {
  const Files files;
  files.write("a.jsonl", "{\"text\": \"abc\"}");
  files.write("b.csv", "instruction,output\na,b\n");
  const Dataset data = load_dataset(files.folder(), model(), {}, kVocabulary);
  CHECK(data.examples.size() == 2);
  CHECK(data.n_rows == 2);
}

}  // namespace
}  // namespace llmhost::train
