#include "text/vectors.h"

#include <fmt/format.h>

#include <fstream>

#include "core/json.h"
#include "text/base64.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::test {
namespace {

using Ids = std::vector<int32_t>;

std::string shown(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace);
}

class Record {
 public:
  Record(const text::Tokenizer& tokenizer, const Json& json, std::vector<std::string>& failures)
      : tokenizer_(tokenizer), json_(json), failures_(failures) {}

  void run() {
    Ids ids;
    if (json_.contains("decode_ids")) {
      ids = json_["decode_ids"].get<Ids>();
    } else {
      check_encoding();
      ids = json_["ids"].get<Ids>();
    }
    check_decoding("decoded", ids, false);
    check_decoding("decoded_skip_special", json_.value("ids_with_special", ids), true);
  }

 private:
  void check_encoding() {
    const std::string input = json_.contains("text")
                                  ? json_["text"].get<std::string>()
                                  : text::decode_base64(json_["text_b64"].get<std::string>()).value();
    expect("ids", json_["ids"], tokenizer_.encode(input));
    expect("ids_no_parse", json_.contains("ids_no_parse") ? json_["ids_no_parse"] : json_["ids"],
           tokenizer_.encode(input, {.add_special = false, .parse_special = false}));
    if (json_.contains("ids_with_special"))
      expect("ids_with_special", json_["ids_with_special"], tokenizer_.encode(input, {.add_special = true}));
  }

  void check_decoding(const char* key, const Ids& ids, bool skip_special) {
    if (!json_.contains(key)) return;
    expect(key, json_[key], tokenizer_.decode(ids, {.skip_special = skip_special}));
    text::StreamDecoder stream(tokenizer_, {.skip_special = skip_special});
    std::string joined;
    bool whole = true;
    const auto take = [&](const std::string& part) {
      whole = whole && text::is_valid_utf8(part);
      joined += part;
    };
    for (const int32_t id : ids) take(stream.push(id));
    take(stream.finish());
    expect("streamed text", json_[key], joined);
    expect("whole characters in the stream", true, whole);
  }

  void expect(const char* what, const Json& wanted, const Json& got) {
    if (wanted != got)
      failures_.push_back(fmt::format("{}: {} should be {}, is {}", shown(json_.value("text", Json())), what,
                                      shown(wanted), shown(got)));
  }

  const text::Tokenizer& tokenizer_;
  const Json& json_;
  std::vector<std::string>& failures_;
};

}  // namespace

VectorResult run_vectors(const text::Tokenizer& tokenizer, const std::filesystem::path& vectors) {
  VectorResult result;
  std::ifstream file(vectors);
  for (std::string line; std::getline(file, line);) {
    const Json json = parse_json(line, vectors.string());
    if (json.contains("informative")) continue;
    ++result.records;
    Record(tokenizer, json, result.failures).run();
  }
  return result;
}

}  // namespace llmhost::test
