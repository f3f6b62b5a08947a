// Data movement and broadcasting over random shapes: the bits of the reference evaluator. Elementwise
// arithmetic is one rounding an element, so that its bits are the same too.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "backend_fixture.h"
#include "graph/emit.h"
#include "graph/reference.h"

namespace llmhost::test {
namespace {

using graph::constant_dim;
using graph::Dims;
using graph::symbol_dim;

constexpr int32_t kTokenCount = 5;

int64_t size_of(const llmh_dim& dim) {
  return dim.symbol == LLMH_DIM_TOKENS ? dim.size * kTokenCount : dim.size;
}

class RandomGraph {
 public:
  explicit RandomGraph(uint32_t seed) : random_(seed) {
    x_ = input(random_dims());
    const llmh_tensor wide = input(random_dims());
    for (const llmh_tensor tensor : {x_, wide}) {
      permute(tensor);
      slice(tensor);
      concat(tensor);
      stretch(tensor);
    }
    cast_and_turn();
  }

  std::vector<std::vector<float>> run(Instance& instance) {
    Model m(instance, graph_, {});
    for (const auto& [tensor, values] : given_) m.write(tensor, values.data(), values.size() * sizeof(float));
    const StepArrays step({{0, kTokenCount, 0, kTokenCount}});
    m.run(step);
    std::vector<std::vector<float>> results;
    for (const llmh_tensor output : outputs_) results.push_back(m.read(output, step));
    return results;
  }

  std::string op_of(size_t output) const {
    return graph_.tensor(outputs_[output]).producer >= 0
               ? std::to_string(
                     graph_.node(static_cast<uint32_t>(graph_.tensor(outputs_[output]).producer)).op)
               : "none";
  }

 private:
  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint32_t>(n)); }

  // T in one place, 1 and other sizes around it.
  Dims random_dims() {
    Dims dims;
    const int64_t rank = 1 + below(5);
    const int64_t symbolic = below(rank);
    for (int64_t i = 0; i < rank; ++i)
      dims.push_back(i == symbolic ? symbol_dim(LLMH_DIM_TOKENS)
                                   : constant_dim(below(3) == 0 ? 1 : 2 + below(7)));
    return dims;
  }

  llmh_tensor input(const Dims& dims) {
    const llmh_tensor tensor = graph_.add_placeholder({LLMH_DTYPE_F32, dims});
    size_t n = 1;
    for (const llmh_dim& dim : dims) n *= static_cast<size_t>(size_of(dim));
    given_.emplace_back(tensor, random_floats(n, static_cast<uint32_t>(random_())));
    return tensor;
  }

  void permute(llmh_tensor tensor) {
    std::vector<int32_t> axes(emit_.dims(tensor).size());
    std::iota(axes.begin(), axes.end(), 0);
    std::shuffle(axes.begin(), axes.end(), random_);
    outputs_.push_back(emit_.permute(tensor, axes));
  }

  // Every axis of constant size.
  void slice(llmh_tensor tensor) {
    const Dims dims = emit_.dims(tensor);
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      if (dims[axis].symbol != LLMH_DIM_CONST) continue;
      const int64_t begin = below(dims[axis].size);
      outputs_.push_back(emit_.slice(tensor, axis, begin, begin + 1 + below(dims[axis].size - begin)));
    }
  }

  void concat(llmh_tensor tensor) {
    const Dims dims = emit_.dims(tensor);
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      if (dims[axis].symbol != LLMH_DIM_CONST) continue;
      Dims other = dims;
      other[axis] = constant_dim(1 + below(9));
      outputs_.push_back(emit_.concat({tensor, input(other), tensor}, axis));
    }
  }

  // The tensor against others that have some of its dimensions as 1 or not at all, both ways round.
  void stretch(llmh_tensor tensor) {
    const Dims dims = emit_.dims(tensor);
    for (int i = 0; i < 4; ++i) {
      Dims thin(dims.begin() + below(static_cast<int64_t>(dims.size()) + 1), dims.end());
      for (llmh_dim& dim : thin)
        if (below(2) == 0) dim = constant_dim(1);
      const llmh_tensor small = input(thin);
      outputs_.push_back(emit_.broadcast(small, dims));
      outputs_.push_back(emit_.add(tensor, small));
      outputs_.push_back(emit_.sub(small, tensor));
      outputs_.push_back(emit_.mul(tensor, small));
      outputs_.push_back(emit_.div(small, tensor));
    }
  }

  // Elements of two and of eight bytes.
  void cast_and_turn() {
    const size_t rank = emit_.dims(x_).size();
    std::vector<int32_t> axes(rank);
    std::iota(axes.rbegin(), axes.rend(), 0);
    for (const llmh_dtype dtype : {LLMH_DTYPE_F16, LLMH_DTYPE_F64})
      outputs_.push_back(emit_.cast(emit_.permute(emit_.cast(x_, dtype), axes), LLMH_DTYPE_F32));
  }

  std::mt19937 random_;
  graph::Graph graph_;
  graph::Emit emit_{graph_, "m"};
  llmh_tensor x_ = LLMH_NO_TENSOR;
  std::vector<std::pair<llmh_tensor, std::vector<float>>> given_;
  std::vector<llmh_tensor> outputs_;
};

}  // namespace

TEST_CASE("moves and broadcasts of random shapes have the reference's bits") {
  Instance reference(*graph::reference_backend());
  Instance plain(cpu_backend());
  Instance threaded(cpu_backend(), {}, 3);
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    RandomGraph g(seed);
    const auto want = g.run(reference);
    for (Instance* instance : {&plain, &threaded}) {
      const auto got = g.run(*instance);
      for (size_t i = 0; i < want.size(); ++i) {
        CAPTURE(g.op_of(i));
        REQUIRE(got[i].size() == want[i].size());
        CHECK(std::memcmp(got[i].data(), want[i].data(), want[i].size() * sizeof(float)) == 0);
      }
    }
  }
}

}  // namespace llmhost::test
