#include "model/recipe.h"

#include <algorithm>
#include <exception>

#include "core/error.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::model {
namespace {

// Far more than any description has.
constexpr size_t kMaxChoices = 10'000;
constexpr size_t kMaxTextBytes = size_t{1} << 20;

std::string to_string(llmh_str text) {
  if (text.len > kMaxTextBytes) throw_invalid("a recipe of more than {} bytes", kMaxTextBytes);
  return text.ptr == nullptr ? std::string() : std::string(text.ptr, text.len);
}

// What the plugin hands over. A failure on this side must not pass through the plugin: it is kept until the
// call is over.
class Collector {
 public:
  static void take_choice(void* context, const llmh_recipe_choice* choice) {
    auto& self = *static_cast<Collector*>(context);
    self.guarded([&] {
      if (self.recipe_.choices.size() == kMaxChoices)
        throw_invalid("a recipe of more than {} choices", kMaxChoices);
      self.recipe_.choices.push_back({to_string(choice->what), to_string(choice->value),
                                      to_string(choice->source), std::clamp(choice->certainty, 0, 100)});
    });
  }
  static void take_text(void* context, llmh_str text) {
    auto& self = *static_cast<Collector*>(context);
    self.guarded([&] { self.recipe_.text = to_string(text); });
  }
  Recipe finish() {
    if (failure_) std::rethrow_exception(failure_);
    return std::move(recipe_);
  }

 private:
  template <typename Fn>
  void guarded(Fn&& fn) noexcept {
    try {
      fn();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  Recipe recipe_;
  std::exception_ptr failure_;
};

}  // namespace

Recipe read_recipe(plugin::Plugin& plugin, llmh_arch_model* opened) {
  const auto* table = static_cast<const llmh_recipe*>(plugin.extension(LLMH_RECIPE_INTERFACE));
  if (table == nullptr) return {};
  if (!LLMH_HAS(table, text) || table->choices == nullptr || table->text == nullptr)
    throw_error(ErrorCode::kInternal, "plugin {}: its table {} is incomplete", plugin.id(),
                LLMH_RECIPE_INTERFACE);
  Collector collector;
  const plugin::ControlScope scope(table, "llmh_recipe");
  plugin::check(table->choices(opened, &collector, &Collector::take_choice));
  plugin::check(table->text(opened, &collector, &Collector::take_text));
  return collector.finish();
}

}  // namespace llmhost::model
