// What a model computes: against a reference implementation, against itself in other shapes, against the
// reference evaluator. For architectures on the usual backend, and for backends with the usual architectures.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "check/bench.h"
#include "check/cases.h"
#include "check/child.h"
#include "check/expected.h"
#include "core/error.h"
#include "graph/fuse.h"

namespace llmhost::check {
namespace {

// Prompts when there is no reference that brings its own.
std::vector<Ids> made_up_prompts(const llmh_model_info& info) {
  std::vector<Ids> prompts;
  for (const int64_t length : {7, 37}) {
    Ids ids;
    for (int64_t i = 0; i < std::min(length, info.context_length); ++i)
      ids.push_back(static_cast<int32_t>((i * i * 7 + 31 * i + length) % info.vocab_size));
    prompts.push_back(ids);
  }
  return prompts;
}

// The model, a device, and what is expected if anything is.
class Rig {
 public:
  // `backend` in place of the usual one.
  explicit Rig(const Subject& subject, const std::string& backend = {})
      : own_(own_registry(subject)),
        others_(std::make_unique<plugin::Registry>(subject.options.other_plugins)) {
    const bool is_arch = subject.manifest.kind == plugin::Kind::kArch;
    at("loading the model");
    model_ = is_arch ? model::load_model(subject.options.model, *own_, {.arch = subject.manifest.id})
                     : model::load_model(subject.options.model, *others_);
    if (!subject.options.expected.empty()) expected_ = read_expected(subject.options.expected);
    Settings settings = subject.settings;
    if (!is_arch) settings.set("backend.name", subject.manifest.id);
    if (!backend.empty()) settings.set("backend.name", backend);
    at("opening the device");
    host_ =
        std::make_unique<engine::HostDevice>(is_arch ? *others_ : *own_, settings, engine::RunUse::kLogits);
    for (const ExpectedPrompt& prompt : expected_.prompts) prompts_.push_back(prompt.ids);
    if (prompts_.empty()) prompts_ = made_up_prompts(model_->info());
    for (const Ids& prompt : prompts_)
      for (const int32_t id : prompt)
        if (id < 0 || id >= model_->info().vocab_size)
          throw_invalid("token {} of the prompts is outside the vocabulary of {}", id,
                        model_->info().vocab_size);
    at("running the model");
  }

  const model::LoadedModel& model() const { return *model_; }
  const Expected& expected() const { return expected_; }
  const std::vector<Ids>& prompts() const { return prompts_; }
  bool host_visible() const { return host_->device().host_visible(); }

  std::unique_ptr<Bench> bench(const graph::Graph& graph, int32_t sequences = 1) const {
    size_t longest = 0;
    size_t generated = 0;
    for (const Ids& prompt : prompts_) longest = std::max(longest, prompt.size());
    for (const ExpectedPrompt& prompt : expected_.prompts)
      generated = std::max(generated, prompt.tokens.size());
    BenchLimits limits;
    limits.max_tokens = static_cast<int32_t>(longest) * sequences;
    limits.max_sequences = sequences;
    limits.max_context = static_cast<int64_t>(longest + generated);
    return std::make_unique<Bench>(*model_, graph, host_->device(), limits);
  }
  std::unique_ptr<Bench> bench(int32_t sequences = 1) const { return bench(model_->graph(), sequences); }

