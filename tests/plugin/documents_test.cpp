// The documents that plugins get, through the table that they use.
#include "plugin/documents.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/registry_files.h"
#include "llmhost/arch.h"
#include "plugin/host_table.h"
#include "plugin/status.h"

namespace fs = std::filesystem;
using llmhost::Error;
using llmhost::write_file_atomically;
using llmhost::plugin::Document;
using llmhost::plugin::DocumentOptions;
using llmhost::plugin::Documents;

namespace {

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "llmhost-documents-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    write_file_atomically(path_ / name, text);
    return path_ / name;
  }
  std::string path(const std::string& name = "") const { return name.empty() ? path_ : path_ / name; }

 private:
  fs::path path_;
};

// A variable of the environment for as long as this lives.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    const char* old = std::getenv(name);
    if (old != nullptr) old_ = old;
    had_ = old != nullptr;
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() { had_ ? ::setenv(name_, old_.c_str(), 1) : ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

std::string error_of(const std::vector<std::string>& paths) {
  try {
    const Documents documents(DocumentOptions{{{"archs", paths}}, false});
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

llmh_str str(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

TEST_CASE("files and folders that are named come first, in the order of the path") {
  const Folder folder;
  const std::string file = folder.write("one.txt", "a: 1");
  folder.write("more/b.yaml", "b: 2");
  folder.write("more/a.yaml", "c: 3");
  folder.write("more/notes.md", "not a document");
  Documents documents(DocumentOptions{{{"archs", {folder.path("more"), file}}}, false});
  const std::vector<Document>& found = documents.of("archs");
  REQUIRE(found.size() >= 3);
  CHECK(found[0].name == "a");
  CHECK(found[1].name == "b");
  CHECK(found[2].name == "one");
  CHECK(found[2].origin == file);
  CHECK(found[2].text == "a: 1");
  for (size_t i = 3; i < found.size(); ++i) CHECK(found[i].origin.starts_with("built in: registry/archs/"));
}

TEST_CASE("the project's own documents are built in") {
  Documents documents(DocumentOptions{{}, false});
  CHECK(documents.of("no such subject").empty());
  size_t expected = 0;
  for (const llmhost::RegistryFile& file : llmhost::registry_files())
    expected += file.subject == "tokenizers";
  const std::vector<Document>& tokenizers = documents.of("tokenizers");
  CHECK(tokenizers.size() == expected);
  REQUIRE(!tokenizers.empty());
  CHECK(tokenizers[0].name == "gguf");
  CHECK(tokenizers[0].origin == "built in: registry/tokenizers/gguf.yaml");
  CHECK(tokenizers[0].text.find("presets:") != std::string::npos);
}

TEST_CASE("the environment and the home folder follow") {
  const Folder folder;
  folder.write("env/e.yaml", "");
  folder.write("home/llmhost/archs/h.yaml", "x");
  folder.write("home/llmhost/archs/large.yaml", std::string((size_t{1} << 20) + 1, ' '));
  const std::string named = folder.write("n.yaml", "");
  const Variable environment("LLMHOST_ARCH_PATH", ":" + folder.path("env") + ":");
  const Variable home("XDG_DATA_HOME", folder.path("home"));
  Documents documents(DocumentOptions{{{"archs", {named}}}, true});
  const std::vector<Document>& found = documents.of("archs");
  REQUIRE(found.size() >= 3);
  CHECK(found[0].name == "n");
  CHECK(found[1].name == "e");
  CHECK(found[2].name == "h");  // the large one beside it is left out with a warning
  for (size_t i = 3; i < found.size(); ++i) CHECK(found[i].origin.starts_with("built in: "));

  const Variable wrong("LLMHOST_ARCH_PATH", folder.path("nothing"));
  CHECK_THROWS_WITH_AS(Documents(DocumentOptions{{}, true}), doctest::Contains("$LLMHOST_ARCH_PATH: "),
                       Error);
}

TEST_CASE("what is named and cannot be read is an error of one line") {
  const Folder folder;
  const std::string large = folder.write("large.yaml", std::string((size_t{1} << 20) + 1, ' '));
  CHECK(error_of({folder.write("limit.yaml", std::string(size_t{1} << 20, ' '))}).empty());
  const std::string message = error_of({large});
  CHECK(message.starts_with("--arch-path: " + large + ": 1048577 bytes, the limit is 1048576"));
  CHECK(message.find('\n') == std::string::npos);
  CHECK(error_of({folder.path()}) == message);
  CHECK(error_of({folder.path("nothing.yaml")}).find("nothing.yaml: cannot open: No such file") !=
        std::string::npos);
  CHECK(error_of({"/dev/null"}).find("not a regular file") != std::string::npos);
}

TEST_CASE("plugins get the documents by subject and index") {
  const Folder folder;
  llmhost::plugin::offer_documents({{{"archs", {folder.write("mine.yaml", "text")}}}, false});
  const llmhost::plugin::HostTable host("test", 0);
  const auto* table =
      static_cast<const llmh_documents*>(host.get_extension(&host, LLMH_STR(LLMH_DOCUMENTS_INTERFACE)));
  REQUIRE(table != nullptr);
  REQUIRE(table->count(&host, str("archs")) >= 1);
  CHECK(table->count(&host, str("nothing")) == 0);
  llmh_document document{};
  document.struct_size = sizeof document;
  llmhost::plugin::check(table->get(&host, str("archs"), 0, &document));
  CHECK(std::string_view(document.name.ptr, document.name.len) == "mine");
  CHECK(std::string_view(document.text.ptr, document.text.len) == "text");
  CHECK(std::string_view(document.origin.ptr, document.origin.len) == folder.path("mine.yaml"));
  CHECK_THROWS_AS(llmhost::plugin::check(table->get(&host, str("nothing"), 0, &document)), Error);

  // A plugin may keep what it got when others are offered.
  llmhost::plugin::offer_documents({{}, false});
  CHECK(std::string_view(document.text.ptr, document.text.len) == "text");
}
