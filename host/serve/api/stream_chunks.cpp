#include "serve/api/stream_chunks.h"

#include "serve/api/answer_json.h"
#include "serve/api/json_text.h"

namespace llmhost::serve {

std::string chunk_head(const AnswerFacts& facts, std::string_view object) {
  std::string out = "{\"id\":";
  append_json_string(out, facts.id);
  out += ",\"object\":";
  append_json_string(out, object);
  out += ",\"created\":";
  append_json_integer(out, facts.created);
  out += ",\"model\":";
  append_json_string(out, facts.model);
  out += ",\"system_fingerprint\":";
  append_json_string(out, system_fingerprint(*facts.use.model));
  out += ',';
  return out;
}

void append_stream_end(std::string& out, std::string_view head, const AnswerFacts& facts,
                       const AnswerUsage& usage) {
  if (facts.options.include_usage) {
    out += head;
    out += "\"choices\":[],\"usage\":";
    append_usage(out, usage);
    out += "}\n\n";
  }
  out += "data: [DONE]\n\n";
}

}  // namespace llmhost::serve
