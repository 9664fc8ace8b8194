#include "gridded_sums.hpp"

#include <jko/core/parallel.hpp>

#include "../core/vector_math.hpp"
#include "vector_exp.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace jko {
namespace {

constexpr double share = 0.1;       // a^2/s^2: v = 0.089 s^2; a larger share makes a coarser grid and wider stencils
constexpr Index most_cells = 64;    // of a stencil along an axis: 24 at tail 1e-13

/// row += value weights
JKO_VECTOR_CLONES void add_row(double value, const double* weights, Index n, double* __restrict row) {
  for (Index i = 0; i < n; ++i) row[i] += value * weights[i];
}
/// The row's product with the weights, in eight lanes.
JKO_VECTOR_CLONES double dot_row(const double* row, const double* weights, Index n) {
  double sum[8]{};
  Index i = 0;
  for (; i + 8 <= n; i += 8) {
    for (Index l = 0; l < 8; ++l) sum[l] += row[i + l] * weights[i + l];
  }
  for (; i < n; ++i) sum[0] += row[i] * weights[i];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}
/// The row's products with the weights and with their derivatives, in eight lanes.
JKO_VECTOR_CLONES void dot_rows(const double* row, const double* weights, const double* slopes, Index n, double* __restrict out) {
  double sum[8]{}, slope[8]{};
  Index i = 0;
  for (; i + 8 <= n; i += 8) {
    for (Index l = 0; l < 8; ++l) {
      sum[l] += row[i + l] * weights[i + l];
      slope[l] += row[i + l] * slopes[i + l];
    }
  }
  for (; i < n; ++i) {
    sum[0] += row[i] * weights[i];
    slope[0] += row[i] * slopes[i];
  }
  out[0] = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
  out[1] = ((slope[0] + slope[1]) + (slope[2] + slope[3])) + ((slope[4] + slope[5]) + (slope[6] + slope[7]));
}
/// out = scale exp(-z^2/(2 a^2)), slope = -z/a^2 out, at z = x - cells.
JKO_VECTOR_CLONES void stencil(double z, double width, double exponent, double scale, Index n, double* __restrict out, double* __restrict slope) {
  for (Index i = 0; i < n; ++i) {
    const double y = z - width * static_cast<double>(i);
    out[i] = scale * exp_nonpositive(exponent * (y * y));
    slope[i] = 2 * exponent * y * out[i];
  }
}
/// out[i] = w[0] in[i] + sum_t w[t] (in[i + t stride] + in[i - t stride]), in blocks of 64.
JKO_VECTOR_CLONES void convolve_run(const double* in, Index stride, const double* w, Index taps, Index n, double* __restrict out) {
  for (Index begin = 0; begin < n; begin += 64) {
    const Index count = std::min<Index>(64, n - begin);
    double sum[64];
    for (Index i = 0; i < count; ++i) sum[i] = w[0] * in[begin + i];
    for (Index t = 1; t <= taps; ++t) {
      const double *up = in + begin + t * stride, *down = in + begin - t * stride;
      for (Index i = 0; i < count; ++i) sum[i] += w[t] * (up[i] + down[i]);
    }
    for (Index i = 0; i < count; ++i) out[begin + i] = sum[i];
  }
}

}  // namespace

double GriddedSums::Plan::size() const {
  double product = 1;
  for (const Index n : cells) product *= static_cast<double>(n);
  return product;
}

double GriddedSums::Plan::nanoseconds(double points, bool gradient) const {
  const auto d = static_cast<double>(cells.size());
  // Measured (docs/methods/gaussian_sums.md): a cell of a stencil, the stencil's exponentials, a tap of the convolution.
  return points * (0.25 * (gradient ? 1.5 : 1.0) * std::pow(2.0 * static_cast<double>(reach), d) + 4.0 * d * static_cast<double>(reach)) + size() * d * (1 + 0.15 * static_cast<double>(taps));
}

GriddedSums::Plan GriddedSums::plan(const ConstVectorRef& low, const ConstVectorRef& high, double bandwidth, double tail) {
  const auto d = static_cast<double>(low.size());
  const double s = bandwidth, a = s * std::sqrt(share), c = s * std::sqrt(1 - 2 * share), v = share * (1 - 2 * share) / (1 - share);
  // Aliasing, a quarter of the tail: per axis 2 e^{-L} for the first sum and (1 + 2 pi s/w) 2 e^{-L} for the second with its derivative, L = 2 pi^2 v s^2/w^2.
  double width = 0.25 * s;
  for (int k = 0; k < 4; ++k) width = s * std::sqrt(2 * std::numbers::pi * std::numbers::pi * v / std::log(8 * d * (2 + 2 * std::numbers::pi * s / width) / tail));
  // What the cut of A leaves out of a sum over cells is at most (2 w/(a sqrt(2 pi)) + 1) e^{-r^2/2}, of the sum of |derivatives| (s/a)(2 w r/(a sqrt(2 pi)) + 1) e^{-r^2/2} in units
  // 1/s, beside C(0)/G(0) = (s/c)^d; w < a. A quarter for both cuts of A, an eighth for that of C, whose derivative is gathered with weights of sum below s/a.
  const double peak = std::pow(s / c, d);
  const double r = std::sqrt(2 * std::log(4 * d * peak * (2 * 1.8 + (s / a) * 11) / tail)), far = std::sqrt(2 * std::log(8 * d * peak * (s / a) / tail));
  Plan out;
  out.width = width;
  out.reach = static_cast<Index>(std::ceil(r * a / width));
  out.taps = static_cast<Index>(std::ceil(far * c / width));
  out.lower = low.array() - width * static_cast<double>(out.reach);
  for (Index k = 0; k < low.size(); ++k) out.cells.push_back(static_cast<Index>(std::min(1e15, std::floor((high[k] - low[k]) / width))) + 2 * out.reach + 2);
  return out;
}

