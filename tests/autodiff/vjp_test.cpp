// The gradient of every op against finite differences.
#include <doctest/doctest.h>

#include <set>

#include "core/error.h"
#include "graph/op_registry.h"
#include "vjp_case.h"

namespace llmhost::graph {
namespace {

void check_cases(const std::vector<vjp_test::VjpCase>& cases) {
  for (const vjp_test::VjpCase& vjp_case : cases) {
    CAPTURE(vjp_case.name);
    const vjp_test::BuiltCase built = vjp_test::build_case(vjp_case);
    const TrainingGraph training = differentiate(built.graph, {});
    const double error = vjp_test::worst_error(vjp_test::run_training(training, built.values),
                                               vjp_test::finite_differences(built, vjp_case.step));
    CHECK(error < vjp_case.tolerance);
  }
}

// f32 forward passes: rounding errors of 1e-7 over steps of 0.02, and what the fourth order leaves.
TEST_CASE("gradients of every op are those of finite differences") {
  check_cases(vjp_test::vjp_cases());
}

TEST_CASE("gradients go through frozen weights of every stored type") {
  check_cases(vjp_test::weight_type_cases());
}

TEST_CASE("every op has a rule, and every rule that gives a gradient has a case") {
  std::set<llmh_op> tried;
  for (const vjp_test::VjpCase& vjp_case : vjp_test::vjp_cases()) {
    const vjp_test::BuiltCase built = vjp_test::build_case(vjp_case);
    for (uint32_t i = 0; i < built.graph.node_count(); ++i)
      if (to_view(built.graph.node(i).path) == "case") tried.insert(built.graph.node(i).op);
  }
  std::set<llmh_op> known;
  for (const VjpRule& rule : vjp_rules()) {
    CAPTURE(op_name(rule.op));
    CHECK(known.insert(rule.op).second);
    CHECK(find_op(rule.op) != nullptr);
    CHECK((rule.rule != nullptr) == (rule.kind == VjpKind::kRule));
    CHECK(rule.why.empty() == (rule.kind != VjpKind::kRefused));
    if (rule.kind == VjpKind::kRule || rule.kind == VjpKind::kParts) CHECK(tried.contains(rule.op));
    if (rule.kind == VjpKind::kParts) CHECK((find_op(rule.op)->decompose != nullptr));
  }
  for (const OpSpec& spec : all_ops()) {
    CAPTURE(spec.name);
    CHECK(known.contains(spec.op));
  }
}

}  // namespace
}  // namespace llmhost::graph
