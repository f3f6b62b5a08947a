// The exported table under hosts of other ages: init and quiesce counted, structs larger than this plugin
// knows, interfaces that nobody has.
#include <cstddef>
#include <cstring>

#include "check/cases.h"
#include "check/child.h"
#include "check/odd_host.h"
#include "core/error.h"
#include "plugin/status.h"

namespace llmhost::check {
namespace {

void init(const llmh_plugin& table, const llmh_host* host, const char* when) {
  at(std::string("init, ") + when);
  if (table.init != nullptr) plugin::check(table.init(host), std::string("init, ") + when);
}

void quiesce(const llmh_plugin& table, const char* when) {
  at(std::string("quiesce, ") + when);
  if (table.quiesce != nullptr) table.quiesce();
}

void want_interface(const Subject& subject, const llmh_plugin& table, const char* when) {
  at(std::string("get_extension, ") + when);
  const char* id = main_interface(subject.manifest.kind);
  if (table.get_extension(llmh_str{id, std::strlen(id)}) == nullptr)
    throw_error(ErrorCode::kInternal, "get_extension({}) gives nothing, {}", id, when);
}

std::string counted_init(const Subject& subject) {
  const llmh_plugin& table = raw_table(subject);
  const OddHost host(subject.manifest.id, LLMH_SDK_MINOR, 0);
  init(table, host.get(), "the first time");
  init(table, host.get(), "the second time");
  want_interface(subject, table, "after two inits");
  quiesce(table, "the first of two");
  want_interface(subject, table, "after two inits and one quiesce");
  quiesce(table, "the last");
  init(table, host.get(), "after the last quiesce");
  want_interface(subject, table, "after a new init");
  quiesce(table, "at the end");
  return {};
}

// Interfaces whose first function may be called in any state.
std::string unknown_extension(const Subject& subject) {
  const llmh_plugin& table = raw_table(subject);
  const OddHost host(subject.manifest.id, LLMH_SDK_MINOR, 0);
  init(table, host.get(), "the first time");
  const std::string own = main_interface(subject.manifest.kind);
  const std::string longer = own + "0";
  for (const std::string& id : {std::string("nobody.nothing/9"), std::string(), own.substr(0, own.size() - 1),
                                longer, std::string(100'000, 'x'), std::string("\0\0", 2)}) {
    at("get_extension of an unknown id");
    // Not NUL-terminated: what follows is not part of it.
    const void* found = table.get_extension(llmh_str{id.data(), id.size()});
    if (found != nullptr)
      throw_error(ErrorCode::kInternal, "get_extension('{}') gives something; an unknown id is NULL",
                  id.substr(0, 40));
  }
  if (table.get_extension(llmh_str{longer.data(), own.size()}) == nullptr)
    throw_error(ErrorCode::kInternal, "get_extension needs a NUL behind the id: it has a length");
  if (table.get_extension(llmh_str{nullptr, 0}) != nullptr)
    throw_error(ErrorCode::kInternal, "get_extension of the empty id gives something");
  return {};
}

std::string other_host(const Subject& subject, uint32_t minor, size_t extra) {
  const llmh_plugin& table = raw_table(subject);
  const OddHost host(subject.manifest.id, minor, extra);
  init(table, host.get(), extra != 0 ? "by a newer host" : "by the oldest host");
  want_interface(subject, table, "with another host");
  quiesce(table, "with another host");
  host.check_untouched();
  return {};
}

}  // namespace

void add_life_cases(const Subject& subject, Cases& cases) {
  cases.push_back({"life.init_counted", [&] { return counted_init(subject); }});
  cases.push_back({"life.unknown_extension", [&] { return unknown_extension(subject); }});
  cases.push_back(
      {"life.oldest_host", [&] { return other_host(subject, subject.manifest.min_host_minor, 0); }});
  cases.push_back({"life.newer_host", [&] { return other_host(subject, 1000, OddHost::kMaxExtra); }});
}

}  // namespace llmhost::check
