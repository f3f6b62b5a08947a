#include "cli/support.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <system_error>

#include "core/error.h"
#include "core/file.h"

namespace llmhost::cli {
namespace {

void write_output(const std::string& path, const std::string& content) {
  if (path != "-") {
    write_file_atomically(path, content);
    return;
  }
  std::fwrite(content.data(), 1, content.size(), stdout);
  flush_stdout();
}

}  // namespace

OrderedJson recipe_json(const model::LoadedModel& model) {
  OrderedJson rows = OrderedJson::array();
  for (const model::RecipeChoice& choice : model.recipe())
    rows.push_back({{"what", choice.what},
                    {"value", choice.value},
                    {"certainty", choice.certainty},
                    {"source", choice.source}});
  return rows;
}

std::string read_input(const std::string& path) {
  if (path != "-") return read_file(path, size_t{4} << 30);
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

void print_json(const OrderedJson& document) {
  const std::string text = document.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
  fmt::print("{}\n", text);
  flush_stdout();
}

void transform_json_lines(const std::string& in, const std::string& out,
                          const std::function<OrderedJson(const OrderedJson&)>& transform) {
  const std::string text = read_input(in);
  std::string result;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string source = fmt::format("{}:{}", in == "-" ? "standard input" : in, number);
    const OrderedJson object = parse_ordered_json(line, source);
    if (!object.is_object()) throw_invalid("{}: each line must be a JSON object", source);
    try {
      result += transform(object).dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
    } catch (const Error& e) {
      throw_error(e.code(), "{}: {}", source, e.what());
    }
    result += '\n';
  }
  write_output(out, result);
}

void flush_stdout() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    throw std::system_error(errno, std::generic_category(), "standard output cannot be written");
}

}  // namespace llmhost::cli
