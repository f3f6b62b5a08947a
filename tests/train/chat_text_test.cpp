// Where the answers of a conversation are, in what real chat templates make of it.
#include "train/chat_text.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "support/paths.h"
#include "train/messages.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

// What ends a generation in one model family or another; the other marks of a template are controls.
const std::set<std::string> kStops = {
    "<|im_end|>",      "<|eot_id|>",      "<|end|>",       "<end_of_turn>", "<|eom_id|>",
    "<|return|>",      "<|call|>",        "<|endoftext|>", "</s>",          "<|END_OF_TURN_TOKEN|>",
    "<|user|>",        "<|observation|>", "<|eot|>",       "<turn|>",       "<|end_of_text|>",
    "<|tool_response>"};

std::set<std::string> marks_of(const std::string& source) {
  static const std::regex kMark(
      "<\\|[^|<> ]+\\|>|</?s>|<[a-z]+_of_turn>|<\xEF\xBD\x9C[^<> "
      "]*\xEF\xBD\x9C>|\\[/?[A-Z_]+\\]|<\\|[a-z_]+>|<[a-z_]+\\|>");
  std::set<std::string> marks;
  for (std::sregex_iterator it(source.begin(), source.end(), kMark), end; it != end; ++it)
    marks.insert(it->str());
  return marks;
}

ChatWriter writer_of(const std::string& source, const OrderedJson& special_tokens = OrderedJson::object()) {
  std::set<std::string> marks = marks_of(source);
  if (special_tokens.contains("eos_token")) marks.insert(special_tokens["eos_token"].get<std::string>());
  TurnEnds ends;
  for (const std::string& mark : marks) {
    const bool is_stop = kStops.contains(mark) ||
                         (special_tokens.contains("eos_token") && special_tokens["eos_token"] == mark);
    if (!mark.empty()) (is_stop ? ends.stops : ends.controls).push_back(mark);
  }
  return ChatWriter({source, "template", "", special_tokens}, std::move(ends), "2024-07-26");
}

Sample sample_of(const char* messages) {
  Sample sample;
  add_messages(OrderedJson::parse(messages), "messages", sample);
  return sample;
}

std::string marked(const ChatText& chat) {
  std::string out;
  size_t at = 0;
  for (const TextSpan& span : chat.answers) {
    out += chat.text.substr(at, span.begin - at) + "[[" +
           chat.text.substr(span.begin, span.end - span.begin) + "]]";
    at = span.end;
  }
  return out + chat.text.substr(at);
}

struct RealTemplates {
  fs::path folder = test::data("template/templates");
  OrderedJson index = OrderedJson::parse(read_file(folder / "index.json"));

  ChatWriter writer(const std::string& name) const {
    OrderedJson tokens =
        index.contains(name) ? index[name].value("special_tokens", OrderedJson()) : OrderedJson();
    if (!tokens.is_object()) tokens = OrderedJson::object();
    return writer_of(read_file(folder / (name + ".jinja")), tokens);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".jinja") all.push_back(entry.path().stem().string());
    std::sort(all.begin(), all.end());
    return all;
  }
};

constexpr const char* kTwoTurns = R"([{"role": "user", "content": "USR0 hi"},
  {"role": "assistant", "content": "ANS1 hello."}, {"role": "user", "content": "USR2 more"},
  {"role": "assistant", "content": "ANS3 done"}])";
constexpr const char* kSpaces = R"([{"role": "user", "content": " USR0 hi\n"},
  {"role": "assistant", "content": "  ANS1 hello. \n\n"}, {"role": "user", "content": "\n USR2 "},
  {"role": "assistant", "content": "\nANS3 done  "}])";
constexpr const char* kThinking = R"([{"role": "user", "content": "USR0 hi"},
  {"role": "assistant", "content": "<think>\nreason one\n</think>\n\nANS1 hello."},
  {"role": "user", "content": "USR2 more"},
  {"role": "assistant", "content": "<think>\nreason two\n</think>\n\nANS3 done"}])";
constexpr const char* kReasoning = R"([{"role": "user", "content": "USR0 hi"},
  {"role": "assistant", "reasoning_content": "reason one", "content": "ANS1 hello."},
  {"role": "user", "content": "USR2 more"},
  {"role": "assistant", "reasoning_content": "reason two", "content": "ANS3 done"}])";
constexpr const char* kCalls = R"([{"role": "user", "content": "USR0 weather?"},
  {"role": "assistant", "content": "", "tool_calls": [{"id": "call00001", "type": "function",
    "function": {"name": "get_ANS1", "arguments": "{\"city\": \"Paris\"}"}}]},
  {"role": "tool", "name": "get_ANS1", "tool_call_id": "call00001", "content": "RES2 sunny"},
  {"role": "assistant", "content": "ANS3 It is sunny"}, {"role": "user", "content": "USR4 thanks"},
  {"role": "assistant", "content": "ANS5 bye"}])";
