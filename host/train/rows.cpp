#include "train/rows.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/names.h"
#include "text/tokenizer_utf8.h"
#include "train/row_scan.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxRowBytes = size_t{64} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::string ending_of(const fs::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending;
}

std::optional<FileKind> kind_of(const fs::path& path) {
  const std::string ending = ending_of(path);
  if (ending == ".jsonl" || ending == ".ndjson") return FileKind::kJsonLines;
  if (ending == ".json") return FileKind::kJson;
  if (ending == ".csv") return FileKind::kCsv;
  if (ending == ".tsv") return FileKind::kTsv;
  if (ending == ".txt" || ending == ".text" || ending == ".md") return FileKind::kText;
  return std::nullopt;
}

// Of files that hold data, but not in a form that is read here: what to do.
std::string_view conversion_of(const fs::path& path) {
  const std::string ending = ending_of(path);
  if (ending == ".parquet" || ending == ".arrow" || ending == ".feather" || ending == ".xlsx")
    return "convert it to JSON Lines first";
  if (ending == ".gz" || ending == ".zst" || ending == ".xz" || ending == ".bz2" || ending == ".zip")
    return "unpack it first";
  return {};
}

constexpr std::string_view kKinds = "expected .jsonl, .ndjson, .json, .csv, .tsv, .txt or .md";

void require_readable(const fs::path& path) {
  if (const std::string_view what = conversion_of(path); !what.empty())
    throw_invalid("{}: {} files are not read; {}", path.string(), ending_of(path), what);
  if (!kind_of(path))
    throw_invalid("{}: the name does not say what kind of data it is; {}", path.string(), kKinds);
}

std::string place(std::string_view source, size_t line) {
  return fmt::format("{}:{}", source, line);
}

OrderedJson parse_row(std::string_view text, const std::string& where) {
  JsonLimits limits;
  limits.max_bytes = kMaxRowBytes;
  OrderedJson row = parse_ordered_json(text, where, limits);
  if (!row.is_object())
    throw_invalid("{}: a row must be an object with fields, there is {}", where, row.type_name());
  return row;
}

void read_json_lines(std::string_view bytes, std::string_view source, const RowSink& sink) {
  size_t line = 0;
  while (!bytes.empty()) {
    ++line;
    const size_t end = std::min(bytes.find('\n'), bytes.size());
    const std::string_view text = trimmed(bytes.substr(0, end));
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (text.empty()) continue;
    const std::string where = place(source, line);
    sink({parse_row(text, where), where});
  }
}

void read_array(JsonScan& scan, std::string_view source, const RowSink& sink) {
  scan.open('[');
  while (scan.has_next(']')) {
    const std::string where = place(source, scan.line());
    sink({parse_row(scan.value(), where), where});
  }
}

// An array of rows, an object that has it under "data", or rows one after the other under the wrong name.
void read_json(std::string_view bytes, std::string_view source, const RowSink& sink) {
  JsonScan scan(bytes, source);
  if (scan.peek() == '[') {
    read_array(scan, source, sink);
    return scan.finish();
  }
  if (scan.peek() != '{')
    throw_invalid("{}: expected an array of rows, or an object with one under \"data\"",
                  place(source, scan.line()));
  JsonScan probe = scan;
  probe.value();
  if (!probe.at_end()) return read_json_lines(bytes, source, sink);
  scan.open('{');
  bool found = false;
  std::vector<std::string> seen;
  while (scan.has_next('}')) {
    const std::string key = scan.key();
    seen.push_back(key);
    if (key == "data" && scan.peek() == '[' && !found) {
      found = true;
      read_array(scan, source, sink);
    } else {
      scan.value();
    }
  }
  scan.finish();
  if (!found) {
    std::string names;
    for (const std::string& name : seen) names += (names.empty() ? "" : ", ") + quote_name(name);
    throw_invalid("{}: the object has no array \"data\" of rows; it has {}; put the rows into an array",
                  source, names.empty() ? "nothing" : names);
  }
}

std::vector<std::string> header_of(CsvScan& scan, std::string_view source) {
  std::vector<std::string> names;
  if (!scan.record(names)) throw_invalid("{}: there is no header line", source);
  for (size_t i = 0; i < names.size(); ++i) {
    names[i] = std::string(trimmed(names[i]));
    if (names[i].empty()) throw_invalid("{}:1: column {} of the header has no name", source, i + 1);
    if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) !=
        names.begin() + static_cast<std::ptrdiff_t>(i))
      throw_invalid("{}:1: two columns are called {}", source, quote_name(names[i]));
  }
  return names;
}

void read_csv(std::string_view bytes, char separator, std::string_view source, const RowSink& sink) {
  CsvScan scan(bytes, separator, source);
  const std::vector<std::string> names = header_of(scan, source);
  std::vector<std::string> cells;
  while (scan.record(cells)) {
    const std::string where = place(source, scan.line());
    if (cells.size() != names.size())
      throw_invalid("{}: {} cells, the header has {}", where, cells.size(), names.size());
    Row row{OrderedJson::object(), where};
    for (size_t i = 0; i < cells.size(); ++i) row.fields[names[i]] = std::move(cells[i]);
    sink(row);
  }
}

void require_utf8(std::string_view bytes, std::string_view source) {
  for (size_t i = 0, line = 1; i < bytes.size();) {
    if (bytes[i] == '\n') ++line;
    const text::Utf8Char c = text::utf8_at(bytes, i);
    if (!c.valid) throw_invalid("{}:{}: not UTF-8 at byte {}; convert the file", source, line, i);
    i += c.length;
  }
}

}  // namespace

std::vector<fs::path> data_files(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) throw_error(ErrorCode::kNotFound, "{}: no such file or folder", path.string());
  if (!fs::is_directory(status)) {
    require_readable(path);
    return {path};
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    const fs::path& file = entry.path();
    if (!entry.is_regular_file() || file.filename().string().starts_with('.') || ending_of(file) == ".md")
      continue;
    if (!conversion_of(file).empty()) require_readable(file);
    if (kind_of(file)) {
      files.push_back(file);
    } else {
      spdlog::info("{}: not read, it is no data file", file.string());
    }
  }
  if (files.empty()) throw_invalid("{}: the folder has no data files; {}", path.string(), kKinds);
  std::sort(files.begin(), files.end());
  return files;
}

void read_rows(const fs::path& file, const RowSink& sink) {
  require_readable(file);
  const MappedFile mapped(file);
  const auto bytes = mapped.bytes();
  read_rows({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, *kind_of(file), file.string(), sink);
}

void read_rows(std::string_view bytes, FileKind kind, std::string_view source, const RowSink& sink) {
  if (bytes.starts_with(kByteOrderMark)) bytes.remove_prefix(kByteOrderMark.size());
  require_utf8(bytes, source);
  switch (kind) {
    case FileKind::kJsonLines:
      return read_json_lines(bytes, source, sink);
    case FileKind::kJson:
      return read_json(bytes, source, sink);
    case FileKind::kCsv:
      return read_csv(bytes, ',', source, sink);
    case FileKind::kTsv:
      return read_csv(bytes, '\t', source, sink);
    case FileKind::kText:
      if (!trimmed(bytes).empty()) sink({{{"text", std::string(bytes)}}, std::string(source)});
      return;
  }
}

}  // namespace llmhost::train
