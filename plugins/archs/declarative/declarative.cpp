// Architectures described in YAML: the documents that the host keeps under "archs". One that names the
// checkpoint's model type is followed exactly; for a type that none names the recipe is read off the
// checkpoint itself.
#include <algorithm>
#include <memory>

#include "infer.h"
#include "recipe.h"

namespace {

using declarative::DocumentHeader;
using llmh::Error;

struct Document {
  std::string origin, text;
  DocumentHeader header;
};

// All documents that can be read; a bad one is reported once and left out, unless nothing else describes its
// type.
std::vector<Document> documents() {
  std::vector<Document> found;
  const llmh_host* host = llmh::host();
  const auto* extension =
      static_cast<const llmh_documents*>(host->get_extension(host, llmh::str(LLMH_DOCUMENTS_INTERFACE)));
  if (extension == nullptr) return found;
  const llmh_str subject = llmh::str("archs");
  const int64_t n = extension->count(host, subject);
  for (int64_t i = 0; i < n; ++i) {
    llmh_document document{};
    document.struct_size = sizeof document;
    llmh::check(extension->get(host, subject, i, &document));
    Document read{std::string(llmh::view(document.origin)), std::string(llmh::view(document.text)), {}};
    try {
      read.header = declarative::read_header(read.origin, read.text);
    } catch (const Error& error) {
      host->log(host, LLMH_LOG_WARN, llmh::str(std::string(error.what()) + "; this file is left out"));
      continue;
    }
    found.push_back(std::move(read));
  }
  return found;
}

// The first document, the user's before those that came with the host, that names the type.
const Document* document_for(const std::vector<Document>& all, const std::string& model_type) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Document& document) {
    const auto& types = document.header.model_types;
    return std::find(types.begin(), types.end(), model_type) != types.end();
  });
  return found == all.end() ? nullptr : &*found;
}

class Declarative {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    return document_for(documents(), type) != nullptr ? LLMH_MATCH_EXACT : LLMH_MATCH_INFERRED;
  }

  explicit Declarative(const llmh::Model& model) {
    const std::vector<Document> all = documents();
    if (const Document* document = document_for(all, model.string_or("model_type", ""))) {
      recipe_ = declarative::read_recipe(document->origin, document->text, model);
      return;
    }
    inferred_ = declarative::infer(model);
    recipe_ = declarative::read_recipe("inferred", inferred_.text, model);
  }

  void describe(llmh_model_info& info, llmh::States& states) const {
    llmh::fill_info(info, recipe_.sizes, recipe_.head.tied);
    for (const declarative::LayerSpec& layer : recipe_.layers)
      for (const declarative::BlockSpec& block : layer.blocks)
        for (const declarative::BranchSpec& branch : block.branches)
          if (branch.attention) add_state(branch.attention->config, states);
  }
  void names(llmh::Names& names) const { declarative::add_names(recipe_, names); }
  void build(llmh::Graph& graph) const { declarative::build_graph(recipe_, graph); }
  const declarative::Inferred& inferred() const { return inferred_; }

 private:
  static void add_state(const llmh::AttentionConfig& c, llmh::States& states) {
    states.paged_kv(c.layer, c.n_kv_heads, c.head_dim, c.v_head_dim, c.window != 0 ? c.window : c.chunk);
  }

  declarative::Recipe recipe_;
  declarative::Inferred inferred_;
};

llmh_status* init(const llmh_host* host) {
  llmh::set_host(host);
  return nullptr;
}

llmh_status* choices(llmh_arch_model* self, void* context, void (*take)(void*, const llmh_recipe_choice*)) {
  return llmh::guard([&] {
    for (const declarative::Choice& choice : reinterpret_cast<const Declarative*>(self)->inferred().choices) {
      const llmh_recipe_choice shown = {sizeof(llmh_recipe_choice), choice.certainty, llmh::str(choice.what),
                                        llmh::str(choice.value), llmh::str(choice.source)};
      take(context, &shown);
    }
  });
}

llmh_status* text(llmh_arch_model* self, void* context, void (*take)(void*, llmh_str)) {
  return llmh::guard(
      [&] { take(context, llmh::str(reinterpret_cast<const Declarative*>(self)->inferred().text)); });
}

const void* get_extension(llmh_str id) {
  static const llmh_recipe recipe = {sizeof(llmh_recipe), &choices, &text};
  if (llmh::view(id) == LLMH_ARCH_INTERFACE) return llmh::ArchTable<Declarative>::get();
  return llmh::view(id) == LLMH_RECIPE_INTERFACE ? &recipe : nullptr;
}

}  // namespace

extern "C" {
LLMH_PLUGIN(LLMH_KIND_ARCH, &init, nullptr, &get_extension);
}