constexpr const char* kCallBesideText = R"([{"role": "user", "content": "USR0 weather?"},
  {"role": "assistant", "content": "ANS1 let me see", "tool_calls": [{"id": "call00001", "type": "function",
    "function": {"name": "get_ANS1", "arguments": "{\"city\": \"Paris\"}"}}]},
  {"role": "tool", "name": "get_ANS1", "tool_call_id": "call00001", "content": "RES2 sunny"},
  {"role": "assistant", "content": "ANS3 It is sunny"}])";
constexpr const char* kTool =
    R"([{"type": "function", "function": {"name": "get_ANS1", "description": "weather",
  "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}, "required": ["city"]}}}])";

// What is wrong with the answers of a sample whose texts are told apart by the words USR, ANS and RES.
std::string faults(const Sample& sample, const ChatText& chat) {
  std::string out;
  size_t k = 0, after = 0;
  for (size_t i = 0; i < sample.messages.size(); ++i) {
    if (!sample.is_learnt[i]) continue;
    if (k == chat.answers.size()) return "too few answers";
    const TextSpan span = chat.answers[k++];
    const std::string shown = chat.text.substr(span.begin, span.end - span.begin);
    if (span.begin < after) out += " overlaps";
    after = span.end;
    if (shown.find(fmt::format("ANS{}", i)) == std::string::npos) out += fmt::format(" ANS{} is missing", i);
    for (const char* other : {"USR", "RES2", "SYS"})
      if (shown.find(other) != std::string::npos) out += fmt::format(" {} in answer {}", other, i);
    const size_t word = shown.find("ANS");
    if (shown.find("ANS", word + 3) != std::string::npos && !sample.messages[i].contains("tool_calls"))
      out += fmt::format(" two answers in {}", i);
  }
  return k == chat.answers.size() ? out : out + " too many answers";
}

struct Counts {
  int found = 0, refused = 0, unclear = 0;
};

Counts try_all(const Sample& sample) {
  const RealTemplates templates;
  Counts counts;
  for (const std::string& name : templates.names()) {
    CAPTURE(name);
    try {
      const ChatText chat = templates.writer(name).write(sample);
      CHECK_MESSAGE(faults(sample, chat) == "", marked(chat));
      ++counts.found;
    } catch (const Error& error) {
      const std::string what = error.what();
      const bool is_unclear = what.find("cannot be told") != std::string::npos;
      CHECK_MESSAGE(!is_unclear, what);
      ++(is_unclear ? counts.unclear : counts.refused);
    }
  }
  return counts;
}

TEST_CASE("answers in all real templates: texts, spaces, reasoning, calls") {
  // Templates that must have tools, or calls, or alternating roles refuse the others by themselves.
  for (const char* messages : {kTwoTurns, kSpaces, kThinking, kReasoning}) {
    const Counts counts = try_all(sample_of(messages));
    CHECK(counts.found >= 117);
    CHECK(counts.unclear == 0);
  }
  Sample calls = sample_of(kCalls);
  calls.tools = OrderedJson::parse(kTool);
  const Counts counts = try_all(calls);
  CHECK(counts.found >= 61);
  CHECK(counts.unclear == 0);
}

std::string shown(const char* name, const char* messages) {
  Sample sample = sample_of(messages);
  if (std::string_view(messages).find("tool_calls") != std::string_view::npos)
    sample.tools = OrderedJson::parse(kTool);
  std::string text = marked(RealTemplates().writer(name).write(sample));
  return text.substr(std::min(text.find("USR0"), text.size()));
}

TEST_CASE("an answer goes from the end of the prompt to the token that ends the turn") {
  CHECK(shown("smollm2-135m-instruct", kTwoTurns) ==
        "USR0 hi<|im_end|>\n<|im_start|>assistant\n[[ANS1 hello.<|im_end|>]]\n<|im_start|>user\nUSR2 "
        "more<|im_end|>\n"
        "<|im_start|>assistant\n[[ANS3 done<|im_end|>]]\n");
  // This one trims texts, and has line feeds and indents of its own between the turns.
  CHECK(shown("cz-llama-2-chat", kSpaces) ==
        "USR0 hi [/INST]\n[[\n\n         ANS1 hello. </s>]]\n\n\n        <s>[INST] USR2 [/INST]\n"
        "[[\n\n         ANS3 done </s>]]\n");
  // The text behind the last turn is the template's own.
  CHECK(shown("phi-3-mini-4k-instruct", kTwoTurns) ==
        "USR0 hi<|end|>\n<|assistant|>\n[[ANS1 hello.<|end|>]]\n<|user|>\nUSR2 more<|end|>\n<|assistant|>\n"
        "[[ANS3 done<|end|>]]\n<|endoftext|>");
}

