// Architectures described in YAML: the documents that the host keeps under "archs". One that names the
// checkpoint's model type is followed exactly; for a type that none names the recipe is read off the
// checkpoint itself.
#include <string>

#include "infer.h"
#include "library.h"
#include "recipe.h"

namespace {

using declarative::Library;

// The documents as they are now: a file added to a folder counts from the next model on. One that cannot be
// read stops the model that is opened; a mere question (`quiet`) goes on without it.
Library library(bool quiet) {
  const llmh_host* host = llmh::host();
  const auto* extension =
      static_cast<const llmh_documents*>(host->get_extension(host, llmh::str(LLMH_DOCUMENTS_INTERFACE)));
  Library documents;
  const llmh_str subject = llmh::str("archs");
  const int64_t n = extension == nullptr ? 0 : extension->count(host, subject);
  for (int64_t i = 0; i < n; ++i) {
    llmh_document document{};
    document.struct_size = sizeof document;
    llmh::check(extension->get(host, subject, i, &document));
    try {
      documents.add(std::string(llmh::view(document.origin)), std::string(llmh::view(document.text)));
    } catch (const llmh::Error&) {
      if (!quiet) throw;
    }
  }
  return documents;
}

class Declarative {
 public:
  static int match(const llmh::Model& model) {
    const std::string type = model.string_or("model_type", "");
    return library(true).find(type) != nullptr ? LLMH_MATCH_EXACT : LLMH_MATCH_INFERRED;
  }

  explicit Declarative(const llmh::Model& model) {
    const Library documents = library(false);
    const std::string type = model.string_or("model_type", "");
    if (const Library::Document* document = documents.find(type)) {
      recipe_ = declarative::read_recipe(document->origin, documents.whole(*document), model);
      return;
    }
    if (const std::string reason = documents.refusal(type); !reason.empty())
      throw llmh::Error(LLMH_UNIMPLEMENTED, "model type '" + type + "' is not supported: " + reason);
    inferred_ = declarative::infer(model);
    const std::string origin = "inferred recipe";
    recipe_ = declarative::read_recipe(origin, declarative::parse_document(origin, inferred_.text), model);
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
