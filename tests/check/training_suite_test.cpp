// The suite of training ops: passes where it should, and finds what is wrong.
#include "check/training_suite.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include "check/child.h"
#include "core/error.h"
#include "graph/reference.h"
#include "llmhost/simple_backend.hpp"
#include "plugin/host_table.h"
#include "plugin/status.h"

namespace llmhost::check {
namespace {

// dx without the part that all elements of a row share.
void wrong_softmax_grad(const llmh::OpCall& call) {
  for (int64_t i = 0; i < call.count(call.output()); ++i) call.out()[i] = call.in(0)[i] * call.in(1)[i];
}

const llmh::SimpleBackend& wrong_device() {
  static const llmh::SimpleBackend device("wrong", {{LLMH_OP_SOFTMAX_GRAD, wrong_softmax_grad}},
                                          graph::reference_extension());
  return device;
}

const llmh_backend& cpu_backend() {
  void* library = dlopen(LLMHOST_CPU_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw_error(ErrorCode::kUnavailable, "{}", dlerror());
  const auto* entry = static_cast<const llmh_plugin*>(dlsym(library, LLMH_PLUGIN_SYMBOL));
  static plugin::HostTable host("cpu", 0);
  plugin::check(entry->init(&host));
  return *static_cast<const llmh_backend*>(entry->get_extension(LLMH_STR(LLMH_BACKEND_INTERFACE)));
}

TEST_CASE("the reference evaluator claims every op of training and passes") {
  for (const TrainingCase& op : all_training_cases()) {
    CAPTURE(std::string(op.name));
    CHECK_NOTHROW(run_training_case(op, *graph::reference_backend(), "reference"));
  }
}

TEST_CASE("a wrong op is found, the others are not blamed") {
  graph::reference_backend();  // sets the host table for errors
  const llmh_backend& wrong = *llmh::SimpleBackendTable<wrong_device>::get();
  for (const TrainingCase& op : all_training_cases()) {
    CAPTURE(std::string(op.name));
    if (op.op == LLMH_OP_SOFTMAX_GRAD)
      CHECK_THROWS_WITH_AS(run_training_case(op, wrong, "wrong"),
                           doctest::Contains("from the reference evaluator"), Error);
    else
      CHECK_NOTHROW(run_training_case(op, wrong, "wrong"));
  }
}

TEST_CASE("the CPU backend passes") {
  const llmh_backend& cpu = cpu_backend();
  for (const TrainingCase& op : all_training_cases()) {
    CAPTURE(std::string(op.name));
    try {
      run_training_case(op, cpu, "cpu");
    } catch (const Skipped& skipped) {
      FAIL_CHECK(skipped.reason);
    } catch (const Error& error) {
      FAIL_CHECK(error.what());
    }
  }
}

}  // namespace
}  // namespace llmhost::check
