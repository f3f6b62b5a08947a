// An architecture called in every odd way that the headers allow: it may refuse, it must not crash, lose an
// error or leak.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>

#include "check/arch_session.h"
#include "check/cases.h"
#include "check/child.h"
#include "core/error.h"
#include "graph/dump.h"
#include "plugin/status.h"

namespace llmhost::check {
namespace {

// The plugin as the host has it, and the model's checkpoint if there is one.
struct Fixture {
  explicit Fixture(const Subject& subject)
      : registry(own_registry(subject)),
        arch(plugin::arch(registry->require(plugin::Kind::kArch, subject.manifest.id))) {
    if (subject.options.model.empty()) return;
    checkpoint.emplace(model::Checkpoint::open(subject.options.model));
    checkpoint->join_quantised();
    config = checkpoint->config();
  }
  ArchSession session(const Faults& faults = {}) const { return session_of(config, faults); }
  ArchSession session_of(const Json& other, const Faults& faults = {}) const {
    return {arch, other, checkpoint ? &*checkpoint : nullptr, faults};
  }

  std::unique_ptr<plugin::Registry> registry;
  const llmh_arch& arch;
  std::optional<model::Checkpoint> checkpoint;
  Json config;
};

// A plugin that takes long to open is not tried in every way: what a case has time for.
class Budget {
 public:
  explicit Budget(double seconds) : seconds_(seconds) {}
  double spent() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  bool is_spent() const { return spent() > seconds_; }

