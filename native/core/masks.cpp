#include "core/masks.h"

#include <ATen/Version.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/parallel.h"

#if defined(__GNUC__)
#define SAM3_INLINE inline __attribute__((always_inline))
#else
#define SAM3_INLINE inline
#endif
// Without it std::fma is a call into libm for every pixel.
#if defined(__GNUC__) && defined(__x86_64__)
#define SAM3_WITH_FMA __attribute__((target("avx2,fma")))
#else
#define SAM3_WITH_FMA
#endif

namespace sam3 {
namespace {

// Where one output row (or column) takes its two values from, and with what weights.
struct Tap {
  std::int64_t first;
  std::int64_t second;
  float first_weight;
  float second_weight;
};

// As ATen's area_pixel_compute_source_index and guard_index_and_lambda do for align_corners=False and no given scale.
std::vector<Tap> make_taps(std::int64_t input, std::int64_t output, bool fused) {
  std::vector<Tap> taps(static_cast<std::size_t>(output));
  const float scale = static_cast<float>(input) / static_cast<float>(output);
  for (std::int64_t i = 0; i < output; ++i) {
    Tap& tap = taps[static_cast<std::size_t>(i)];
    if (input == output) {
      tap = {i, i, 1.0f, 0.0f};
      continue;
    }
    const float centre = static_cast<float>(i) + 0.5f;
    const float at = std::max(0.0f, fused ? std::fma(scale, centre, -0.5f) : scale * centre - 0.5f);
    tap.first = std::min(static_cast<std::int64_t>(std::floor(at)), input - 1);
    tap.second = tap.first + (tap.first < input - 1 ? 1 : 0);
    tap.second_weight = std::min(std::max(at - static_cast<float>(tap.first), 0.0f), 1.0f);
    tap.first_weight = 1.0f - tap.second_weight;
  }
  return taps;
}

// Output rows that lie between the same two source rows.
struct Band {
  std::int64_t first;
  std::int64_t second;
  std::int64_t begin;
  std::int64_t end;
};

std::vector<Band> make_bands(const std::vector<Tap>& rows) {
  std::vector<Band> bands;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    if (bands.empty() || bands.back().first != rows[i].first) bands.push_back({rows[i].first, rows[i].second, at, at});
    bands.back().end = at + 1;
  }
  return bands;
}

// Collects runs. Not thread-safe.
class RunWriter {
 public:
  void add(bool inside, std::int64_t length) {
    if (inside != inside_) {
      result_.counts.push_back(static_cast<std::uint32_t>(run_));
      run_ = 0;
      inside_ = inside;
    }
    run_ += length;
    if (inside) result_.area += static_cast<std::uint64_t>(length);
  }

  RunLengths finish() {
    result_.counts.push_back(static_cast<std::uint32_t>(run_));
    return std::move(result_);
  }

 private:
  RunLengths result_;
  bool inside_ = false;
  std::int64_t run_ = 0;
};

// ATen's kernels are compiled once per instruction set. Where that has fused multiply-add, the compiler has fused the
// first product of every sum; `Fused` says so, and the code below fuses the same products and no others (this file is
// compiled with -ffp-contract=off). A test compares with ATen on the processor at hand.
template <bool Fused>
SAM3_INLINE float multiply_add(float a, float b, float c) {
  if constexpr (Fused) {
    return std::fma(a, b, c);
  } else {
    return a * b + c;
  }
}

// first·w0 + second·w1
template <bool Fused>
SAM3_INLINE float blend(float first, float second, float first_weight, float second_weight) {
  return multiply_add<Fused>(first, first_weight, second * second_weight);
}

// Which side of the threshold everything between two values lies on.
enum class Side : char { below, above, mixed };

// Rounding can carry a blend a little past its ends, so values that touch the threshold decide nothing; with ends on
// one side by more than that margin, every blend between them is on that side. NaN and infinities decide nothing.
class Sides {
 public:
  explicit Sides(float threshold) : threshold_(threshold) {}

  Side of(float least, float most) const {
    const float margin = 4 * std::numeric_limits<float>::epsilon() * std::max(std::fabs(least), std::fabs(most)) +
                         std::numeric_limits<float>::min();
    if (!(margin < std::numeric_limits<float>::infinity())) return Side::mixed;
    if (least > threshold_ + margin) return Side::above;
    if (most < threshold_ - margin) return Side::below;
    return Side::mixed;
  }

 private:
  float threshold_;
};

struct Plan {
  std::vector<Tap> rows;
  std::vector<Tap> columns;
  std::vector<Band> bands;
  float threshold;
};

// The plane turned, so that a source column lies in one piece, with the least and the most of each: most columns of
// most masks are background from top to bottom. NaN has no side and makes a column undecided.
struct TurnedPlane {
  std::vector<float> values;
  std::vector<float> least;
  std::vector<float> most;
  std::vector<char> decidable;

