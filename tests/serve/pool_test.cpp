// The rules of the pool, on models that are only pretended.
#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "core/error.h"
#include "core/log.h"
#include "serve/models/model_roots.h"
#include "serve/models/on_demand_pool.h"

namespace llmhost::serve {
namespace {

using namespace std::chrono_literals;

class FakeServed final : public ServedModel {
 public:
  explicit FakeServed(const std::string& id) { card_.id = id; }
  const ModelCard& card() const override { return card_; }
  ModelLoad load() const override { return {}; }
  const text::Tokenizer& tokenizer() const override { throw Error(ErrorCode::kUnimplemented, ""); }
  std::string render_chat(const OrderedJson&) const override { return {}; }
  std::vector<int32_t> encode(std::string_view, bool) const override { return {}; }
  const std::vector<int32_t>& stop_tokens() const override { return none_; }
  engine::SamplingParams default_sampling() const override { return {}; }
  const text::ToolFormat* tool_format() const override { return nullptr; }
  std::shared_ptr<const text::TokenVocabulary> grammar_vocabulary() const override { return nullptr; }
  const engine::PoolingOptions& pooling() const override { throw Error(ErrorCode::kUnimplemented, ""); }
  engine::AdapterStore* adapters() override { return nullptr; }
  Ticket submit(engine::Request, uint64_t, std::string_view) override { return {}; }
  void cancel(const Ticket&) override {}

 private:
  ModelCard card_;
  std::vector<int32_t> none_;
};

// What was done, for all models; and a gate that loads wait at.
struct Machine {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> log;  // "load a", "unload a"
  std::map<std::string, uint64_t> sizes;
  std::map<std::string, std::string> faults;
  uint64_t used = 0;
  uint64_t most_used = 0;
  bool is_open = true;

  void say(const std::string& what) {
    const std::scoped_lock lock(mutex);
    log.push_back(what);
    changed.notify_all();
  }
  std::vector<std::string> said() {
    const std::scoped_lock lock(mutex);
    return log;
  }
  size_t count(const std::string& what) {
    const std::scoped_lock lock(mutex);
    return static_cast<size_t>(std::count(log.begin(), log.end(), what));
  }
  void open(bool now) {
    const std::scoped_lock lock(mutex);
    is_open = now;
    changed.notify_all();
  }
};

class FakePlanned final : public PlannedModel {
 public:
  FakePlanned(Machine& machine, std::string id) : machine_(machine), id_(std::move(id)) {}
  uint64_t bytes() const override { return machine_.sizes.at(id_); }
  uint64_t adapter_bytes() const override { return 0; }
  engine::MemoryPlan memory() const override { return {}; }
  RunningModel load(const Progress& progress) override {
    progress(0.5);
    machine_.say("load " + id_);
    std::unique_lock lock(machine_.mutex);
    machine_.changed.wait(lock, [&] { return machine_.is_open; });
    if (const auto fault = machine_.faults.find(id_); fault != machine_.faults.end())
      throw_error(ErrorCode::kDataLoss, "{}", fault->second);
    machine_.used += bytes();
    machine_.most_used = std::max(machine_.most_used, machine_.used);
    const auto unload = [&machine = machine_, id = id_, size = bytes()](FakeServed* model) {
      delete model;
      machine.say("unload " + id);
      const std::scoped_lock inner(machine.mutex);
      machine.used -= size;
    };
    return {std::shared_ptr<FakeServed>(new FakeServed(id_), unload), [] {}};
  }

 private:
  Machine& machine_;
  std::string id_;
};

class FakeLoader final : public ModelLoader {
 public:
  explicit FakeLoader(Machine& machine) : machine_(machine) {}
  std::unique_ptr<PlannedModel> plan(const ModelConfig& config, uint64_t) override {
    return std::make_unique<FakePlanned>(machine_, config.id);
  }
  uint64_t free_memory() override { return 1000; }

 private:
  Machine& machine_;
};

ModelConfig model(const std::string& id, bool pinned = false, bool preload = false) {
  ModelConfig config{Settings(serve_schema())};
  config.id = id;
  config.path = "/secret/models/" + id;
  config.pinned = pinned;
  config.preload = preload;
  return config;
}

// Five models of ten bytes, room for 25.
struct Fixture {
  Fixture() : config{Settings(serve_schema()), {}, {}, {}, {}} {
    spdlog::set_level(spdlog::level::off);
    for (const char* id : {"a", "b", "c", "d", "e"}) {
      config.models.push_back(model(id));
      machine.sizes[id] = 10;
    }
    config.pool.memory = 25;
    config.pool.load_timeout_s = 20;
  }

  OnDemandPool& start() {
    pool = std::make_unique<OnDemandPool>(config, std::make_unique<FakeLoader>(machine));
    pool->start();
    return *pool;
  }