 private:
  std::unique_ptr<plugin::Registry> own_, others_;
  std::unique_ptr<model::LoadedModel> model_;
  std::unique_ptr<engine::HostDevice> host_;
  Expected expected_;
  std::vector<Ids> prompts_;
};

// --- Against a reference implementation

// "; first diverging layer: 1 (off by …)", from the outputs of the layers that the reference has.
std::string diverging_layer(const Rig& rig, size_t n) {
  const ExpectedPrompt& prompt = rig.expected().prompts[n];
  if (prompt.layers.empty()) return "; the reference has no layer outputs that would show where it begins";
  // A layer that is computed and then forgotten is none.
  const graph::Graph live = graph::eliminate_dead(rig.model().graph());
  const auto actual = layer_outputs(live);
  if (actual.empty()) return "; the graph names no activation '<path>.<layer>.output' to compare";
  for (const auto& [layer, values] : prompt.layers) {
    const auto found = actual.find(layer);
    if (found == actual.end())
      return fmt::format("; first diverging layer: {}, no activation '<path>.{}.output' reaches the logits",
                         layer, layer);
    const auto bench = rig.bench(with_output(live, found->second));
    const std::vector<float> rows = bench->run_one(prompt.ids);
    const std::string name(graph::to_view(live.tensor(found->second).name));
    if (rows.size() != values.size())
      return fmt::format("; '{}' has {} values, the reference {}", name, rows.size(), values.size());
    const double allowed = kRelativeTolerance * standard_deviation(values);
    const Difference off = largest_difference(rows, values);
    if (!(off.largest <= allowed))
      return fmt::format("; first diverging layer: {} ('{}' is off by {:.3g} at position {}, allowed {:.3g})",
                         layer, name, off.largest, off.index / static_cast<size_t>(bench->width()), allowed);
  }
  return "; no layer diverges: look behind the last one (final norm, output head, cap of the logits)";
}

std::string golden_logits(const Subject& subject) {
  const Rig rig(subject);
  const auto bench = rig.bench();
  const Expected& expected = rig.expected();
  double worst = 0;
  for (size_t n = 0; n < expected.prompts.size(); ++n) {
    const ExpectedPrompt& prompt = expected.prompts[n];
    const std::vector<float> rows = bench->run_one(prompt.ids);
    if (rows.size() != prompt.logits.size())
      throw_invalid("prompt {}: {} logits, the reference has {}", n, rows.size(), prompt.logits.size());
    const Difference off = largest_difference(rows, prompt.logits);
    if (!(off.largest <= expected.tolerance))
      throw_error(ErrorCode::kInternal,
                  "prompt {}: the logits are off by {:.3g} at position {}, allowed {:.3g}{}", n, off.largest,
                  off.index / static_cast<size_t>(bench->width()), expected.tolerance,
                  diverging_layer(rig, n));
    worst = std::max(worst, off.largest);
  }
  return fmt::format("off by {:.3g}, allowed {:.3g}", worst, expected.tolerance);
}

// The outputs of the layers themselves, when the logits agree: names that stand for something else.
std::string golden_layers(const Subject& subject) {
  const Rig rig(subject);
  for (size_t n = 0; n < rig.expected().prompts.size(); ++n) {
    if (rig.expected().prompts[n].layers.empty()) throw Skipped{"the reference has no layer outputs"};
    const std::string found = diverging_layer(rig, n);
    if (found.starts_with("; the graph")) throw Skipped{found.substr(2)};
    if (!found.starts_with("; no layer")) throw_error(ErrorCode::kInternal, "prompt {}{}", n, found);
  }
  return fmt::format("{} layers", rig.expected().prompts.front().layers.size());
}

std::string golden_tokens(const Subject& subject) {
  const Rig rig(subject);
  const auto bench = rig.bench();
  size_t n_tokens = 0;
  for (size_t n = 0; n < rig.expected().prompts.size(); ++n) {
    const ExpectedPrompt& prompt = rig.expected().prompts[n];
    if (!prompt.check_tokens || prompt.tokens.empty()) continue;
    const Ids tokens = bench->greedy(prompt.ids, prompt.tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] == prompt.tokens[i]) continue;
      const bool near_tie =
          !prompt.step_margin.empty() && prompt.step_margin[i] < 2 * rig.expected().tolerance;
      if (near_tie) break;  // rounding may decide; what follows is another text
      throw_error(ErrorCode::kInternal,
                  "prompt {}: token {} of the greedy continuation is {}, the reference has {}", n, i,
                  tokens[i], prompt.tokens[i]);
    }
    n_tokens += tokens.size();
  }
  if (n_tokens == 0) throw Skipped{"the reference has no tokens to compare"};
  return fmt::format("{} tokens", n_tokens);
}

// --- Against itself

void want_same(const std::vector<float>& actual, const std::vector<float>& alone, int64_t width,
               const std::string& how) {
  const bool same = actual.size() == alone.size() &&
                    std::memcmp(actual.data(), alone.data(), alone.size() * sizeof(float)) == 0;
  if (same) return;
  const Difference off = largest_difference(actual, alone);
  throw_error(ErrorCode::kInternal,
              "{}: the logits are other bits than those of the prompt alone, off by {:.3g} at "
              "position {}",
              how, off.largest, off.index / static_cast<size_t>(width));
}

// Bit for bit is what backends on the host's CPU promise.
void want_exact_backend(const Rig& rig) {
  if (!rig.host_visible()) throw Skipped{"the backend is no CPU backend, which alone promise the same bits"};
}

std::string same_in_chunks(const Subject& subject, const std::vector<int32_t>& chunks) {
  const Rig rig(subject);
  want_exact_backend(rig);
  const auto bench = rig.bench();
  for (const Ids& prompt : rig.prompts()) {
    const std::vector<float> whole = bench->run_one(prompt);
    for (const int32_t chunk : chunks)
      want_same(bench->run_one(prompt, chunk), whole, bench->width(),
                chunk == 1 ? "token by token" : fmt::format("in chunks of {}", chunk));
  }
  return {};
}