 private:
  double seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};
constexpr double kCaseSeconds = 15;

void want_success(const Failure& failed, std::string_view what) {
  if (failed) throw_error(ErrorCode::kInternal, "{}: {}", what, *failed);
}

std::string built_dump(const Fixture& fixture, const Faults& faults, std::string_view what) {
  ArchSession session = fixture.session(faults);
  want_success(session.build_all(), what);
  return graph::dump(session.graph());
}

// One config through everything; whatever it answers is fine as long as it answers.
void try_config(const Fixture& fixture, const Json& config) {
  ArchSession session = fixture.session_of(config);
  const int32_t score = session.match();
  if (score < LLMH_MATCH_NONE || score > LLMH_MATCH_EXACT)
    throw_error(ErrorCode::kInternal, "match gives {} for {}; scores are LLMH_MATCH_*", score,
                config.dump().substr(0, 200));
  session.build_all();
}

std::string garbage_configs(const Subject& subject) {
  const Fixture fixture(subject);
  std::string type = subject.manifest.provides.empty() ? "x" : subject.manifest.provides.front();
  std::vector<Json> configs{
      Json::object(),         {{"model_type", nullptr}},
      {{"model_type", 7}},    {{"model_type", Json::array({type})}},
      {{"model_type", ""}},   {{"model_type", std::string(100'000, 'a')}},
      {{"model_type", type}}, {{"model_type", type}, {"hidden_size", "wide"}, {"num_hidden_layers", {}}}};
  for (const Json& value :
       {Json(), Json(-1), Json(0), Json(1.5), Json("x"), Json::array(), Json::object(), Json(true)}) {
    Json config{{"model_type", type}};
    for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                            "num_key_value_heads", "intermediate_size", "rope_scaling", "head_dim"})
      config[key] = value;
    configs.push_back(config);
  }
  for (const Json& config : configs) try_config(fixture, config);
  return fmt::format("{} configs", configs.size());
}

// Each key of the real config in turn holds something else.
std::string garbage_values(const Subject& subject) {
  const Fixture fixture(subject);
  const Budget budget(kCaseSeconds);
  const std::vector<Json> others{Json(),    Json(-1),     Json(0),       Json(3),        Json(65536),
                                 Json(0.5), Json("text"), Json::array(), Json::object(), Json(true)};
  const size_t total = fixture.config.size() * others.size();
  size_t n = 0;
  // Key after key, so that all have had their turn when the time is up.
  for (size_t round = 0; round < others.size(); ++round) {
    size_t index = 0;
    for (const auto& [key, value] : fixture.config.items()) {
      if (budget.is_spent()) return fmt::format("{} of {} configs, there was no time for more", n, total);
      Json config = fixture.config;
      config[key] = others[(round + index++) % others.size()];
      try_config(fixture, config);
      ++n;
    }
  }
  return fmt::format("{} configs", n);
}

std::string all_absent(const Subject& subject) {
  const Fixture fixture(subject);
  for (const ValueFault fault : {ValueFault::kAbsent, ValueFault::kWrongType}) {
    Faults faults;
    faults.value_fault = fault;
    ArchSession session = fixture.session(faults);
    session.match();
    const Failure failed = session.build_all();
    if (!failed)
      throw_error(ErrorCode::kInternal, "builds a model although no key of the config {}",
                  fault == ValueFault::kAbsent ? "is there" : "has the right type");
  }
  return {};
}

// Each key that the plugin reads in turn is absent, or an object.
std::string each_value(const Subject& subject) {
  const Fixture fixture(subject);
  ArchSession whole = fixture.session();
  whole.match();
  whole.build_all();
  const Budget budget(kCaseSeconds);
  for (const std::string& key : whole.context().keys)
    for (const ValueFault fault : {ValueFault::kAbsent, ValueFault::kWrongType}) {
      if (budget.is_spent()) return fmt::format("up to '{}', there was no time for more", key);
      Faults faults;
      faults.value_fault = fault;
      faults.faulty_key = key;
      ArchSession session = fixture.session(faults);
      session.match();
      session.build_all();
    }
  return fmt::format("{} keys", whole.context().keys.size());
}

std::string lying_tensors(const Subject& subject) {
  const Fixture fixture(subject);
  for (const TensorFault fault :
       {TensorFault::kAllAbsent, TensorFault::kAllPresent, TensorFault::kHuge, TensorFault::kNegative}) {
    Faults faults;
    faults.tensor_fault = fault;
    ArchSession session = fixture.session(faults);
    session.match();
    session.build_all();
  }
  return {};
}

// Every call in turn fails; the error must come back. Beyond this many calls only some are tried.
constexpr int64_t kMaxFaults = 1500;

template <typename Set, typename Count>
std::string failing_calls(const Subject& subject, const char* what, Set set, Count count) {
  const Fixture fixture(subject);
  int64_t calls = 0;
  {
    ArchSession session = fixture.session();
    want_success(session.build_all(), "with a host that works");
    calls = count(session.context().counts);
  }
  const Budget once(0);
  static_cast<void>(fixture.session().build_all());
  const auto fitting = static_cast<int64_t>(kCaseSeconds / std::max(once.spent(), 1e-6));
  const int64_t stride = calls / std::clamp<int64_t>(fitting, 1, kMaxFaults) + 1;
  for (int64_t call = 0; call < calls; call += stride) {
    Faults faults;
    set(faults, call);
    ArchSession session = fixture.session(faults);
    const Failure failed = session.build_all();
    if (session.context().failed && !failed)
      throw_error(ErrorCode::kInternal, "call {} of {} to the {} failed, and the plugin reports success",
                  call, calls, what);
  }
  return fmt::format("{} calls", calls);
}

std::string failing_builder(const Subject& subject) {
  return failing_calls(
      subject, "builder", [](Faults& faults, int64_t call) { faults.failing_builder = call; },
      [](const CallCounts& counts) { return counts.builder; });
}

std::string failing_sinks(const Subject& subject) {
  return failing_calls(
      subject, "sinks", [](Faults& faults, int64_t call) { faults.failing_sink = call; },
      [](const CallCounts& counts) { return counts.sink; });
}

std::string newer_structs(const Subject& subject) {
  const Fixture fixture(subject);
  Faults faults;
  faults.extra = kMaxExtra;
  if (built_dump(fixture, faults, "with larger structs") !=
      built_dump(fixture, {}, "with structs as they are"))
    throw_error(ErrorCode::kInternal, "a host with larger structs gets another graph");
  return {};
}

std::string order_of_calls(const Subject& subject) {
  const Fixture fixture(subject);
  const std::string expected = built_dump(fixture, {}, "the first model");
  ArchSession unused = fixture.session();
  want_success(unused.open(), "open");
  unused.close();
  ArchSession first = fixture.session();
  ArchSession second = fixture.session();
  want_success(first.open(), "open of the first of two models");
  want_success(second.open(), "open of the second of two models");
  for (ArchSession* session : {&second, &first}) {
    want_success(session->names(), "names of one of two models");
    want_success(session->describe(), "describe of one of two models");
  }
  for (ArchSession* session : {&first, &second, &first}) {
    want_success(session->build(), "build of one of two models");
    if (graph::dump(session->graph()) != expected)
      throw_error(ErrorCode::kInternal,
                  "the graph differs when another model is open, or when it is built again");
  }
  first.close();
  want_success(second.build(), "build after the other model was closed");
  if (graph::dump(second.graph()) != expected)
    throw_error(ErrorCode::kInternal, "the graph differs after another model was closed");
  return {};
}

// Bytes in use; 0 throughout where the allocator does not tell (sanitizers).
size_t bytes_in_use() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

// Bytes lost with each cycle: the least of several rounds, since the allocator's own bookkeeping comes and
// goes.
size_t lost_bytes(const std::function<void()>& cycle) {
  const Budget once(0);
  cycle();
  const auto fitting = static_cast<int64_t>(1.0 / std::max(once.spent(), 1e-6));  // in a second
  const auto cycles = static_cast<size_t>(std::clamp<int64_t>(fitting, 5, 40));
  constexpr int kRounds = 4;
  size_t least = SIZE_MAX;
  for (int round = 0; round <= kRounds; ++round) {
    const size_t before = bytes_in_use();
    for (size_t i = 0; i < cycles; ++i) cycle();
    const size_t after = bytes_in_use();
    if (round > 0) least = std::min(least, after > before ? (after - before) / cycles : 0);
  }
  return least;
}

std::string leaks(const Subject& subject) {
  const Fixture fixture(subject);
  int64_t calls = 0;
  const auto cycle = [&](int64_t failing) {
    Faults faults;
    faults.failing_builder = failing;
    ArchSession session = fixture.session(faults);
    session.build_all();
    calls = session.context().counts.builder;
  };
  // The smallest object that the allocator gives.
  constexpr size_t kObject = 16;
  if (const size_t lost = lost_bytes([&] { cycle(Faults::kNever); }); lost >= kObject)
    throw_error(ErrorCode::kInternal, "loses {} bytes with each model that is opened, built and closed",
                lost);
  const int64_t middle = calls / 2;
  if (const size_t lost = lost_bytes([&] { cycle(middle); }); lost >= kObject)
    throw_error(ErrorCode::kInternal, "loses {} bytes with each build that fails half way", lost);
  return {};
}

std::string matches(const Subject& subject) {
  const Fixture fixture(subject);
  const int32_t score = fixture.session().match();
  if (score <= LLMH_MATCH_NONE)
    throw_error(ErrorCode::kInternal, "match gives {} for the model it is checked with", score);
  return fmt::format("score {}", score);
}

}  // namespace

void add_arch_cases(const Subject& subject, Cases& cases) {
  const auto add = [&](const char* name, std::string (*run)(const Subject&)) {
    cases.push_back({name, [&subject, run] { return run(subject); }});
  };
  add("arch.garbage_configs", &garbage_configs);
  if (subject.options.model.empty()) return;
  add("arch.match", &matches);
  add("arch.garbage_keys", &garbage_values);
  add("arch.no_keys", &all_absent);
  add("arch.each_key", &each_value);
  add("arch.lying_tensors", &lying_tensors);
  add("arch.failing_builder", &failing_builder);
  add("arch.failing_sinks", &failing_sinks);
  add("arch.newer_structs", &newer_structs);
  add("arch.order_of_calls", &order_of_calls);
  add("arch.leaks", &leaks);
}

}  // namespace llmhost::check
