#include "model/tensor_audit.h"

#include <doctest/doctest.h>

namespace llmhost::test {

using Names = std::vector<std::string_view>;
using Missing = std::vector<std::string>;

TEST_CASE("a bias that other layers have is missed") {
  CHECK(model::missing_biases({"h.0.norm.weight", "h.0.norm.bias", "h.1.norm.weight"}) ==
        Missing{"h.1.norm.bias"});
  CHECK(model::missing_biases({"h.0.experts.0.up.weight", "h.0.experts.1.up.weight",
                               "h.0.experts.1.up.bias"}) == Missing{"h.0.experts.0.up.bias"});
}

TEST_CASE("what no layer has, or has without a weight, is not missed") {
  CHECK(model::missing_biases({}).empty());
  CHECK(
      model::missing_biases({"h.0.up.weight", "h.1.up.weight", "h.0.down.weight", "h.0.down.bias"}).empty());
  // A dense layer among mixtures has no router at all.
  CHECK(model::missing_biases({"h.1.gate.weight", "h.1.gate.bias", "h.0.up.weight", "norm.weight"}).empty());
  CHECK(model::missing_biases({"h.0.attn.bias", "h.1.x.weight"}).empty());
}

}  // namespace llmhost::test