// Seven others of other lengths, the prompt in the middle.
std::vector<Ids> with_others(const Ids& prompt, int64_t vocab_size) {
  std::vector<Ids> all;
  for (size_t k = 0; k < 8; ++k) {
    Ids other(prompt.begin(), prompt.end() - static_cast<std::ptrdiff_t>(prompt.size() * k / 9));
    for (size_t i = 0; k != 3 && i < other.size(); ++i)
      other[i] = static_cast<int32_t>((other[i] + static_cast<int64_t>(7 * k + i + 1)) % vocab_size);
    all.push_back(k == 3 ? prompt : other);
  }
  return all;
}

std::string same_in_batch(const Subject& subject) {
  const Rig rig(subject);
  want_exact_backend(rig);
  const auto bench = rig.bench(8);
  for (const Ids& prompt : rig.prompts()) {
    const std::vector<float> alone = bench->run_one(prompt);
    const std::vector<Ids> all = with_others(prompt, rig.model().info().vocab_size);
    want_same(bench->run(all)[3], alone, bench->width(), "with 7 others in the batch");
    want_same(bench->run(all, 1)[3], alone, bench->width(), "token by token with 7 others in the batch");
  }
  return {};
}

// What stood in the slot before leaves no trace.
std::string same_after_others(const Subject& subject) {
  const Rig rig(subject);
  want_exact_backend(rig);
  for (const Ids& prompt : rig.prompts()) {
    const auto fresh = rig.bench();
    const std::vector<float> alone = fresh->run_one(prompt);
    const auto used = rig.bench();
    for (const Ids& other : with_others(prompt, rig.model().info().vocab_size)) used->run_one(other);
    want_same(used->run_one(prompt, 3), alone, used->width(), "after other prompts in the same place");
  }
  return {};
}

std::string zero_adapter(const Subject& subject) {
  const Rig rig(subject);
  want_exact_backend(rig);
  int64_t n = 0;
  const graph::Graph adapted = with_zero_adapters(rig.model().graph(), &n);
  const auto base_bench = rig.bench();
  const auto bench = rig.bench(adapted);
  for (const Ids& prompt : rig.prompts()) {
    const std::vector<float> base = base_bench->run_one(prompt);
    const std::vector<float> rows = bench->run_one(prompt);
    // As numbers: -0 + 0 is 0.
    const Difference off = largest_difference(rows, base);
    if (off.largest != 0 || rows.size() != base.size())
      throw_error(ErrorCode::kInternal, "adapters that are zero change the logits by {:.3g}", off.largest);
  }
  return fmt::format("{} linears", n);
}

// --- Against the reference evaluator

// Its products are slow: this many multiplications at most.
constexpr double kMaxWork = 3e8;

std::string same_as_reference(const Subject& subject) {
  const Rig rig(subject);
  const Rig reference(subject, engine::kReferenceBackend);
  double parameters = 0;
  for (const auto& weight : rig.model().weights_of(rig.model().graph())) {
    double n = 1;
    for (const int64_t size : weight.source->shape) n *= static_cast<double>(size);
    parameters += n;
  }
  const auto budget = static_cast<size_t>(std::max(2.0, kMaxWork / std::max(1.0, parameters)));
  const auto bench = rig.bench();
  const auto slow = reference.bench();
  double worst = 0;
  for (Ids prompt : rig.prompts()) {
    if (prompt.size() > budget) prompt.resize(budget);
    const std::vector<float> expected = slow->run_one(prompt);
    const std::vector<float> actual = bench->run_one(prompt);
    const double allowed = rig.expected().tolerance > 0 ? rig.expected().tolerance
                                                        : kRelativeTolerance * standard_deviation(expected);
    const Difference off = largest_difference(actual, expected);
    if (!(off.largest <= allowed))
      throw_error(ErrorCode::kInternal,
                  "off by {:.3g} from the reference evaluator at position {}, allowed {:.3g}", off.largest,
                  off.index / static_cast<size_t>(bench->width()), allowed);
    worst = std::max(worst, off.largest);
  }
  return fmt::format("off by {:.3g}", worst);
}

}  // namespace

void add_number_cases(const Subject& subject, Cases& cases) {
  const auto add = [&](const char* name, std::string (*run)(const Subject&)) {
    cases.push_back({name, [&subject, run] { return run(subject); }});
  };
  if (!subject.options.expected.empty()) {
    add("golden.logits", &golden_logits);
    add("golden.layers", &golden_layers);
    add("golden.tokens", &golden_tokens);
  }
  cases.push_back({"same.token_by_token", [&] { return same_in_chunks(subject, {1}); }});
  cases.push_back({"same.in_chunks", [&] { return same_in_chunks(subject, {2, 5, 16}); }});
  add("same.in_a_batch", &same_in_batch);
  add("same.after_others", &same_after_others);
  add("same.zero_adapter", &zero_adapter);
  add("same.as_reference", &same_as_reference);
}

}  // namespace llmhost::check
