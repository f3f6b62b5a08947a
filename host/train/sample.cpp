#include "train/sample.h"

#include <array>
#include <limits>

#include "core/error.h"
#include "core/names.h"
#include "train/messages.h"

namespace llmhost::train {
namespace {

struct Form {
  DataFormat format;
  std::string_view name;
  std::array<std::string_view, 2> fields;  // that every row has; the second may be empty
};

// In the order in which they are tried: many sets have a rendered "text" or a "prompt" beside the real thing.
constexpr auto kForms = std::to_array<Form>({
    {DataFormat::kTokens, "tokens", {"input_ids", ""}},
    {DataFormat::kMessages, "messages", {"messages", ""}},
    {DataFormat::kShareGpt, "sharegpt", {"conversations", ""}},
    {DataFormat::kSegments, "segments", {"segments", ""}},
    {DataFormat::kAlpaca, "alpaca", {"instruction", "output"}},
    {DataFormat::kPromptCompletion, "prompt_completion", {"prompt", "completion"}},
    {DataFormat::kText, "text", {"text", ""}},
});

bool has_fields(const OrderedJson& fields, const Form& form) {
  for (const std::string_view name : form.fields)
    if (!name.empty() && !fields.contains(name)) return false;
  return true;
}

const OrderedJson* find(const OrderedJson& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string at(const Row& row, std::string_view key) {
  return fmt::format("{}: {}", row.where, key);
}

const OrderedJson& need(const Row& row, std::string_view key) {
  const OrderedJson* value = find(row.fields, key);
  if (value == nullptr && row.fields.contains(key)) throw_invalid("{} is null", at(row, key));
  if (value == nullptr)
    throw_invalid("{}: there is no {}; the row has {}", row.where, quote_name(key), field_names(row.fields));
  return *value;
}

std::string text_of(const OrderedJson& value, const std::string& where) {
  if (!value.is_string()) throw_invalid("{} must be a text, there is {}", where, value.type_name());
  return value.get<std::string>();
}

std::string optional_text(const Row& row, std::string_view key) {
  const OrderedJson* value = find(row.fields, key);
  return value == nullptr ? std::string() : text_of(*value, at(row, key));
}

void add_system(const Row& row, Sample& sample) {
  if (std::string system = optional_text(row, "system"); !system.empty())
    add_message("system", std::move(system), false, sample);
}

void add_tools(const Row& row, Sample& sample) {
  if (const OrderedJson* tools = find(row.fields, "tools"))
    sample.tools = read_tools(*tools, at(row, "tools"));
}

Sample read_alpaca(const Row& row) {
  Sample sample;
  add_system(row, sample);
  if (const OrderedJson* history = find(row.fields, "history"); history != nullptr && *history != "") {
    const OrderedJson pairs = unquoted(*history, at(row, "history"));
    if (!pairs.is_array()) throw_invalid("{} must be a list of pairs", at(row, "history"));
    for (size_t i = 0; i < pairs.size(); ++i) {
      const std::string where = fmt::format("{}: history[{}]", row.where, i);
      if (!pairs[i].is_array() || pairs[i].size() != 2)
        throw_invalid("{}: must be a pair of an instruction and an output", where);
      add_message("user", text_of(pairs[i][0], where), false, sample);
      add_message("assistant", text_of(pairs[i][1], where), true, sample);
    }
  }
  std::string question = text_of(need(row, "instruction"), at(row, "instruction"));
  if (const std::string input = optional_text(row, "input"); !input.empty()) question += "\n" + input;
  add_message("user", std::move(question), false, sample);
  add_message("assistant", text_of(need(row, "output"), at(row, "output")), true, sample);
  return sample;
}

Sample read_conversation(const Row& row, std::string_view key) {
  Sample sample;
  add_system(row, sample);
  add_messages(unquoted(need(row, key), at(row, key)), at(row, key), sample);
  if (sample.messages.empty()) throw_invalid("{} is empty", at(row, key));
  add_tools(row, sample);
  return sample;
}

Sample read_prompt_completion(const Row& row) {
  const OrderedJson& prompt = need(row, "prompt");
  const OrderedJson& completion = need(row, "completion");
  Sample sample;
  if (prompt.is_string() && completion.is_string()) {
    sample.segments = {{prompt.get<std::string>(), false}, {completion.get<std::string>(), true}};
    return sample;
  }
  for (const char* key : {"prompt", "completion"})
    if (const OrderedJson& value = row.fields[key]; !value.is_string() && !value.is_array())
      throw_invalid("{} must be a text or a list of messages, there is {}", at(row, key), value.type_name());
  if (prompt.is_string() || completion.is_string())
    throw_invalid("{}: prompt and completion must both be texts, or both lists of messages", row.where);
  add_messages(prompt, at(row, "prompt"), sample);
  sample.is_learnt.assign(sample.messages.size(), false);
  add_messages(completion, at(row, "completion"), sample);
  add_tools(row, sample);
  return sample;
}

Sample read_segments(const Row& row) {
  const OrderedJson list = unquoted(need(row, "segments"), at(row, "segments"));
  if (!list.is_array() || list.empty())
    throw_invalid("{} must be a list of {{text, label}}", at(row, "segments"));
  Sample sample;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("{}: segments[{}]", row.where, i);
    if (!list[i].is_object() || !list[i].contains("text") || !list[i].contains("label") ||
        !list[i]["label"].is_boolean())
      throw_invalid("{}: must be an object with a text and a label that is true or false", where);
    sample.segments.push_back({text_of(list[i]["text"], where + ".text"), list[i]["label"].get<bool>()});
  }
  return sample;
}

std::vector<int32_t> integers(const OrderedJson& value, const std::string& where) {
  const OrderedJson list = unquoted(value, where);
  if (!list.is_array()) throw_invalid("{} must be a list of integers", where);
  std::vector<int32_t> out;
  out.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const bool is_number = list[i].is_number_integer();
    const int64_t number = is_number ? list[i].get<int64_t>() : 0;
    if (!is_number || number > std::numeric_limits<int32_t>::max() || number < kNoLabel)
      throw_invalid("{}[{}] is {}, expected a token id", where, i, list[i].dump());
    out.push_back(static_cast<int32_t>(number));
  }
  return out;
}

// Takes away the positions that the mask says are padding, at either end.
void drop_padding(const std::vector<int32_t>& mask, const std::string& where, Sample& sample) {
  if (mask.size() != sample.ids.size())
    throw_invalid("{} has {} entries, input_ids has {}", where, mask.size(), sample.ids.size());
  size_t begin = 0, end = mask.size();
  while (begin < end && mask[begin] == 0) ++begin;
  while (end > begin && mask[end - 1] == 0) --end;
  for (size_t i = begin; i < end; ++i)
    if (mask[i] != 1)
      throw_invalid("{}[{}] is {}; only padding at the ends can be masked", where, i, mask[i]);
  const auto cut = [&](std::vector<int32_t>& list) {
    list = {list.begin() + static_cast<std::ptrdiff_t>(begin),
            list.begin() + static_cast<std::ptrdiff_t>(end)};
  };
  cut(sample.ids);
  cut(sample.labels);
}

Sample read_tokens(const Row& row) {
  Sample sample;
  sample.ids = integers(need(row, "input_ids"), at(row, "input_ids"));
  const OrderedJson* labels = find(row.fields, "labels");
  sample.labels = labels == nullptr ? sample.ids : integers(*labels, at(row, "labels"));
  if (sample.labels.size() != sample.ids.size())
    throw_invalid("{} has {} entries, input_ids has {}", at(row, "labels"), sample.labels.size(),
                  sample.ids.size());
  if (const OrderedJson* mask = find(row.fields, "attention_mask"))
    drop_padding(integers(*mask, at(row, "attention_mask")), at(row, "attention_mask"), sample);
  return sample;
}

Sample read_text(const Row& row) {
  Sample sample;
  sample.segments = {{text_of(need(row, "text"), at(row, "text")), true}};
  sample.is_document = true;
  return sample;
}

}  // namespace