// Their prompts end by other white space than what stands before an answer.
TEST_CASE("what asks for an answer is not in it") {
  CHECK(shown("cz-vicuna", kTwoTurns) ==
        "USR0 hi\n\n\n        ASSISTANT:[[ ANS1 hello.</s>]]\n\n\n        USER: USR2 more\n\n\n        "
        "ASSISTANT:[[ ANS3 done</s>]]\n\n\n");
  const RealTemplates templates;
  for (const std::string& name : templates.names()) {
    CAPTURE(name);
    if (read_file(templates.folder / (name + ".jinja")).find("endgeneration") != std::string::npos) continue;
    std::string text;
    try {
      text = shown(name.c_str(), kTwoTurns);
    } catch (const Error&) {
      continue;
    }
    for (const char* opening : {"ssistant", "SSISTANT", "Response:", "CHATBOT_TOKEN", "model\n"})
      for (size_t at = text.find("[["); at != std::string::npos; at = text.find("[[", at + 1))
        CHECK_MESSAGE(text.substr(at, text.find("]]", at) - at).find(opening) == std::string::npos, text);
  }
}

TEST_CASE("an answer that calls ends where its turn does, whatever shows its result") {
  const auto has = [](const char* name, const std::string& part) {
    const std::string text = shown(name, kCalls);
    CHECK_MESSAGE(text.find(part) != std::string::npos, text);
  };
  // Writes the last call of all without its id.
  has("Apriel-1.6-15b-Thinker-fixed",
      "[[\n<tool_calls>[{\"name\": \"get_ANS1\", \"arguments\": {\"city\": \"Paris\"}, \"id\": "
      "\"call00001\"}]</tool_calls>\n<|end|>]]");
  // Ends a call by no token, and goes on with instructions.
  has("CohereForAI-c4ai-command-r-plus-tool_use", "]```]]\n<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><results>");
  // Has the token that begins a turn inside, too.
  has("Kimi-K3", "<|close|>tools<|sep|><|close|>message<|sep|><|end_of_msg|>]]");
  // Shows the result in the turn of the call.
  has("google-gemma-4-31B-it",
      "[[<|tool_call>call:get_ANS1{city:<|\"|>Paris<|\"|>}<tool_call|><|tool_response>]]response:");
  // Shows the tools and the system's text before the last question only.
  has("mistralai-Mistral-Nemo-Instruct-2407", "USR0 weather?[/INST][[[TOOL_CALLS][{\"name\": \"get_ANS1\"");
}

TEST_CASE("reasoning that a template drops from earlier turns is not in their answers") {
  CHECK(shown("qwen3", kThinking) ==
        "USR0 hi<|im_end|>\n<|im_start|>assistant\n[[ANS1 hello.<|im_end|>]]\n<|im_start|>user\nUSR2 "
        "more<|im_end|>\n"
        "<|im_start|>assistant\n[[<think>\nreason two\n</think>\n\nANS3 done<|im_end|>]]\n");
  CHECK(shown("qwen3", kReasoning) == shown("qwen3", kThinking));
  const std::string r1 = shown("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", kThinking);
  CHECK(r1.find("[[\n\nANS1 hello.") != std::string::npos);
  CHECK(r1.find("reason one") == std::string::npos);
}

TEST_CASE("marks of the template count; the token behind a marked answer belongs to it") {
  const std::string source =
      "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
      "{% endgeneration %}{% else %}{{ m.content }}{% endif %}</s>{% endfor %}";
  const auto text = marked(writer_of(source).write(sample_of(kTwoTurns)));
  CHECK(text ==
        "<user>USR0 hi</s><assistant>[[ANS1 hello.</s>]]<user>USR2 more</s><assistant>[[ANS3 done</s>]]");
}

TEST_CASE("answers that are only read, and one that nothing ends") {
  const std::string source =
      "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}assistant: {% endif %}";
  const ChatText chat = writer_of(source).write(
      sample_of(R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0},
                    {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}])"));
  CHECK(marked(chat) == "user: a\nassistant: b\nuser: c\nassistant: [[d]]\n");
  CHECK(chat.ends_open);
}

TEST_CASE("what a template does not show is refused") {
  const auto refused = [](const char* source, const char* messages) {
    try {
      writer_of(source).write(sample_of(messages));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("taken");
  };
  const char* kNoCalls = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}";
  CHECK(refused(kNoCalls, kCalls) == "messages[1]: the template does not show the calls");
  CHECK_THROWS_WITH_AS(shown("google-gemma-4-31B-it", kCallBesideText),
                       "messages[1]: the template shows the text of this answer apart from its calls", Error);
  // Its marks say which text is learnt, but they hold no call.
  CHECK_THROWS_WITH_AS(shown("smollm3-ort", kCalls), "messages[1]: the template does not show the calls",
                       Error);
  CHECK(refused("{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}</s>{% endfor %}",
                R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])") ==
        "messages[1]: the template does not show the answer as it is");
  CHECK(refused("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
                kTwoTurns)
            .find("messages[1]: ") == 0);
  CHECK(refused("{{ raise_exception('No.') }}", kTwoTurns) == "No.");
}

}  // namespace
}  // namespace llmhost::train
