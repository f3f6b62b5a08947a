// The embedded page is whole, and asks nothing of anyone but its own server.
#include "serve/page/page_files.h"

#include <doctest/doctest.h>

#include <map>
#include <regex>
#include <string>

using namespace llmhost::serve;

namespace {

std::map<std::string, std::string> files() {
  std::map<std::string, std::string> all;
  for (const PageFile& file : page_files()) {
    CHECK_FALSE(file.bytes.empty());
    CHECK(all.emplace(file.path, file.bytes).second);
  }
  return all;
}

}  // namespace

TEST_CASE("every part that the page names is there") {
  const std::map<std::string, std::string> all = files();
  REQUIRE(all.contains("/"));
  const std::regex part(R"re((?:src|href)="(/[^"#]*)"|from "\./([^"]+)")re");
  size_t found = 0;
  for (const auto& [path, bytes] : all)
    for (std::sregex_iterator match(bytes.begin(), bytes.end(), part), end; match != end; ++match, ++found) {
      const std::string name = (*match)[1].matched ? (*match)[1].str() : "/page/" + (*match)[2].str();
      CAPTURE(path);
      CAPTURE(name);
      CHECK(all.contains(name));
    }
  CHECK(found > 10);
}

TEST_CASE("the page keeps its own policy: nothing from elsewhere, no code or style in markup") {
  for (const auto& [path, bytes] : files()) {
    CAPTURE(path);
    std::string text = bytes;
    const std::string svg = "http://www.w3.org/2000/svg";
    if (const size_t at = text.find(svg); at != std::string::npos) text.erase(at, svg.size());
    for (const char* foreign : {"http://", "url(", "@import", "eval(", "innerHTML", "insertAdjacentHTML",
                                "document.write", "new Function"})
      CHECK(text.find(foreign) == std::string::npos);
    CHECK_FALSE(std::regex_search(text, std::regex(R"re(["'(=]https://)re")));
    if (path == "/") CHECK_FALSE(std::regex_search(text, std::regex(R"re(<[^>]*\s(on\w+|style)=)re")));
  }
  for (const char* part : {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"})
    CHECK(page_policy().find(part) != std::string_view::npos);
  CHECK(page_policy().find("unsafe") == std::string_view::npos);
}

TEST_CASE("content types") {
  for (const PageFile& file : page_files()) {
    const std::string_view path = file.path;
    if (path == "/") CHECK(file.content_type == "text/html; charset=utf-8");
    if (path.ends_with(".js")) CHECK(file.content_type == "text/javascript; charset=utf-8");
    if (path.ends_with(".css")) CHECK(file.content_type == "text/css; charset=utf-8");
    if (path.ends_with(".svg")) CHECK(file.content_type == "image/svg+xml");
  }
}
