// The search for scales of the block types of 256 elements: given the values of a block, levels and scales as
// they will be decoded, with a small squared error. Internal to quantize_row.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "core/dequantize.h"
#include "core/quantize.h"

namespace llmhost::quantize {

inline constexpr int kBlock = 256;
inline constexpr int kLanes = 8;  // partial sums, so that a compiler may use vectors without reordering
inline constexpr int kRefinements = 3;

using Lanes = std::array<float, kLanes>;

inline float total(const Lanes& lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

// To the nearest integer, ties to even: adding 1.5 * 2^23 leaves no room for a fraction. |value| < 2^22.
inline float nearest(float value) {
  constexpr float kNoFraction = 12582912.0F;
  const float shifted = value + kNoFraction;
  return shifted - kNoFraction;
}

// NaN, which comes of scales beyond f16, becomes the lowest.
inline float level_of(float value, float lowest, float highest) {
  return nearest(std::min(std::max(lowest, value), highest));
}

// The nearest f16, as a float.
inline float as_f16(float value) {
  return f16_to_f32(f32_to_f16(value));
}

inline int clamp_int(float value, int lowest, int highest) {
  return static_cast<int>(level_of(value, static_cast<float>(lowest), static_cast<float>(highest)));
}

// value = d * scale[part] * level - dmin * minimum[part]: levels from 0 to kMaxLevel, scales and minima from
// 0 to kMaxScale, parts of kPart elements.
template <int kPart, int kMaxLevel, int kMaxScale>
class AffineSearch {
 public:
  static constexpr int kParts = kBlock / kPart;

  explicit AffineSearch(const float* values) : x_(values) {
    start();
    for (int i = 0; i < kRefinements; ++i) {
      for (int part = 0; part < kParts; ++part) improve(part);
      if (!refit()) break;
    }
    for (int part = 0; part < kParts; ++part) assign(part);
  }

  float d() const { return d_; }
  float dmin() const { return dmin_; }
  int scale(int part) const { return scale_[static_cast<size_t>(part)]; }
  int minimum(int part) const { return minimum_[static_cast<size_t>(part)]; }
  int level(int element) const { return level_[static_cast<size_t>(element)]; }

 private:
  struct Line {
    float scale = 0;
    float minimum = 0;
  };
  // Sums over the elements of a part, of levels q and values x.
  struct Sums {
    float q = 0, qq = 0, x = 0, qx = 0, xx = 0;
  };

  Sums sums_at(const float* x, float inverse, float lowest) const {
    Lanes q{}, qq{}, sx{}, qx{}, xx{};
    for (int i = 0; i < kPart; i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const float value = x[static_cast<size_t>(i) + lane];
        const float level = level_of((value - lowest) * inverse, 0, kMaxLevel);
        q[lane] += level;
        qq[lane] += level * level;
        sx[lane] += value;
        qx[lane] += level * value;
        xx[lane] += value * value;
      }
    return {total(q), total(qq), total(sx), total(qx), total(xx)};
  }

  // The line through the levels by least squares, with a minimum that is not negative.
  static Line fit(const Sums& s) {
    constexpr auto n = static_cast<float>(kPart);
    const float determinant = n * s.qq - s.q * s.q;
    if (determinant > 0) {
      const float scale = (n * s.qx - s.q * s.x) / determinant;
      const float minimum = (scale * s.q - s.x) / n;
      if (scale > 0 && minimum > 0) return {scale, minimum};
    }
    return {s.qq > 0 ? std::max(s.qx / s.qq, 0.0F) : 0, 0};
  }

  static float error_of(const Sums& s, const Line& line) {
    const float a = line.scale, b = line.minimum;
    return s.xx - 2 * a * s.qx + 2 * b * s.x + a * a * s.qq - 2 * a * b * s.q + b * b * kPart;
  }

  Line best_line(int part) const {
    const float* x = x_ + part * kPart;
    const auto [low, high] = std::minmax_element(x, x + kPart);
    const float lowest = std::min(*low, 0.0F);
    const float range = *high - lowest;
    if (!(range > 0)) return {0, -lowest};
    if (!std::isfinite(range)) return {range, 0};  // which no f16 holds
    Line best;
    float least = -1;
    for (int step = -6; step <= 10; ++step) {
      const float inverse = (kMaxLevel + 0.1F * static_cast<float>(step)) / range;
      if (!std::isfinite(inverse)) continue;
      const Sums sums = sums_at(x, inverse, lowest);
      const Line line = fit(sums);
      const float error = error_of(sums, line);
      if (least < 0 || error < least) {
        least = std::max(error, 0.0F);
        best = line;
      }
    }
    return best;
  }

  void start() {
    std::array<Line, kParts> lines;
    float scale = 0, minimum = 0;
    for (int part = 0; part < kParts; ++part) {
      Line& line = lines[static_cast<size_t>(part)];
      line = best_line(part);
      scale = std::max(scale, line.scale);
      minimum = std::max(minimum, line.minimum);
    }
    d_ = as_f16(scale / kMaxScale);
    dmin_ = as_f16(minimum / kMaxScale);
    for (size_t part = 0; part < kParts; ++part) {
      scale_[part] = d_ > 0 ? clamp_int(lines[part].scale / d_, 0, kMaxScale) : 0;
      minimum_[part] = dmin_ > 0 ? clamp_int(lines[part].minimum / dmin_, 0, kMaxScale) : 0;
    }
  }

  // The squared error with the best levels.
  float error_at(int part, int scale, int minimum) const {
    const float* x = x_ + part * kPart;
    const float a = d_ * static_cast<float>(scale);
    const float b = dmin_ * static_cast<float>(minimum);
    const float inverse = a > 0 ? 1 / a : 0;
    Lanes error{};
    for (int i = 0; i < kPart; i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const float value = x[static_cast<size_t>(i) + lane];
        const float level = level_of((value + b) * inverse, 0, kMaxLevel);
        const float miss = a * level - b - value;
        error[lane] += miss * miss;
      }
    return total(error);
  }

  // Tries the neighbours of a part's scale and minimum.
  void improve(int part) {
    const auto at = static_cast<size_t>(part);
    const int scale = scale_[at], minimum = minimum_[at];
    float least = error_at(part, scale, minimum);
    for (int a = -1; a <= 1; ++a)
      for (int b = -1; b <= 1; ++b) {
        const int tried = scale + a, lower = minimum + b;
        if ((a == 0 && b == 0) || tried < 0 || tried > kMaxScale || lower < 0 || lower > kMaxScale) continue;
        if (const float error = error_at(part, tried, lower); error < least) {
          least = error;
          scale_[at] = tried;
          minimum_[at] = lower;
        }
      }
  }

  void assign(int part) {
    const auto at = static_cast<size_t>(part);
    const float a = d_ * static_cast<float>(scale_[at]);
    const float b = dmin_ * static_cast<float>(minimum_[at]);
    const float inverse = a > 0 ? 1 / a : 0;
    for (size_t i = at * kPart; i < (at + 1) * kPart; ++i)
      level_[i] = static_cast<uint8_t>(level_of((x_[i] + b) * inverse, 0, kMaxLevel));
  }

  float whole_error() const {
    float error = 0;
    for (int part = 0; part < kParts; ++part)
      error += error_at(part, scale_[static_cast<size_t>(part)], minimum_[static_cast<size_t>(part)]);
    return error;
  }

  // d and dmin by least squares over the whole block; false when that is no better.
  bool refit() {
    double pp = 0, pm = 0, mm = 0, px = 0, mx = 0;
    for (int part = 0; part < kParts; ++part) {
      assign(part);
      const auto at = static_cast<size_t>(part);
      for (size_t i = at * kPart; i < (at + 1) * kPart; ++i) {
        const double p = scale_[at] * level_[i], m = -minimum_[at];
        const double x = static_cast<double>(x_[i]);
        pp += p * p;
        pm += p * m;
        mm += m * m;
        px += p * x;
        mx += m * x;
      }
    }
    const double determinant = pp * mm - pm * pm;
    const float old_d = d_, old_dmin = dmin_, old_error = whole_error();
    if (determinant > 1e-6 * pp * mm) {
      d_ = as_f16(static_cast<float>((px * mm - mx * pm) / determinant));
      dmin_ = as_f16(static_cast<float>((mx * pp - px * pm) / determinant));
    } else if (pp > 0) {
      d_ = as_f16(static_cast<float>((px - pm * static_cast<double>(dmin_)) / pp));
    }
    if (d_ >= 0 && dmin_ >= 0 && whole_error() < old_error) return true;
    d_ = old_d;
    dmin_ = old_dmin;
    return false;
  }

  const float* x_;
  float d_ = 0, dmin_ = 0;
  std::array<int, kParts> scale_{}, minimum_{};
  std::array<uint8_t, kBlock> level_{};
};

// value = d * scale[part] * level: levels from -kLevels to kLevels - 1, scales from -kScales to kScales - 1,
// parts of 16 elements.
template <int kLevels, int kScales>
class SymmetricSearch {
 public:
  static constexpr int kPart = 16;
  static constexpr int kParts = kBlock / kPart;

  explicit SymmetricSearch(const float* values) : x_(values) {
    start();
    for (int i = 0; i < kRefinements; ++i) {
      for (int part = 0; part < kParts; ++part) improve(part);
      if (!refit()) break;
    }
    for (int part = 0; part < kParts; ++part) assign(part);
  }

  float d() const { return d_; }
  int scale(int part) const { return scale_[static_cast<size_t>(part)]; }
  int level(int element) const { return level_[static_cast<size_t>(element)]; }

 private:
  // The scale with the smallest error of a part by itself. The largest value may go to either end.
  float best_scale(int part) const {
    const float* x = x_ + part * kPart;
    const float largest =
        *std::max_element(x, x + kPart, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    float best = 0, most = 0;
    for (int end = 0; end < 2; ++end)
      for (int step = -8; step <= 8; ++step) {
        const float reach = (end == 0 ? -kLevels : kLevels - 1) + 0.1F * static_cast<float>(step);
        const float inverse = reach / largest;
        if (!std::isfinite(inverse)) continue;
        Lanes qx{}, qq{};
        for (int i = 0; i < kPart; i += kLanes)
          for (size_t lane = 0; lane < kLanes; ++lane) {
            const float value = x[static_cast<size_t>(i) + lane];
            const float level = level_of(value * inverse, -kLevels, kLevels - 1);
            qx[lane] += level * value;
            qq[lane] += level * level;
          }
        // The error is sum(x^2) - explained.
        const float product = total(qx), square = total(qq);
        const float explained = square > 0 ? product * product / square : 0;
        if (explained > most) {
          most = explained;
          best = product / square;
        }
      }
    return best;
  }

  void start() {
    std::array<float, kParts> scales{};
    for (int part = 0; part < kParts; ++part) scales[static_cast<size_t>(part)] = best_scale(part);
    const float largest = *std::max_element(scales.begin(), scales.end(),
                                            [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    d_ = as_f16(largest / -kScales);
    for (size_t part = 0; part < kParts; ++part)
      scale_[part] = d_ != 0 ? clamp_int(scales[part] / d_, -kScales, kScales - 1) : 0;
  }

  float error_at(int part, int scale) const {
    const float* x = x_ + part * kPart;
    const float a = d_ * static_cast<float>(scale);
    const float inverse = a != 0 ? 1 / a : 0;
    Lanes error{};
    for (int i = 0; i < kPart; i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const float value = x[static_cast<size_t>(i) + lane];
        const float miss = a * level_of(value * inverse, -kLevels, kLevels - 1) - value;
        error[lane] += miss * miss;
      }
    return total(error);
  }

  // Tries the neighbours of a part's scale, and the same with the ends of the levels exchanged.
  void improve(int part) {
    const auto at = static_cast<size_t>(part);
    const int scale = scale_[at];
    float least = error_at(part, scale);
    for (const int sign : {1, -1})
      for (int step = -2; step <= 2; ++step) {
        const int tried = sign * scale + step;
        if (tried < -kScales || tried >= kScales) continue;
        if (const float error = error_at(part, tried); error < least) {
          least = error;
          scale_[at] = tried;
        }
      }
  }

  void assign(int part) {
    const auto at = static_cast<size_t>(part);
    const float a = d_ * static_cast<float>(scale_[at]);
    const float inverse = a != 0 ? 1 / a : 0;
    for (size_t i = at * kPart; i < (at + 1) * kPart; ++i)
      level_[i] = static_cast<int8_t>(level_of(x_[i] * inverse, -kLevels, kLevels - 1));
  }

  float whole_error() const {
    float error = 0;
    for (int part = 0; part < kParts; ++part) error += error_at(part, scale_[static_cast<size_t>(part)]);
    return error;
  }

  bool refit() {
    double pp = 0, px = 0;
    for (int part = 0; part < kParts; ++part) {
      assign(part);
      const auto at = static_cast<size_t>(part);
      for (size_t i = at * kPart; i < (at + 1) * kPart; ++i) {
        const double p = scale_[at] * level_[i];
        pp += p * p;
        px += p * static_cast<double>(x_[i]);
      }
    }
    if (!(pp > 0)) return false;
    const float old_d = d_, old_error = whole_error();
    d_ = as_f16(static_cast<float>(px / pp));
    if (whole_error() < old_error) return true;
    d_ = old_d;
    return false;
  }

  const float* x_;
  float d_ = 0;
  std::array<int, kParts> scale_{};
  std::array<int8_t, kBlock> level_{};
};

}  // namespace llmhost::quantize
