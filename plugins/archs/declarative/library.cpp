#include "library.h"

#include <algorithm>

#include "document.h"

namespace declarative {

using llmh::Error;

namespace {

constexpr int kMaxExtends = 8;

std::string scalar(const YAML::Node& root, const char* key) {
  const YAML::Node node = root[key];
  return node && node.IsScalar() ? node.Scalar() : "";
}

// The nodes stay those of their documents, with their lines and columns.
YAML::Node merged(const YAML::Node& base, const YAML::Node& over) {
  if (!base.IsMap() || !over.IsMap()) return over;
  YAML::Node result(YAML::NodeType::Map);
  for (const auto& entry : base) {
    const YAML::Node replaced = over[entry.first.Scalar()];
    if (replaced && replaced.IsNull()) continue;
    result[entry.first] = replaced ? merged(entry.second, replaced) : entry.second;
  }
  for (const auto& entry : over)
    if (!base[entry.first.Scalar()] && !entry.second.IsNull()) result[entry.first] = entry.second;
  return result;
}

}  // namespace

void Library::add(const std::string& origin, const std::string& text) {
  const YAML::Node root = parse_document(origin, text);
  Document document{origin, scalar(root, "name"), {}, scalar(root, "extends"), root};
  if (document.name.empty()) throw Error(LLMH_INVALID_ARGUMENT, origin + ": 'name' is missing");
  for (const char* key : {"model_types", "gguf_architectures"}) {
    const YAML::Node list = root[key];
    if (list && !list.IsNull() && !list.IsSequence())
      at_mark(origin, list.Mark(), [&] {
        throw Error(LLMH_INVALID_ARGUMENT, std::string("'") + key + "' must be a list of names");
      });
    for (const auto& item : list)
      if (item.IsScalar()) document.model_types.push_back(item.Scalar());
  }
  add_refusals(origin, root["unsupported"]);
  documents_.push_back(std::move(document));
}

void Library::add_refusals(const std::string& origin, const YAML::Node& list) {
  if (!list) return;
  at_mark(origin, list.Mark(), [&] {
    if (!list.IsMap()) throw Error(LLMH_INVALID_ARGUMENT, "'unsupported' must be a map of types and reasons");
  });
  for (const auto& entry : list)
    at_mark(origin, entry.first.Mark(), [&] {
      if (!entry.first.IsScalar() || !entry.second.IsScalar())
        throw Error(LLMH_INVALID_ARGUMENT, "'unsupported': a model type and its reason are expected");
      refusals_.emplace(entry.first.Scalar(), entry.second.Scalar());
    });
}

std::string Library::refusal(const std::string& model_type) const {
  const auto found = refusals_.find(model_type);
  return found == refusals_.end() ? "" : found->second;
}

const Library::Document* Library::find(const std::string& model_type) const {
  const auto found = std::find_if(documents_.begin(), documents_.end(), [&](const Document& document) {
    const auto& types = document.model_types;
    return std::find(types.begin(), types.end(), model_type) != types.end();
  });
  return found == documents_.end() ? nullptr : &*found;
}

YAML::Node Library::whole(const Document& document) const {
  YAML::Node root = document.root;
  const Document* at = &document;
  for (int depth = 0; !at->extends.empty(); ++depth) {
    const auto base = std::find_if(documents_.begin(), documents_.end(),
                                   [&](const Document& each) { return each.name == at->extends; });
    if (base == documents_.end() || depth == kMaxExtends)
      throw Error(LLMH_INVALID_ARGUMENT,
                  at->origin + ": it extends '" + at->extends + "', " +
                      (depth == kMaxExtends ? "and so on in a circle" : "and there is no such architecture"));
    root = merged(base->root, root);
    at = &*base;
  }
  return root;
}

}  // namespace declarative