std::string field_names(const OrderedJson& fields) {
  constexpr size_t kShown = 12;
  std::string names;
  size_t count = 0;
  for (const auto& [name, value] : fields.items()) {
    if (count == kShown) return names + ", …";
    names += (count++ == 0 ? "" : ", ") + quote_name(name);
  }
  return names.empty() ? "no fields" : names;
}

DataFormat recognise(const OrderedJson& fields) {
  for (const Form& form : kForms)
    if (has_fields(fields, form)) return form.format;
  return DataFormat::kAuto;
}

std::string_view format_name(DataFormat format) {
  for (const Form& form : kForms)
    if (form.format == format) return form.name;
  return "auto";
}

Sample read_sample(const Row& row, DataFormat format) {
  switch (format) {
    case DataFormat::kAlpaca:
      return read_alpaca(row);
    case DataFormat::kShareGpt:
      return read_conversation(row, "conversations");
    case DataFormat::kMessages:
      return read_conversation(row, "messages");
    case DataFormat::kPromptCompletion:
      return read_prompt_completion(row);
    case DataFormat::kSegments:
      return read_segments(row);
    case DataFormat::kTokens:
      return read_tokens(row);
    case DataFormat::kText:
      return read_text(row);
    case DataFormat::kAuto:
      break;
  }
  throw_error(ErrorCode::kInternal, "{}: read as no format", row.where);
}

}  // namespace llmhost::train
