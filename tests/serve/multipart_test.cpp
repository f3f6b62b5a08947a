// Forms with files.
#include "serve/tuning/multipart.h"

#include <doctest/doctest.h>

#include <string>

#include "core/error.h"

namespace llmhost::serve {
namespace {

constexpr const char* kType = "multipart/form-data; boundary=\"x y\"";

TEST_CASE("a form has its parts in order, with names, file names and contents of any bytes") {
  const std::string content("a\r\n--x\0\xff", 9);
  const std::string body =
      "--x y\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
      "--x y\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; name=file; "
      "filename=\"a \\\"b\\\".jsonl\"\r\n\r\n" +
      content + "\r\n--x y\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--x y--\r\n";
  const auto parts = parse_multipart(kType, body);
  REQUIRE(parts.size() == 3);
  CHECK(parts[0].name == "purpose");
  CHECK_FALSE(parts[0].filename.has_value());
  CHECK(parts[0].content == "fine-tune");
  CHECK(parts[1].filename == "a \"b\".jsonl");
  CHECK(parts[1].content == content);
  CHECK(parts[2].content.empty());
}

TEST_CASE("a form that is cut anywhere is refused") {
  const std::string body =
      "--x y\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nbytes\r\n--x y--";
  CHECK(parse_multipart(kType, body).size() == 1);
  for (size_t n = 0; n < body.size(); ++n) CHECK_THROWS_AS(parse_multipart(kType, body.substr(0, n)), Error);
}

TEST_CASE("what is no form is refused with what is missing") {
  const auto fails = [](const char* type, const std::string& body, const char* expected) {
    try {
      parse_multipart(type, body);
      FAIL("taken: ", body);
    } catch (const Error& error) {
      CHECK_MESSAGE(std::string(error.what()).find(expected) != std::string::npos, error.what());
    }
  };
  fails("application/json", "{}", "multipart/form-data");
  fails("multipart/form-data", "", "boundary");
  fails("multipart/form-data; boundary=", "", "boundary");
  fails("multipart/form-data; boundary=x", "preamble", "does not begin");
  fails("multipart/form-data; boundary=x", "--x\r\nA: b\r\n\r\n\r\n--x--", "Content-Disposition");
  fails("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--",
        "no name");
  fails("multipart/form-data; boundary=x", "--x\r\nno colon\r\n\r\n\r\n--x--", "colon");
  std::string many = "--x";
  for (int i = 0; i < 65; ++i) many += "\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--x";
  fails("multipart/form-data; boundary=x", many + "--", "more than 64");
}

}  // namespace
}  // namespace llmhost::serve
