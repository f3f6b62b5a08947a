// No memory is allocated by a decode step once it is warm: operator new counts in this binary.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "engine/engine.h"
#include "engine/fake_backend.h"

namespace {
std::atomic<int64_t> g_allocations{0};

void* counted(std::size_t size) {
  ++g_allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t size) {
  return counted(size);
}
void* operator new[](std::size_t size) {
  return counted(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

using namespace llmhost::engine;

TEST_CASE("a decode step allocates nothing, with every sampling feature on") {
  RunnerOptions options;
  options.max_tokens = 64;
  options.max_sequences = 8;
  options.max_outputs = 8;
  options.max_context = 300;
  options.page_tokens = 4;
  llmhost::test::FakeModel model(options);
  Engine engine(model.runner());
  int64_t events = 0;
  for (int32_t i = 0; i < 8; ++i) {
    Request request;
    request.prompt = {i, 1, 2, 3};
    request.max_tokens = 250;
    request.sampling.seed = 1;
    request.sampling.top_k = i % 2 == 0 ? 0 : 20;
    request.sampling.top_p = 0.9F;
    request.sampling.frequency_penalty = 0.1F;
    request.sampling.logit_bias = {{3, 1.0F}};
    request.sampling.logprobs = true;
    request.sampling.top_logprobs = 5;
    request.on_token = [&events](const TokenEvent&) {
      ++events;
      return true;
    };
    engine.submit(std::move(request));
  }
  for (int step = 0; step < 20; ++step) engine.run_step();
  const int64_t before = g_allocations;
  const int64_t events_before = events;
  for (int step = 0; step < 200; ++step) engine.run_step();
  CHECK(g_allocations - before == 0);
  CHECK(events - events_before == 8 * 200);
}
