// Rows of data files, and what is wrong with files.
#include "train/rows.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "support/temp_dir.h"

namespace llmhost::train {
namespace {

std::vector<Row> rows_of(std::string_view bytes, FileKind kind) {
  std::vector<Row> rows;
  read_rows(bytes, kind, "f", [&](const Row& row) { rows.push_back(row); });
  return rows;
}

void refuses(std::string_view bytes, FileKind kind, const std::string& expected) {
  try {
    rows_of(bytes, kind);
    FAIL("taken: ", bytes);
  } catch (const Error& error) {
    CHECK_MESSAGE(std::string(error.what()).find(expected) != std::string::npos, error.what());
  }
}

TEST_CASE("JSON Lines: a row a line, blank lines and a byte order mark are nothing") {
  const auto rows = rows_of("\xEF\xBB\xBF{\"a\": 1}\r\n\n  {\"a\": \"x\\ny\"}", FileKind::kJsonLines);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].where == "f:1");
  CHECK(rows[1].where == "f:3");
  CHECK(rows[1].fields["a"] == "x\ny");
  const std::string huge(size_t{20} << 20, 'x');
  const auto long_rows = rows_of("{\"a\": \"" + huge + "\"}\n{\"a\": 2}", FileKind::kJsonLines);
  REQUIRE(long_rows.size() == 2);
  CHECK(long_rows[0].fields["a"].get_ref<const std::string&>().size() == huge.size());
  refuses("{\"a\": 1}\n{\"a\": }\n", FileKind::kJsonLines, "f:2: not valid JSON");
  refuses("[1]\n", FileKind::kJsonLines, "f:1: a row must be an object");
  refuses("{\"a\": \"\xFF\"}\n", FileKind::kJsonLines, "f:1: not UTF-8 at byte 7");
}

TEST_CASE("JSON: an array, an object with one under data, rows one after the other") {
  const std::string array = "[ {\"a\": [1, \"]\"]},\n {\"a\": {\"b\": \"}\\\"\"}} ]";
  for (const std::string& text : {array, "{\"version\": [\"x\", {}], \"data\":\n" + array + ", \"n\": 2}"}) {
    const auto rows = rows_of(text, FileKind::kJson);
    REQUIRE(rows.size() == 2);
    CHECK(rows[0].fields["a"][1] == "]");
    CHECK(rows[1].fields["a"]["b"] == "}\"");
  }
  CHECK(rows_of(array, FileKind::kJson)[1].where == "f:2");
  CHECK(rows_of("{\"a\": 1}\n{\"a\": 2}\n", FileKind::kJson).size() == 2);
  CHECK(rows_of("[]", FileKind::kJson).empty());
  refuses("{\"rows\": []}", FileKind::kJson, "no array \"data\" of rows; it has 'rows'");
  refuses("[{\"a\": 1} {\"a\": 2}]", FileKind::kJson, "f:1: expected ',' or ']', there is '{'");
  refuses("[{\"a\": 1},]", FileKind::kJson, "expected a value");
  refuses("[{\"a\": 1}", FileKind::kJson, "the end of the file");
  refuses("[{\"a\": 1}] x", FileKind::kJson, "expected nothing more");
  refuses("[\n\n{\"a\": \"x}]", FileKind::kJson, "f:3: a string does not end");
  refuses("[1, 2]", FileKind::kJson, "a row must be an object");
  refuses("7", FileKind::kJson, "expected an array of rows");
  refuses("[" + std::string(5000, '['), FileKind::kJson, "nested deeper");
}

TEST_CASE("CSV as RFC 4180 has it") {
  const auto rows =
      rows_of("instruction, output\r\n\"a \"\"b\"\", c\",\"two\nlines\"\r\n,x\n\nlast,", FileKind::kCsv);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].fields["instruction"] == "a \"b\", c");
  CHECK(rows[0].fields["output"] == "two\nlines");
  CHECK(rows[1].where == "f:4");
  CHECK(rows[1].fields["instruction"] == "");
  CHECK(rows[2].fields["output"] == "");
  CHECK(rows_of("a\tb\n1,5\t2\n", FileKind::kTsv)[0].fields["a"] == "1,5");
  // Blank lines are no rows, an empty cell in quotes is one.
  const auto texts = rows_of("\xEF\xBB\xBF\"te\"\"xt\"\r\n\r\none\r\n\"\"\r\n\r\n", FileKind::kCsv);
  REQUIRE(texts.size() == 2);
  CHECK(texts[0].fields["te\"xt"] == "one");
  CHECK(texts[0].where == "f:3");
  CHECK(texts[1].fields["te\"xt"] == "");
  // Line ends of old Macs; in quotes all of them stay.
  const auto old = rows_of("a,b\r1,\"x\r\ny\rz\"\r", FileKind::kCsv);
  REQUIRE(old.size() == 1);
  CHECK(old[0].fields["b"] == "x\r\ny\rz");
  refuses("a,b\n1,2,3\n", FileKind::kCsv, "f:2: 3 cells, the header has 2");
  refuses("a,b\n1,\"2\n", FileKind::kCsv, "f:2: a quoted cell does not end");
  refuses("a,b\n1,\"2\"3\n", FileKind::kCsv, "f:2: text behind a quoted cell");
  refuses("a,b\n1,2\"3\n", FileKind::kCsv, "f:2: a quote inside a cell");
  refuses("a,a\n1,2\n", FileKind::kCsv, "two columns are called 'a'");
  refuses("a,\n1,2\n", FileKind::kCsv, "column 2 of the header has no name");
  refuses("", FileKind::kCsv, "no header");
}

TEST_CASE("plain text is one row") {
  const auto rows = rows_of("one\n\ntwo\n", FileKind::kText);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].fields["text"] == "one\n\ntwo\n");
  CHECK(rows_of(" \n", FileKind::kText).empty());
}

TEST_CASE("files of a folder by name; what must be converted is refused") {
  const test::TempDir folder;
  const auto write = [&](const char* name) { std::ofstream(folder.path() / name) << "{}"; };
  for (const char* name : {"b.jsonl", "a.json", "README.md", "LICENSE", ".hidden.jsonl"}) write(name);
  const auto files = data_files(folder.path());
  REQUIRE(files.size() == 2);
  CHECK(files[0].filename() == "a.json");
  write("c.parquet");
  CHECK_THROWS_WITH_AS(data_files(folder.path()),
                       doctest::Contains(".parquet files are not read; convert it to JSON Lines first"),
                       Error);
  CHECK_THROWS_WITH_AS(data_files(folder.path() / "x.jsonl.gz"), doctest::Contains("no such file"), Error);
  write("d.jsonl.gz");
  CHECK_THROWS_WITH_AS(data_files(folder.path() / "d.jsonl.gz"), doctest::Contains("unpack it first"), Error);
  write("e.bin");
  CHECK_THROWS_WITH_AS(data_files(folder.path() / "e.bin"),
                       doctest::Contains("does not say what kind of data"), Error);
}

}  // namespace
}  // namespace llmhost::train
