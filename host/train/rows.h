// The rows of data files: JSON Lines, JSON (an array, or an object with the array under "data"), CSV and TSV
// (RFC 4180, with a header), plain text (the whole file is one row with the field "text"). One row is in
// memory at a time. Errors name the file and the line.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace llmhost::train {

enum class FileKind { kJsonLines, kJson, kCsv, kTsv, kText };

struct Row {
  OrderedJson fields;  // an object; cells of CSV are texts
  std::string where;   // "data.jsonl:17"
};

using RowSink = std::function<void(const Row&)>;

// The files of a data set: the file itself, or those of a folder whose ending says that they are data, by
// name. Throws for what cannot be read: nothing there, a kind of file that must be converted first.
std::vector<std::filesystem::path> data_files(const std::filesystem::path& path);

void read_rows(const std::filesystem::path& file, const RowSink& sink);
// `source` names the bytes in errors.
void read_rows(std::string_view bytes, FileKind kind, std::string_view source, const RowSink& sink);

}  // namespace llmhost::train
