#include "core/sha256.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

using namespace llmhost;

TEST_CASE("SHA-256: the examples of the standard") {
  CHECK(to_hex(sha256("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(to_hex(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(to_hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(to_hex(sha256(std::string(1'000'000, 'a'))) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256: the sum does not depend on how the bytes come") {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (size_t length = 0; length < text.size(); ++length) {
    Sha256 sum;
    for (size_t at = 0, step = 1; at < length; at += step, step = step * 3 % 71 + 1)
      sum.add(std::string_view(text).substr(at, std::min(step, length - at)));
    REQUIRE(sum.digest() == sha256(std::string_view(text).substr(0, length)));
  }
}
