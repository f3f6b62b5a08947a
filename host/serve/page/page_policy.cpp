#include "serve/page/page_files.h"

namespace llmhost::serve {

std::string_view page_policy() {
  return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
         "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

}  // namespace llmhost::serve