  using Answer = std::pair<std::shared_ptr<ServedModel>, std::string>;
  std::future<Answer> ask(const std::string& name, uint64_t* ticket = nullptr) {
    auto promise = std::make_shared<std::promise<Answer>>();
    std::future<Answer> answer = promise->get_future();
    const auto ready = [promise](std::shared_ptr<ServedModel> got, std::string adapter,
                                 const std::exception_ptr& error) {
      if (error)
        promise->set_exception(error);
      else
        promise->set_value({std::move(got), std::move(adapter)});
    };
    const uint64_t number = pool->acquire(name, ready);
    if (ticket != nullptr) *ticket = number;
    return answer;
  }
  std::shared_ptr<ServedModel> get(const std::string& name) { return ask(name).get().first; }
  ErrorCode code_of(std::future<Answer> answer) {
    try {
      answer.get();
    } catch (const Error& error) {
      message = error.what();
      return error.code();
    }
    return ErrorCode::kOk;
  }
  ModelStatus status(const std::string& id) {
    for (ModelStatus& one : pool->list())
      if (one.id == id) return one;
    return {};
  }

  ServeConfig config;
  Machine machine;
  std::string message;
  std::unique_ptr<OnDemandPool> pool;
};

}  // namespace

TEST_CASE("models are loaded when they are asked for, and go least recently used first") {
  Fixture f;
  f.start();
  CHECK(f.get("a")->card().id == "a");
  CHECK(f.get("b")->card().id == "b");
  f.get("a");
  f.get("c");  // b is the longest unused
  f.get("b");  // then a
  CHECK(f.machine.said() ==
        std::vector<std::string>{"load a", "load b", "unload b", "load c", "unload a", "load b"});
  CHECK(f.pool->memory_used() == 20);
  CHECK(f.pool->memory_budget() == 25);
  CHECK(f.machine.most_used <= 25);
}

TEST_CASE("a limit of models holds too") {
  Fixture f;
  f.config.pool.memory = 1000;
  f.config.pool.max_loaded = 1;
  f.start();
  f.get("a");
  f.get("b");
  CHECK(f.machine.said() == std::vector<std::string>{"load a", "unload a", "load b"});
}

TEST_CASE("pinned models stay, and what does not fit beside them is refused with the figures") {
  Fixture f;
  f.config.models[0] = model("a", true, true);
  f.machine.sizes["e"] = 20;
  f.start();
  for (const char* id : {"b", "c", "d", "b", "a", "c"}) f.get(id);
  CHECK(f.machine.count("unload a") == 0);
  CHECK(f.code_of(f.ask("e")) == ErrorCode::kResourceExhausted);
  CHECK(f.message.find("20 B") != std::string::npos);
  CHECK(f.message.find("25 B") != std::string::npos);
  CHECK_THROWS_AS(f.pool->unload("a"), Error);
}

TEST_CASE("all who wait share a load") {
  Fixture f;
  f.machine.open(false);
  f.start();
  std::vector<std::future<Fixture::Answer>> answers;
  for (int i = 0; i < 10; ++i) answers.push_back(f.ask("a"));
  while (f.status("a").state != ModelState::kLoading) std::this_thread::sleep_for(1ms);
  CHECK(f.status("b").state == ModelState::kKnown);
  f.machine.open(true);
  for (auto& answer : answers) CHECK(answer.get().first->card().id == "a");
  CHECK(f.machine.count("load a") == 1);
  CHECK(f.status("a").state == ModelState::kLoaded);
}

TEST_CASE("who waits may be forgotten; too many may not wait") {
  Fixture f;
  f.config.pool.max_waiting = 2;
  f.machine.open(false);
  f.start();
  uint64_t ticket = 0;
  std::future<Fixture::Answer> forgotten = f.ask("a", &ticket);
  std::future<Fixture::Answer> second = f.ask("b");
  CHECK(f.code_of(f.ask("b")) == ErrorCode::kResourceExhausted);
  f.pool->forget(ticket);
  std::future<Fixture::Answer> third = f.ask("b");
  f.machine.open(true);
  CHECK(second.get().first != nullptr);
  CHECK(third.get().first != nullptr);
  CHECK_THROWS_AS(forgotten.get(), std::future_error);
}

TEST_CASE("forgetting does not wait for one who is being told") {
  Fixture f;
  f.machine.open(false);
  f.start();
  std::promise<void> told;
  std::promise<void> goes_on;
  const uint64_t ticket =
      f.pool->acquire("a", [&](const std::shared_ptr<ServedModel>&, const std::string&, const auto&) {
        told.set_value();
        goes_on.get_future().wait();
      });
  f.machine.open(true);
  told.get_future().wait();
  f.pool->forget(ticket);
  goes_on.set_value();
  f.pool.reset();  // the callback uses what is above
}

TEST_CASE("without waiting, the answer tells state, progress and when to come again") {
  Fixture f;
  f.config.pool.waits = false;
  f.machine.open(false);
  f.start();
  while (true) {
    try {
      f.get("a");
      break;
    } catch (const ModelNotReady& error) {
      CHECK(error.code() == ErrorCode::kUnavailable);
      CHECK(error.retry_after_s >= 1);
      if (error.state == ModelState::kLoading && error.progress == 0.5) f.machine.open(true);
    }
    std::this_thread::sleep_for(1ms);
  }
}

TEST_CASE("a held model is not unloaded; its release makes room") {
  Fixture f;
  f.start();
  auto a = f.get("a");
  auto b = f.get("b");
  std::future<Fixture::Answer> c = f.ask("c");
  CHECK(c.wait_for(50ms) == std::future_status::timeout);
  b.reset();
  CHECK(c.get().first->card().id == "c");
  CHECK(f.machine.count("unload b") == 1);
  CHECK(f.machine.count("unload a") == 0);
}

TEST_CASE("a model in constant use gives way in time") {
  Fixture f;
  f.start();
  std::atomic<bool> is_done{false};
  std::vector<std::thread> users;
  for (int i = 0; i < 6; ++i)
    users.emplace_back([&f, &is_done, i] {
      std::this_thread::sleep_for(i * 1ms);
      while (!is_done) {
        const auto held = f.get(i % 2 == 0 ? "a" : "b");
        std::this_thread::sleep_for(3ms);
      }
    });
  std::this_thread::sleep_for(30ms);
  std::future<Fixture::Answer> c = f.ask("c");
  const bool came = c.wait_for(OnDemandPool::kPatience + 2000ms) == std::future_status::ready;
  if (came) c.get();
  is_done = true;
  for (std::thread& user : users) user.join();
  CHECK(came);
}

TEST_CASE("without room for longer than one waits, the figures are told") {
  Fixture f;
  f.config.pool.load_timeout_s = 1;
  f.start();
  auto a = f.get("a");
  auto b = f.get("b");
  const ErrorCode code = f.code_of(f.ask("c"));
  CHECK((code == ErrorCode::kResourceExhausted || code == ErrorCode::kDeadlineExceeded));
}

TEST_CASE("a load that fails says why, without paths, and is not tried again at once") {
  Fixture f;
  f.machine.faults["a"] = "/secret/models/a/config.json: no such key, see /etc/passwd and 3/4";
  f.start();
  CHECK(f.code_of(f.ask("a")) == ErrorCode::kDataLoss);
  CHECK(f.message.find("secret") == std::string::npos);
  CHECK(f.message.find("/etc") == std::string::npos);
  CHECK(f.message.find("config.json: no such key, see passwd and 3/4") != std::string::npos);
  CHECK(f.code_of(f.ask("a")) == ErrorCode::kDataLoss);
  CHECK(f.machine.count("load a") == 1);
  CHECK(f.status("a").state == ModelState::kFailed);
  CHECK(f.get("b") != nullptr);
  CHECK(f.pool->memory_used() == 10);
}

TEST_CASE("names: aliases, adapters, strangers") {
  Fixture f;
  f.config.models[0].aliases = {"gpt-4o"};
  const std::filesystem::path root = std::filesystem::temp_directory_path() / "llmhost-pool-test";
  std::filesystem::create_directories(root / "poet");
  std::ofstream(root / "poet" / "adapter_config.json") << "{}";
  f.config.models[1].adapters.roots = {root};
  f.start();
  CHECK(f.get("gpt-4o")->card().id == "a");
  CHECK(f.ask("a:style").get().second == "style");
  const Fixture::Answer poet = f.ask("poet").get();
  CHECK(poet.first->card().id == "b");
  CHECK(poet.second == "poet");
  for (const char* name : {"", "z", "z:a", "a:", "../a", "/secret/models/a", "a/", "..", "../../poet"})
    CHECK(f.code_of(f.ask(name)) == ErrorCode::kNotFound);
  std::filesystem::remove_all(root);
}

TEST_CASE("models of a folder: directly, one level below, GGUF files; nothing outside") {
  namespace fs = std::filesystem;
  const fs::path root = fs::temp_directory_path() / "llmhost-roots-test";
  fs::remove_all(root);
  const auto touch = [&](const std::string& file) {
    fs::create_directories((root / file).parent_path());
    std::ofstream(root / file) << "{}";
  };
  touch("in/one/config.json");
  touch("in/owner/two/config.json");
  touch("in/three.gguf");
  touch("in/four/model-Q4.gguf");
  touch("in/four/model-Q8-00001-of-00002.gguf");
  touch("in/four/model-Q8-00002-of-00002.gguf");
  touch("in/a/b/deep/config.json");
  touch("in/bad name/config.json");
  touch("in/notes.txt");
  touch("out/evil/config.json");
  fs::create_directory_symlink(root / "out" / "evil", root / "in" / "link");
  std::vector<std::string> names;
  for (const auto& [name, path] : find_models(root / "in")) names.push_back(name);
  CHECK(names == std::vector<std::string>{"four/model-Q4", "four/model-Q8", "one", "owner/two", "three"});
  CHECK(find_models(root / "none").empty());
  fs::remove_all(root);
}

TEST_CASE("unloading by an admin waits for those who hold it") {
  Fixture f;
  f.start();
  auto a = f.get("a");
  f.pool->unload("a");
  std::this_thread::sleep_for(20ms);
  CHECK(f.machine.count("unload a") == 0);
  a.reset();
  while (f.machine.count("unload a") == 0) std::this_thread::sleep_for(1ms);
  f.pool->load("a");
  while (f.status("a").state != ModelState::kLoaded) std::this_thread::sleep_for(1ms);
  CHECK_THROWS_AS(f.pool->load("nothing"), Error);
}

TEST_CASE(
    "unloading what is not loaded yet: nobody waits, it stays away; somebody waits, it goes after him") {
  Fixture f;
  f.machine.open(false);
  f.start();
  CHECK(f.pool->loaded("a") == nullptr);
  std::future<Fixture::Answer> a = f.ask("a");
  while (f.status("a").state != ModelState::kLoading) std::this_thread::sleep_for(1ms);
  f.pool->load("b");
  CHECK(f.status("b").state == ModelState::kQueued);
  f.pool->unload("b");
  CHECK(f.status("b").state == ModelState::kKnown);
  f.pool->unload("a");
  f.machine.open(true);
  std::shared_ptr<ServedModel> held = a.get().first;
  CHECK(held->card().id == "a");
  held.reset();
  while (f.machine.count("unload a") == 0) std::this_thread::sleep_for(1ms);
  const std::shared_ptr<ServedModel> c = f.get("c");
  CHECK(f.pool->loaded("c") == c);
  CHECK(f.machine.count("load b") == 0);
  CHECK(f.machine.count("load a") == 1);
  CHECK_THROWS_AS(f.pool->loaded("nothing"), Error);
}

TEST_CASE("ready: a model that may go counts when it was there once, not when it is planned") {
  Fixture f;
  f.config.models[0] = model("a", false, true);
  f.machine.open(false);
  f.start();
  while (f.status("a").state != ModelState::kLoading) std::this_thread::sleep_for(1ms);
  CHECK_FALSE(f.pool->is_ready());
  f.machine.open(true);
  while (!f.pool->is_ready()) std::this_thread::sleep_for(1ms);
  CHECK(f.machine.count("load a") == 1);
  f.get("b");
  f.get("c");
  CHECK(f.machine.count("unload a") == 1);
  CHECK(f.pool->is_ready());
}

TEST_CASE("ready when all that is to be there from the start is; a failure is told") {
  Fixture f;
  f.config.models[0] = model("a", true, true);
  f.machine.open(false);
  f.start();
  CHECK_FALSE(f.pool->is_ready());
  SUBCASE("loaded") {
    f.machine.open(true);
    while (!f.pool->is_ready()) std::this_thread::sleep_for(1ms);
    CHECK(f.pool->preload_failure() == nullptr);
  }
  SUBCASE("failed") {
    f.machine.faults["a"] = "broken";
    f.machine.open(true);
    while (f.pool->preload_failure() == nullptr) std::this_thread::sleep_for(1ms);
    CHECK_FALSE(f.pool->is_ready());
  }
}

TEST_CASE("many random requests: all are answered, memory holds, the pinned model stays") {
  Fixture f;
  f.config.models[0] = model("a", true, true);
  f.start();
  std::vector<std::thread> users;
  std::atomic<int> n_answered{0};
  for (unsigned user = 0; user < 8; ++user)
    users.emplace_back([&f, &n_answered, user] {
      std::mt19937 random(user);
      for (int i = 0; i < 60; ++i) {
        const auto held = f.get(std::string(1, static_cast<char>('a' + random() % 5)));
        if (held != nullptr) ++n_answered;
        if (random() % 4 == 0) std::this_thread::sleep_for(1ms);
      }
    });
  for (std::thread& user : users) user.join();
  CHECK(n_answered == 480);
  CHECK(f.machine.most_used <= 25);
  CHECK(f.machine.count("unload a") == 0);
}

}  // namespace llmhost::serve