  TurnedPlane(const float* plane, std::int64_t rows, std::int64_t columns)
      : values(static_cast<std::size_t>(rows * columns)),
        least(plane, plane + columns),
        most(least),
        decidable(static_cast<std::size_t>(columns), 1) {
    for (std::int64_t y = 0; y < rows; ++y) {
      for (std::int64_t x = 0; x < columns; ++x) {
        const float value = plane[y * columns + x];
        const auto at = static_cast<std::size_t>(x);
        values[static_cast<std::size_t>(x * rows + y)] = value;
        least[at] = std::min(least[at], value);
        most[at] = std::max(most[at], value);
        if (std::isnan(value)) decidable[at] = 0;
      }
    }
  }
};

template <bool Fused>
SAM3_INLINE RunLengths encode_mask(const float* plane, std::int64_t rows, std::int64_t columns, const Plan& plan) {
  const Sides sides(plan.threshold);
  const auto height = static_cast<std::int64_t>(plan.rows.size());
  const TurnedPlane turned(plane, rows, columns);
  RunWriter writer;
  std::vector<float> column(static_cast<std::size_t>(rows));
  for (const Tap& tap : plan.columns) {
    const auto first = static_cast<std::size_t>(tap.first);
    const auto second = static_cast<std::size_t>(tap.second);
    if (turned.decidable[first] && turned.decidable[second]) {
      const Side side = sides.of(std::min(turned.least[first], turned.least[second]),
                                 std::max(turned.most[first], turned.most[second]));
      if (side != Side::mixed) {
        writer.add(side == Side::above, height);
        continue;
      }
    }
    const float* left = turned.values.data() + tap.first * rows;
    const float* right = turned.values.data() + tap.second * rows;
    for (std::int64_t y = 0; y < rows; ++y) {
      column[static_cast<std::size_t>(y)] = blend<Fused>(left[y], right[y], tap.first_weight, tap.second_weight);
    }
    for (const Band& band : plan.bands) {
      const float above = column[static_cast<std::size_t>(band.first)];
      const float below = column[static_cast<std::size_t>(band.second)];
      // min and max of a NaN and a number may be the number: ask for both.
      const Side side = std::isnan(above) || std::isnan(below)
                            ? Side::mixed
                            : sides.of(std::min(above, below), std::max(above, below));
      if (side != Side::mixed) {
        writer.add(side == Side::above, band.end - band.begin);
        continue;
      }
      for (std::int64_t y = band.begin; y < band.end; ++y) {
        const Tap& row = plan.rows[static_cast<std::size_t>(y)];
        writer.add(blend<Fused>(above, below, row.first_weight, row.second_weight) > plan.threshold, 1);
      }
    }
  }
  return writer.finish();
}

// ATen has another kernel for small outputs, which weighs the four corners at once.
constexpr std::size_t small_output = 128;  // height + width

template <bool Fused>
SAM3_INLINE RunLengths encode_small_mask(const float* plane, std::int64_t columns, const Plan& plan) {
  RunWriter writer;
  for (const Tap& x : plan.columns) {
    for (const Tap& y : plan.rows) {
      const float* upper = plane + y.first * columns;
      const float* lower = plane + y.second * columns;
      float value = multiply_add<Fused>(y.first_weight * x.first_weight, upper[x.first],
                                        y.first_weight * x.second_weight * upper[x.second]);
      value = multiply_add<Fused>(y.second_weight * x.first_weight, lower[x.first], value);
      value = multiply_add<Fused>(y.second_weight * x.second_weight, lower[x.second], value);
      writer.add(value > plan.threshold, 1);
    }
  }
  return writer.finish();
}

template <bool Fused>
SAM3_INLINE RunLengths encode_plane(const float* plane, std::int64_t rows, std::int64_t columns, const Plan& plan) {
  const bool small = plan.rows.size() + plan.columns.size() <= small_output;
  return small ? encode_small_mask<Fused>(plane, columns, plan) : encode_mask<Fused>(plane, rows, columns, plan);
}

SAM3_WITH_FMA RunLengths encode_fused(const float* plane, std::int64_t rows, std::int64_t columns, const Plan& plan) {
  return encode_plane<true>(plane, rows, columns, plan);
}

RunLengths encode_plain(const float* plane, std::int64_t rows, std::int64_t columns, const Plan& plan) {
  return encode_plane<false>(plane, rows, columns, plan);
}

}  // namespace

std::vector<RunLengths> encode_masks(const LogitPlanes& logits, std::int64_t height, std::int64_t width,
                                     float threshold, int threads) {
  const bool fused = at::get_cpu_capability() != "DEFAULT";
  Plan plan{make_taps(logits.rows, height, fused), make_taps(logits.columns, width, fused), {}, threshold};
  plan.bands = make_bands(plan.rows);
  std::vector<RunLengths> masks(static_cast<std::size_t>(logits.count));
  parallel(logits.count, threads, [&](std::int64_t i) {
    const float* plane = logits.data + i * logits.rows * logits.columns;
    masks[static_cast<std::size_t>(i)] = (fused ? encode_fused : encode_plain)(plane, logits.rows, logits.columns, plan);
  });
  return masks;
}

}  // namespace sam3
