// The forms of answers.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "serve/api/generation.h"

namespace llmhost::serve {

std::unique_ptr<AnswerWriter> make_chat_writer();
std::unique_ptr<AnswerWriter> make_completion_writer();
// What a response repeats of its request (JSON fields, with a comma behind each), and how to remember it.
struct ResponseEcho {
  std::string fields;
  std::function<void(const Choice&, const std::string& body)> store;  // may be null
};
std::unique_ptr<AnswerWriter> make_response_writer(ResponseEcho echo);
struct GenerateForm {
  bool details = false;
  bool prompt_details = false;
  bool as_list = false;  // the route / answers a list of one
  bool full_text = false;
  int32_t alternatives = 0;
  bool tells_seed = false;
};
std::unique_ptr<AnswerWriter> make_generate_writer(GenerateForm form);

}  // namespace llmhost::serve
