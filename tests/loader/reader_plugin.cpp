// An architecture that matches every model and tells how it understood it: an embedding table as its own
// output head. READER_SCORE is how well it matches; with READER_WITHOUT_RECIPE it tells nothing.
#include "llmhost/decoder.hpp"

namespace {

class Reader {
 public:
  static int match(const llmh::Model&) { return READER_SCORE; }

  explicit Reader(const llmh::Model& model)
      : vocab_size_(model.require_size("vocab_size")), hidden_size_(model.require_size("hidden_size")) {
    type_ = model.string_or("model_type", "");
  }

  void describe(llmh_model_info& info, llmh::States&) const {
    info.hidden_size = hidden_size_;
    info.vocab_size = vocab_size_;
    info.context_length = 64;
    info.tied_embeddings = 1;
  }
  void names(llmh::Names&) const {}
  void build(llmh::Graph& graph) const {
    const llmh::Tensor x =
        graph.root().embedding("embed", graph.input(LLMH_INPUT_TOKEN_IDS), vocab_size_, hidden_size_);
    graph.output(LLMH_OUTPUT_LOGITS,
                 llmh::lm_head(graph, llmh::output_rows(x), vocab_size_, true, "embed.weight"));
  }

  const std::string& type() const { return type_; }

 private:
  int64_t vocab_size_, hidden_size_;
  std::string type_;
};

const Reader& self(llmh_arch_model* model) {
  return *reinterpret_cast<const Reader*>(model);
}

llmh_status* choices(llmh_arch_model* model, void* context, void (*take)(void*, const llmh_recipe_choice*)) {
  return llmh::guard([&] {
    llmh_recipe_choice choice{};
    choice.struct_size = sizeof choice;
    choice.what = llmh::str("type");
    choice.value = llmh::str(self(model).type());
    choice.source = llmh::str("config: model_type");
    choice.certainty = 100;
    take(context, &choice);
    choice.what = llmh::str("head");
    choice.value = llmh::str("tied");
    choice.source = llmh::str("common default");
    choice.certainty = 40;
    take(context, &choice);
  });
}

llmh_status* text(llmh_arch_model* model, void* context, void (*take)(void*, llmh_str)) {
  return llmh::guard([&] {
    const std::string yaml = "model_type: " + self(model).type() + "\nhead: tied";
    take(context, llmh::str(yaml));
  });
}

constexpr llmh_recipe kRecipe = {sizeof(llmh_recipe), choices, text};

llmh_status* init(const llmh_host* host) {
  llmh::set_host(host);
  return nullptr;
}

const void* get_extension(llmh_str id) {
  if (llmh::view(id) == LLMH_ARCH_INTERFACE) return llmh::ArchTable<Reader>::get();
#ifndef READER_WITHOUT_RECIPE
  if (llmh::view(id) == LLMH_RECIPE_INTERFACE) return &kRecipe;
#endif
  return nullptr;
}

}  // namespace

LLMH_PLUGIN(LLMH_KIND_ARCH, &init, nullptr, &get_extension);
