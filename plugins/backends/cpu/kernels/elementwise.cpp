#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"
#include "llmhost/op.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

// Applies f to whole vectors and, with the same arithmetic, to a zero-padded last one.
template <typename Function>
HWY_INLINE void map(const float* x, int64_t n, float* y, Function f) {
  const F32 d;
  const auto lanes = lane_count();
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, x + i)), d, y + i);
  if (i == n) return;
  store_tail(d, f(d, load_tail(d, x + i, n - i)), y + i, n - i);
}

template <typename Function>
HWY_INLINE void map2(const float* a, const float* b, int64_t n, float* y, Function f) {
  const F32 d;
  const auto lanes = lane_count();
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  if (i == n) return;
  store_tail(d, f(d, load_tail(d, a + i, n - i), load_tail(d, b + i, n - i)), y + i, n - i);
}

// Functors rather than lambdas: a lambda would lose the target's attribute.
struct Neg {
  HWY_INLINE Floats operator()(F32, Floats x) const { return hn::Neg(x); }
};
struct ExpF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const { return exp_of(d, x); }
};
struct LogF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const {
    const Floats zero = hn::Zero(d);
    const Floats infinite = hn::Set(d, __builtin_inff());
    Floats y = hn::Log(d, x);
    y = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(infinite), y);
    y = hn::IfThenElse(hn::Lt(x, zero), hn::Set(d, __builtin_nanf("")), y);
    y = hn::IfThenElse(hn::Eq(x, infinite), infinite, y);
    return keep_nan(x, y);
  }
};
struct SqrtF {
  HWY_INLINE Floats operator()(F32, Floats x) const { return hn::Sqrt(x); }
};
struct RsqrtF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const { return hn::Div(hn::Set(d, 1.0F), hn::Sqrt(x)); }
};
struct TanhF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const { return tanh_of(d, x); }
};
struct SigmoidF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const { return sigmoid_of(d, x); }
};
struct ErfF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const { return erf_of(d, x); }
};
struct ReluF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const { return keep_nan(x, hn::Max(x, hn::Zero(d))); }
};
struct StepF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const {
    return hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1.0F));
  }
};
struct AbsF {
  HWY_INLINE Floats operator()(F32, Floats x) const { return hn::Abs(x); }
};
struct SquareF {
  HWY_INLINE Floats operator()(F32, Floats x) const { return hn::Mul(x, x); }
};
struct SinF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const { return keep_nan(x, hn::Sin(d, x)); }
};
struct CosF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const { return keep_nan(x, hn::Cos(d, x)); }
};
struct SiluF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const {
    return hn::Div(x, hn::Add(hn::Set(d, 1.0F), exp_of(d, hn::Neg(x))));
  }
};
struct GeluF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const {
    const Floats phi = hn::Add(hn::Set(d, 1.0F), erf_of(d, hn::Mul(x, hn::Set(d, 0.70710678118654752F))));
    return hn::Mul(hn::Mul(x, hn::Set(d, 0.5F)), phi);
  }
};
struct GeluTanhF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const {
    const Floats cube = hn::Mul(hn::Mul(x, x), x);
    const Floats sum = hn::Add(x, hn::Mul(hn::Set(d, 0.044715F), cube));
    const Floats t = tanh_of(d, hn::Mul(hn::Set(d, 0.79788456080286536F), sum));
    return hn::Mul(hn::Mul(x, hn::Set(d, 0.5F)), hn::Add(hn::Set(d, 1.0F), t));
  }
};
struct ReluSquaredF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const {
    const Floats r = ReluF()(d, x);
    return hn::Mul(r, r);
  }
};
struct GeluQuickF {
  HWY_INLINE Floats operator()(F32 d, Floats x) const {
    return hn::Mul(x, sigmoid_of(d, hn::Mul(hn::Set(d, 1.702F), x)));
  }
};

template <typename Function>
struct Gated {
  HWY_INLINE Floats operator()(F32 d, Floats gate, Floats up) const {
    return hn::Mul(Function()(d, gate), up);
  }
};

void unary(int32_t kind, const float* x, int64_t n, float* y) {
  switch (kind) {
    case LLMH_UNARY_NEG:
      return map(x, n, y, Neg());
    case LLMH_UNARY_EXP:
      return map(x, n, y, ExpF());
    case LLMH_UNARY_LOG:
      return map(x, n, y, LogF());
    case LLMH_UNARY_SQRT:
      return map(x, n, y, SqrtF());
    case LLMH_UNARY_RSQRT:
      return map(x, n, y, RsqrtF());
    case LLMH_UNARY_TANH:
      return map(x, n, y, TanhF());
    case LLMH_UNARY_SIGMOID:
      return map(x, n, y, SigmoidF());
    case LLMH_UNARY_ERF:
      return map(x, n, y, ErfF());
    case LLMH_UNARY_RELU:
      return map(x, n, y, ReluF());
    case LLMH_UNARY_ABS:
      return map(x, n, y, AbsF());
    case LLMH_UNARY_SQUARE:
      return map(x, n, y, SquareF());
    case LLMH_UNARY_SIN:
      return map(x, n, y, SinF());
    case LLMH_UNARY_COS:
      return map(x, n, y, CosF());
    case LLMH_UNARY_STEP:
      return map(x, n, y, StepF());
    default:
      return;
  }
}