GriddedSums::GriddedSums(Plan plan, const ConstMatrixRef& targets, const ConstMatrixRef& sources, double bandwidth, int threads)
    : plan_(std::move(plan)), a_(bandwidth * std::sqrt(share)), threads_(threads), d_(static_cast<int>(sources.rows())) {
  const double c = bandwidth * std::sqrt(1 - 2 * share);
  kernel_.resize(plan_.taps + 1);
  for (Index t = 0; t <= plan_.taps; ++t) {
    const double z = static_cast<double>(t) * plan_.width / c;
    kernel_[t] = plan_.width / (c * std::sqrt(2 * std::numbers::pi)) * std::exp(-0.5 * z * z);
  }
  targets_ = ordered(targets);
  sources_ = ordered(sources);
}

GriddedSums::Points GriddedSums::ordered(const ConstMatrixRef& points) const {
  const Index n = points.cols();
  std::vector<Index> base(static_cast<std::size_t>(n * d_)), key(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) {
    Index flat = 0;
    for (int k = d_ - 1; k >= 0; --k) {
      const Index cell = std::clamp<Index>(static_cast<Index>(std::floor((points(k, i) - plan_.lower[k]) / plan_.width)), plan_.reach - 1, plan_.cells[static_cast<std::size_t>(k)] - plan_.reach - 1);
      base[static_cast<std::size_t>(d_ * i + k)] = cell;
      flat = flat * plan_.cells[static_cast<std::size_t>(k)] + cell;
    }
    key[static_cast<std::size_t>(i)] = flat;
  }
  Points out;
  out.original.resize(static_cast<std::size_t>(n));
  std::iota(out.original.begin(), out.original.end(), Index{0});
  std::sort(out.original.begin(), out.original.end(), [&](Index i, Index j) {
    const Index a = key[static_cast<std::size_t>(i)], b = key[static_cast<std::size_t>(j)];
    return a != b ? a < b : i < j;
  });
  out.at.resize(d_, n);
  out.base.resize(static_cast<std::size_t>(n * d_));
  for (Index i = 0; i < n; ++i) {
    const Index from = out.original[static_cast<std::size_t>(i)];
    out.at.col(i) = points.col(from);
    for (int k = 0; k < d_; ++k) out.base[static_cast<std::size_t>(d_ * i + k)] = base[static_cast<std::size_t>(d_ * from + k)];
  }
  return out;
}

/// A and its derivative at the cells base - reach + 1, ..., base + reach of each axis, times w; axis k at most_cells k.
void GriddedSums::weights(const Points& points, Index i, double* w, double* slope) const {
  const double scale = plan_.width / (a_ * std::sqrt(2 * std::numbers::pi)), exponent = -0.5 / (a_ * a_);
  for (int k = 0; k < d_; ++k) {
    const Index first = points.base[static_cast<std::size_t>(d_ * i + k)] - plan_.reach + 1;
    const double z = points.at(k, i) - (plan_.lower[k] + plan_.width * static_cast<double>(first));
    stencil(z, plan_.width, exponent, scale, 2 * plan_.reach, w + most_cells * k, slope + most_cells * k);
  }
}

