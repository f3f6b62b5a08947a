#include "serve/page/page_routes.h"

#include <memory>
#include <string>

#include "serve/page/page_files.h"

namespace llmhost::serve {
namespace {

void send_file(Exchange& exchange, const PageFile& file) {
  Response response;
  response.content_type = file.content_type;
  response.body = file.bytes;
  response.headers = {{"Cache-Control", "no-cache"},
                      {"Content-Security-Policy", std::string(page_policy())},
                      {"Referrer-Policy", "no-referrer"},
                      {"X-Frame-Options", "DENY"}};
  exchange.send(std::move(response));
}

}  // namespace

void add_page_routes(Router& router) {
  for (const PageFile& file : page_files())
    router.add({"GET", std::string(file.path), Scope::kPublic,
                [&file](const std::shared_ptr<Exchange>& exchange) { send_file(*exchange, file); },
                file.path == "/" ? "The web page" : "A part of the web page"});
}

}  // namespace llmhost::serve