void activation(int32_t kind, const float* x, int64_t n, float* y) {
  switch (kind) {
    case LLMH_ACT_SILU:
      return map(x, n, y, SiluF());
    case LLMH_ACT_GELU:
      return map(x, n, y, GeluF());
    case LLMH_ACT_GELU_TANH:
      return map(x, n, y, GeluTanhF());
    case LLMH_ACT_RELU:
      return map(x, n, y, ReluF());
    case LLMH_ACT_RELU_SQUARED:
      return map(x, n, y, ReluSquaredF());
    case LLMH_ACT_SIGMOID:
      return map(x, n, y, SigmoidF());
    case LLMH_ACT_TANH:
      return map(x, n, y, TanhF());
    case LLMH_ACT_GELU_QUICK:
      return map(x, n, y, GeluQuickF());
    default:
      return;
  }
}

void gated(int32_t kind, const float* g, const float* up, int64_t n, float* y) {
  switch (kind) {
    case LLMH_ACT_SILU:
      return map2(g, up, n, y, Gated<SiluF>());
    case LLMH_ACT_GELU:
      return map2(g, up, n, y, Gated<GeluF>());
    case LLMH_ACT_GELU_TANH:
      return map2(g, up, n, y, Gated<GeluTanhF>());
    case LLMH_ACT_RELU:
      return map2(g, up, n, y, Gated<ReluF>());
    case LLMH_ACT_RELU_SQUARED:
      return map2(g, up, n, y, Gated<ReluSquaredF>());
    case LLMH_ACT_SIGMOID:
      return map2(g, up, n, y, Gated<SigmoidF>());
    case LLMH_ACT_TANH:
      return map2(g, up, n, y, Gated<TanhF>());
    case LLMH_ACT_GELU_QUICK:
      return map2(g, up, n, y, Gated<GeluQuickF>());
    default:
      return;
  }
}

struct AddF {
  HWY_INLINE Floats operator()(F32, Floats a, Floats b) const { return hn::Add(a, b); }
};
struct SubF {
  HWY_INLINE Floats operator()(F32, Floats a, Floats b) const { return hn::Sub(a, b); }
};
struct MulF {
  HWY_INLINE Floats operator()(F32, Floats a, Floats b) const { return hn::Mul(a, b); }
};
struct DivF {
  HWY_INLINE Floats operator()(F32, Floats a, Floats b) const { return hn::Div(a, b); }
};

template <typename Function>
struct WithLeft {
  float left;
  HWY_INLINE Floats operator()(F32 d, Floats b) const { return Function()(d, hn::Set(d, left), b); }
};
template <typename Function>
struct WithRight {
  float right;
  HWY_INLINE Floats operator()(F32 d, Floats a) const { return Function()(d, a, hn::Set(d, right)); }
};

template <typename Function>
void stepped(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t n, float* y) {
  if (a_step != 0 && b_step != 0) return map2(a, b, n, y, Function());
  if (a_step != 0) return map(a, n, y, WithRight<Function>{*b});
  if (b_step != 0) return map(b, n, y, WithLeft<Function>{*a});
  float single = 0;
  map2(a, b, 1, &single, Function());
  for (int64_t i = 0; i < n; ++i) y[i] = single;
}

void binary(BinaryOp op, const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t n,
            float* y) {
  switch (op) {
    case BinaryOp::kAdd:
      return stepped<AddF>(a, a_step, b, b_step, n, y);
    case BinaryOp::kSub:
      return stepped<SubF>(a, a_step, b, b_step, n, y);
    case BinaryOp::kMul:
      return stepped<MulF>(a, a_step, b, b_step, n, y);
    case BinaryOp::kDiv:
      return stepped<DivF>(a, a_step, b, b_step, n, y);
  }
}

struct SoftcapF {
  float cap;
  HWY_INLINE Floats operator()(F32 d, Floats x) const {
    const Floats c = hn::Set(d, cap);
    return hn::Mul(c, tanh_of(d, hn::Div(x, c)));
  }
};

void softcap(float cap, const float* x, int64_t n, float* y) {
  map(x, n, y, SoftcapF{cap});
}

void scale(float factor, const float* x, int64_t n, float* y) {
  map(x, n, y, WithRight<MulF>{factor});
}

struct ClampF {
  float min;
  float max;
  HWY_INLINE Floats operator()(F32 d, Floats x) const {
    const Floats low = hn::Set(d, min);
    const Floats high = hn::Set(d, max);
    return hn::IfThenElse(hn::Lt(x, low), low, hn::IfThenElse(hn::Gt(x, high), high, x));
  }
};

void clamp(float min, float max, const float* x, int64_t n, float* y) {
  map(x, n, y, ClampF{min, max});
}

// One instruction where the CPU has it.
void round_f16(const float* x, int64_t n, uint16_t* y) {
  int64_t i = 0;
#if HWY_TARGET <= HWY_AVX2
  const F32 d;
  const hn::Rebind<hwy::float16_t, F32> half;
  const hn::Rebind<uint16_t, F32> bits;
  for (; i + lane_count() <= n; i += lane_count())
    hn::StoreU(hn::BitCast(bits, hn::DemoteTo(half, hn::LoadU(d, x + i))), bits, y + i);
#endif
  for (; i < n; ++i) y[i] = f32_to_f16(x[i]);
}

ElementwiseKernels elementwise_table() {
  return {unary, activation, gated, binary, softcap, scale, clamp, round_f16};
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmhost::cpu {
HWY_EXPORT(elementwise_table);
ElementwiseKernels elementwise_kernels() {
  return HWY_DYNAMIC_DISPATCH(elementwise_table)();
}
}  // namespace llmhost::cpu
#endif