void GriddedSums::spread(const Vector& charges, Vector& field) const {
  const Index width = 2 * plan_.reach, n = sources_.at.cols();
  const Index n0 = plan_.cells[0], last = plan_.cells[static_cast<std::size_t>(d_ - 1)], layer = field.size() / last;
  const auto base = [&](Index i) { return sources_.base[static_cast<std::size_t>(d_ * i + d_ - 1)]; };
  const Index slab = std::max<Index>(16, 4096 / layer);  // layers that one task spreads to: who does it changes no bit
  field.setZero();
  // Points are ordered by their layer, so that those which touch a slab are neighbours.
  parallel_for((last + slab - 1) / slab, threads_, [&](Index task) {
    const Index begin = task * slab, end = std::min(last, begin + slab);
    Index low = 0;
    for (Index span = n; span > 0;) {  // the first point whose stencil reaches `begin`
      const Index half = span / 2;
      if (base(low + half) + plan_.reach < begin) low += half + 1, span -= half + 1;
      else span = half;
    }
    double w[3 * most_cells], slope[3 * most_cells];
    for (Index i = low; i < n; ++i) {
      const Index first = base(i) - plan_.reach + 1;
      if (first >= end) break;
      weights(sources_, i, w, slope);
      const double q = charges[sources_.original[static_cast<std::size_t>(i)]];
      const Index* const at = &sources_.base[static_cast<std::size_t>(d_ * i)];
      const double* const wl = w + most_cells * (d_ - 1);
      const Index l0 = std::max(first, begin), l1 = std::min(first + width, end);
      if (d_ == 1) {
        add_row(q, w + (l0 - first), l1 - l0, field.data() + l0);
        continue;
      }
      for (Index l = l0; l < l1; ++l) {
        const double ql = q * wl[l - first];
        if (d_ == 2) {
          add_row(ql, w, width, field.data() + l * layer + at[0] - plan_.reach + 1);
        } else {
          double* const origin = field.data() + l * layer + at[0] - plan_.reach + 1 + n0 * (at[1] - plan_.reach + 1);
          for (Index j = 0; j < width; ++j) add_row(ql * w[most_cells + j], w, width, origin + n0 * j);
        }
      }
    }
  });
}

void GriddedSums::convolve(Vector& field) const {
  Vector out(field.size());
  Index stride = 1;
  for (int k = 0; k < d_; ++k) {
    const Index n = plan_.cells[static_cast<std::size_t>(k)], taps = plan_.taps;
    if (k == 0) {
      parallel_blocks(field.size() / n, 16, threads_, [&](Index begin, Index end) {
        std::vector<double> padded(static_cast<std::size_t>(n + 2 * taps), 0.0);
        for (Index line = begin; line < end; ++line) {
          std::copy_n(field.data() + line * n, n, padded.data() + taps);
          convolve_run(padded.data() + taps, 1, kernel_.data(), taps, n, out.data() + line * n);
        }
      });
    } else {
      // Columns of 64 lines side by side, padded with zeros.
      const Index blocks = (stride + 63) / 64, outer = field.size() / (stride * n);
      parallel_for(blocks * outer, threads_, [&](Index task) {
        const Index from = task % blocks * 64, count = std::min<Index>(64, stride - from), origin = task / blocks * stride * n + from;
        std::vector<double> padded(static_cast<std::size_t>(64 * (n + 2 * taps)), 0.0);
        for (Index j = 0; j < n; ++j) std::copy_n(field.data() + origin + j * stride, count, padded.data() + 64 * (j + taps));
        for (Index j = 0; j < n; ++j) convolve_run(padded.data() + 64 * (j + taps), 64, kernel_.data(), taps, count, out.data() + origin + j * stride);
      });
    }
    field.swap(out);
    stride *= n;
  }
}

Matrix GriddedSums::sum(const ConstVectorRef& charges, bool gradient) const {
  Vector field(static_cast<Index>(plan_.size()));
  spread(charges, field);
  convolve(field);
  const Index width = 2 * plan_.reach, n = targets_.at.cols(), n0 = plan_.cells[0], area = d_ > 1 ? n0 * plan_.cells[1] : n0;
  // Each stencil carries a factor w: the sums are integrals. The spread ones are densities times w^d.
  const double scale = std::pow(plan_.width, -d_);
  Matrix out(gradient ? 1 + d_ : 1, n);
  parallel_blocks(n, 256, threads_, [&](Index begin, Index end) {
    double w[3 * most_cells], slope[3 * most_cells];
    for (Index i = begin; i < end; ++i) {
      weights(targets_, i, w, slope);
      const Index* const at = &targets_.base[static_cast<std::size_t>(d_ * i)];
      double sums[4]{};
      const double* origin = field.data() + at[0] - plan_.reach + 1;
      if (d_ > 1) origin += n0 * (at[1] - plan_.reach + 1);
      if (d_ > 2) origin += area * (at[2] - plan_.reach + 1);
      for (Index l = 0; l < (d_ > 2 ? width : 1); ++l) {
        const double w2 = d_ > 2 ? w[2 * most_cells + l] : 1.0, s2 = d_ > 2 ? slope[2 * most_cells + l] : 0.0;
        for (Index j = 0; j < (d_ > 1 ? width : 1); ++j) {
          const double w1 = d_ > 1 ? w[most_cells + j] : 1.0, s1 = d_ > 1 ? slope[most_cells + j] : 0.0;
          if (!gradient) {
            sums[0] += w2 * w1 * dot_row(origin + area * l + n0 * j, w, width);
            continue;
          }
          double pair[2];
          dot_rows(origin + area * l + n0 * j, w, slope, width, pair);
          sums[0] += w2 * w1 * pair[0];
          sums[1] += w2 * w1 * pair[1];
          sums[2] += w2 * s1 * pair[0];
          sums[3] += s2 * w1 * pair[0];
        }
      }
      for (Index k = 0; k < out.rows(); ++k) out(k, targets_.original[static_cast<std::size_t>(i)]) = scale * sums[k];
    }
  });
  return out;
}

}  // namespace jko
