// The store of adapters: who shares a load, what gives way, what is refused, and what a request keeps.
#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <set>

#include "adapters/adapter_model.h"
#include "adapters/temporary_adapter.h"
#include "core/error.h"
#include "engine/adapter_store.h"

using namespace llmhost;
using namespace llmhost::test;
using engine::AdapterState;
using engine::AdapterStore;
using engine::AdapterStoreOptions;
using std::filesystem::path;

namespace {

const std::vector<int32_t> kPrompt = {5, 9, 200, 31, 77};

AdapterModel& llama() {
  static AdapterModel model("finetune/models/llama", "reference");
  return model;
}

AdapterStoreOptions options_for(const path& root) {
  AdapterStoreOptions options;
  options.roots = {root};
  options.wait_for_room = std::chrono::milliseconds(0);
  return options;
}

engine::AdapterInfo info(const AdapterStore& store, const std::string& name) {
  for (const auto& entry : store.list())
    if (entry.name == name) return entry;
  return {};
}

std::string refusal(AdapterStore& store, const std::string& name) {
  try {
    store.load(name);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::vector<float> logits(const std::shared_ptr<const engine::Adapter>& adapter) {
  return llama().run({{kPrompt, adapter}}).front().logits;
}

// A root with copies of an adapter under several names.
struct Root {
  explicit Root(const std::vector<std::string>& names) {
    for (const std::string& name : names)
      adapters.push_back(std::make_unique<TemporaryAdapter>("finetune/lora/llama_qv", name));
  }
  path folder() const { return adapters.front()->folder().parent_path(); }
  std::vector<std::unique_ptr<TemporaryAdapter>> adapters;
};

}  // namespace

TEST_CASE("adapters are known, loaded at first use, and unloaded; a request keeps what it has") {
  const Root root({"a", "b"});
  AdapterStore store(llama().adapters(), options_for(root.folder()));
  CHECK(store.list().size() == 2);
  CHECK(info(store, "a").state == AdapterState::kKnown);
  auto held = store.load("a");
  CHECK(info(store, "a").state == AdapterState::kLoaded);
  CHECK(info(store, "a").digest == held->digest());
  CHECK(info(store, "a").is_in_use);
  CHECK(info(store, "a").uses == 1);
  CHECK(store.load("a") == held);
  CHECK(store.load((root.folder() / "a").string()) == held);
  const auto before = logits(held);
  CHECK(store.unload("a"));
  CHECK(!store.unload("a"));
  CHECK(info(store, "a").state == AdapterState::kEvicted);
  CHECK(store.used_bytes() == held->bytes());
  CHECK(logits(held) == before);
  held.reset();
  CHECK(store.used_bytes() == 0);
}

TEST_CASE("several who ask share one load") {
  const Root root({"a"});
  AdapterStore store(llama().adapters(), options_for(root.folder()));
  std::vector<std::future<std::shared_ptr<const engine::Adapter>>> asked;
  for (int i = 0; i < 8; ++i)
    asked.push_back(std::async(std::launch::async, [&] { return store.load("a"); }));
  std::set<const engine::Adapter*> different;
  for (auto& future : asked) different.insert(future.get().get());
  CHECK(different.size() == 1);
  CHECK(info(store, "a").uses == 8);
}

TEST_CASE(
    "the least recently used that nobody holds gives way; when all are held the next is refused with "
    "figures") {
  const Root root({"a", "b", "c", "d"});
  AdapterStoreOptions options = options_for(root.folder());
  const uint64_t bytes = llama().load("finetune/lora/llama_qv")->bytes();
  options.memory = 2 * bytes + 1;
  AdapterStore store(llama().adapters(), options);
  store.load("a");
  store.load("b");
  store.load("a");
  const auto c = store.load("c");
  CHECK(info(store, "a").state == AdapterState::kLoaded);
  CHECK(info(store, "b").state == AdapterState::kEvicted);
  const auto a = store.load("a");
  CHECK(refusal(store, "d") ==
        fmt::format("adapter 'd': it needs {} bytes; 2 adapters that requests use take {} of "
                    "{}; try again later",
                    bytes, 2 * bytes, options.memory));
  CHECK(logits(a) == logits(c));
  CHECK(store.used_bytes() <= options.memory);

  options.memory = bytes - 1;
  AdapterStore small(llama().adapters(), options);
  CHECK(refusal(small, "a") ==
        fmt::format("adapter 'a': it needs {} bytes, all adapters together may take {}", bytes, bytes - 1));
}

TEST_CASE("room is waited for when told so") {
  const Root root({"a", "b"});
  AdapterStoreOptions options = options_for(root.folder());
  options.max_loaded = 1;
  options.wait_for_room = std::chrono::seconds(20);
  AdapterStore store(llama().adapters(), options);
  auto a = store.load("a");
  auto b = std::async(std::launch::async, [&] { return store.load("b"); });
  CHECK(b.wait_for(std::chrono::milliseconds(50)) == std::future_status::timeout);
  a.reset();
  CHECK(b.get()->name() == "b");
}

TEST_CASE("F38: files that change are loaded anew under the same name; requests that run keep theirs") {
  Root root({"a"});
  AdapterStore store(llama().adapters(), options_for(root.folder()));
  const auto old = store.load("a");
  const auto before = logits(old);
  root.adapters[0]->copy("finetune/lora/llama_all");
  const auto fresh = store.load("a");
  CHECK(fresh->digest() != old->digest());
  CHECK(logits(old) == before);
  CHECK(logits(fresh) == logits(llama().load("finetune/lora/llama_all")));
  // Touched, not changed.
  root.adapters[0]->copy("finetune/lora/llama_all");
  CHECK(store.load("a") == fresh);
}

TEST_CASE("a load that fails is remembered, tried again when the files change, and touches nothing else") {
  Root root({"good", "bad"});
  root.adapters[1]->patch({{"r", 0}});
  AdapterStore store(llama().adapters(), options_for(root.folder()));
  const auto good = store.load("good");
  const std::string message = refusal(store, "bad");
  CHECK(message.find("r is 0") != std::string::npos);
  CHECK(info(store, "bad").state == AdapterState::kFailed);
  CHECK(info(store, "bad").error == message);
  CHECK(refusal(store, "bad") == message);
  CHECK(store.load("good") == good);
  root.adapters[1]->patch({{"r", 8}});
  CHECK(store.load("bad")->digest() != good->digest());  // another config text
}

TEST_CASE(
    "F31: names and links that lead out of the roots are refused, without telling where the roots are") {
  const Root root({"a"});
  const path outside = root.folder().parent_path() / ("llmhost_outside_" + std::to_string(getpid()));
  std::filesystem::remove_all(outside);
  std::filesystem::copy(root.folder() / "a", outside, std::filesystem::copy_options::recursive);
  std::filesystem::create_directory_symlink(outside, root.folder() / "link");
  std::filesystem::create_directory(root.folder() / "files");
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors"})
    std::filesystem::create_symlink(outside / file, root.folder() / "files" / file);
  AdapterStore store(llama().adapters(), options_for(root.folder()));
  const std::vector<std::string> names = {"",
                                          ".",
                                          "..",
                                          "../a",
                                          "a/../a",
                                          "a/",
                                          "./a",
                                          "/etc",
                                          outside.string(),
                                          "link",
                                          "files",
                                          std::string("a\0b", 3),
                                          "%2e%2e",
                                          "a\\b",
                                          "a\nb",
                                          std::string(4096, 'a'),
                                          "\xC2\xAA",
                                          ".hidden",
                                          (root.folder() / "../a").string(),
                                          (root.folder() / "link").string(),
                                          root.folder().string(),
                                          "no_such"};
  for (const std::string& name : names) {
    CAPTURE(name);
    const std::string message = refusal(store, name);
    CHECK(!message.empty());
    CHECK(message.find(root.folder().parent_path().string() + '/') == std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  }
  CHECK(store.list().size() <= 4);  // those that lie there, and no name that was made up
  CHECK(refusal(store, "a").empty());
  std::filesystem::remove_all(outside);
}

TEST_CASE("F42: with pinned contents only these are loaded") {
  const Root root({"a", "b"});
  const std::string digest = llama().load("finetune/lora/llama_qv")->digest();
  AdapterStoreOptions options = options_for(root.folder());
  options.requires_digest = true;
  options.allowed_digests = {{"a", {digest}}};
  AdapterStore store(llama().adapters(), options);
  CHECK(store.load("a")->digest() == digest);
  CHECK(refusal(store, "b").find("pinned") != std::string::npos);
  root.adapters[0]->copy("finetune/lora/llama_all");
  CHECK(refusal(store, "a").find("which is not what is pinned") != std::string::npos);
}

TEST_CASE("a store that is stopped tells all who wait or ask, and keeps nothing of them") {
  const Root root({"a", "b"});
  AdapterStore store(llama().adapters(), options_for(root.folder()));
  const auto loaded = store.load("a");
  const auto held = std::make_shared<int>(0);  // what a callback holds, such as the model
  std::atomic<int> n_told{0};
  for (int i = 0; i < 20; ++i)
    store.get("b", [held, &n_told](const auto& adapter, const std::exception_ptr& error) {
      n_told += (adapter != nullptr) != (error != nullptr) ? 1 : 0;
    });
  store.stop();
  CHECK(n_told == 20);
  CHECK(held.use_count() == 1);
  CHECK(store.load("a") == loaded);
  store.unload("a");
  CHECK(refusal(store, "a").find("being unloaded") != std::string::npos);
  store.stop();
}

TEST_CASE("a merge whose files are larger than the memory of adapters is refused before they are read") {
  const Root root({"a", "b"});
  const uint64_t bytes = std::filesystem::file_size(root.folder() / "a" / engine::kAdapterTensorFile);
  AdapterStoreOptions options = options_for(root.folder());
  options.memory = 2 * bytes - 1;
  AdapterStore store(llama().adapters(), options);
  const auto merged = [&](const std::vector<engine::AdapterMerge::Part>& parts) {
    engine::AdapterMerge merge;
    merge.parts = parts;
    std::promise<std::string> said;
    store.get_merged(merge, [&](const auto&, const std::exception_ptr& error) {
      try {
        if (error) std::rethrow_exception(error);
        said.set_value("");
      } catch (const Error& refused) {
        said.set_value(refused.what());
      }
    });
    return said.get_future().get();
  };
  CHECK(merged({{"a", 0.5}, {"b", 0.5}}).find("the files of its 2 adapters") != std::string::npos);
  CHECK(merged({{"a", 0.5}, {"a", 0.25}, {"a", 0.25}}) == "");  // the same one counts once
}

TEST_CASE("merges are made of the store's adapters, once") {
  const Root root({"a", "b"});
  AdapterStore store(llama().adapters(), options_for(root.folder()));
  engine::AdapterMerge merge;
  merge.parts = {{"a", 0.5}, {"b", 0.25}};
  std::vector<std::shared_ptr<const engine::Adapter>> made;
  for (int i = 0; i < 2; ++i) {
    std::promise<std::shared_ptr<const engine::Adapter>> promise;
    store.get_merged(merge, [&](auto adapter, const std::exception_ptr& error) {
      CHECK(error == nullptr);
      promise.set_value(std::move(adapter));
    });
    made.push_back(promise.get_future().get());
  }
  CHECK(made[0] == made[1]);
  CHECK(logits(made[0]) != logits(store.load("a")));
}
