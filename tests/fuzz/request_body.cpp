// Bodies of requests: the first byte says which, the rest is the body.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "serve/api/adapter_choice.h"
#include "serve/api/messages.h"
#include "serve/api/parameters.h"
#include "serve/api/response_items.h"
#include "serve/api/structured_output.h"

namespace serve = llmhost::serve;

namespace {

// What endpoints read of a body beyond its table.
void read_further(serve::Body body, serve::CheckedBody& checked, serve::Compat compat) {
  serve::TextOptions options;
  serve::apply_parameters(body, checked, options);
  if (body == serve::kChatBody || body == serve::kTemplateBody) {
    const llmhost::OrderedJson messages =
        serve::check_messages(*checked.find("messages"), {compat, checked.ignored});
    serve::chat_variables(checked, messages, serve::check_tools(checked, compat), nullptr);
  }
  if (body == serve::kResponseBody) {
    serve::messages_of_input(*checked.find("input"), {compat, checked.ignored});
    serve::check_tools(checked, compat);
    serve::response_text_form(checked);
  }
  if (body == serve::kChatBody || body == serve::kCompletionBody) serve::answer_form(checked);
  if (body == serve::kGenerateParametersBody) serve::generate_form(checked);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto body = static_cast<serve::Body>(1U << (data[0] % 9U));
  const auto compat = (data[0] & 0x80U) != 0 ? serve::Compat::kLenient : serve::Compat::kStrict;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    serve::CheckedBody checked = serve::check_body(body, text, compat);
    read_further(body, checked, compat);
  } catch (const llmhost::Error&) {
  }
  return 0;
}
