// Kessler's Gaussian laws: conditional moments expanded in dt by the generator, in truncated Taylor series about each starting point.
#include "diffusion_terms.hpp"
#include "dual.hpp"
#include "gaussian_terms.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

constexpr int lanes = 4;  // parameters differentiated at once
using Number = Dual<lanes>;
constexpr int most = 9;  // coefficients of a series: degree 2 J - 2 + 2 for J = 4
using Series = std::array<Number, most>;

/// L f = b f' + a f''/2; what is lost at the end of the series is never needed.
Series generator(const Series& b, const Series& half_a, const Series& f, int degree) {
  Series out{};
  for (int i = 0; i <= degree; ++i) {
    for (int j = 1; j + i - 1 <= degree && j < most; ++j) {
      const auto k = static_cast<std::size_t>(i + j - 1);
      out[k] += b[static_cast<std::size_t>(i)] * (j * f[static_cast<std::size_t>(j)]);
    }
    for (int j = 2; j + i - 2 <= degree && j < most; ++j) {
      const auto k = static_cast<std::size_t>(i + j - 2);
      out[k] += half_a[static_cast<std::size_t>(i)] * (j * (j - 1) * f[static_cast<std::size_t>(j)]);
    }
  }
  return out;
}

/// Order two written out, inputs b, b', b'', sigma, sigma', sigma'': with a = sigma^2, E Y = b D + (b b' + a b''/2) D^2/2 and E Y^2 = a D + (2 b^2 + b a' + 2 a b' + a a''/2) D^2/2.
GaussianLaw<6> second_order(double x, double dt, double b, double b1, double b2, double s, double s1, double s2) {
  const double h = 0.5 * dt * dt, a = s * s, a1 = 2 * s * s1, a2 = 2 * (s1 * s1 + s * s2);
  const double shift = b * dt + h * (b * b1 + 0.5 * a * b2), second = a * dt + h * (2 * b * b + b * a1 + 2 * a * b1 + 0.5 * a * a2);
  const double by_a = dt + h * (2 * b1 + 0.5 * a2), by_a1 = h * b, by_a2 = 0.5 * h * a;
  GaussianLaw<6> out{x + shift, second - shift * shift, {dt + h * b1, h * b, 0.5 * h * a, h * b2 * s, 0, 0},
                     {h * (4 * b + a1), 2 * h * a, 0, 2 * (by_a * s + by_a1 * s1 + by_a2 * s2), 2 * by_a1 * s + 4 * by_a2 * s1, 2 * by_a2 * s}};
  for (std::size_t k = 0; k < 6; ++k) out.d_variance[k] -= 2 * shift * out.d_mean[k];
  return out;
}

Terms second_order_terms(const Transitions& data, const Diffusion& diffusion) {
  const Index count = diffusion.parameters().size();
  Terms out(count, data.size());
  out.expected = Matrix::Zero(count, count);
  Vector d_mean(count), d_variance(count);
  in_blocks(data.size(), [&](Index first, Index size) {
    const Jets at(diffusion, data.from.segment(first, size), 2, 2);
    for (Index i = 0; i < size; ++i) {
      const Index t = first + i;
      add_gaussian<6>(second_order(data.from[t], data.dt[t], at.b[0][i], at.b[1][i], at.b[2][i], at.s[0][i], at.s[1][i], at.s[2][i]), data.next[t],
                      {&at.db[0], &at.db[1], &at.db[2], &at.ds[0], &at.ds[1], &at.ds[2]}, i, t, d_mean, d_variance, out);
    }
  });
  out.expected = Matrix(out.expected.selfadjointView<Eigen::Upper>());
  return out;
}

}  // namespace

Terms kessler_terms(const Transitions& data, const Diffusion& diffusion, int order) {
  if (order == 2) return second_order_terms(data, diffusion);
  const Vector &from = data.from, &next = data.next;
  const Index n = data.size(), count = diffusion.parameters().size();
  const int degree = 2 * order - 2;
  const Jets at(diffusion, from, degree, degree);
  Terms out(count, n);
  out.expected = Matrix::Zero(count, count);
  Matrix d_mean(count, n), d_variance(count, n);
  Vector mean(n), variance(n);
  for (Index first = 0; first < count; first += lanes) {
    const Index here = std::min<Index>(lanes, count - first);
    for (Index i = 0; i < n; ++i) {
      Series b{}, s{}, half_a{};
      double factorial = 1;
      for (int k = 0; k <= degree; ++k) {
        const auto c = static_cast<std::size_t>(k);
        if (k > 0) factorial *= k;
        b[c].v = at.b[c][i] / factorial;
        s[c].v = at.s[c][i] / factorial;
        for (Index j = 0; j < here; ++j) {
          b[c].d[static_cast<std::size_t>(j)] = at.db[c](first + j, i) / factorial;
          s[c].d[static_cast<std::size_t>(j)] = at.ds[c](first + j, i) / factorial;
        }
      }
      for (std::size_t k = 0; k <= static_cast<std::size_t>(degree); ++k) {
        for (std::size_t j = 0; j <= k; ++j) half_a[k] += 0.5 * s[j] * s[k - j];
      }
      Series line{}, square{};
      line[1] = 1;
      square[2] = 1;
      Number shift, second;
      double power = 1;
      for (int k = 1; k <= order; ++k) {
        // After k applications the coefficients up to 2 (order - k) are right, and those are all that is used.
        line = generator(b, half_a, line, 2 * (order - k));
        square = generator(b, half_a, square, 2 * (order - k));
        power *= data.dt[i] / k;
        shift += power * line[0];
        second += power * square[0];
      }
      const Number spread = second - shift * shift;
      mean[i] = from[i] + shift.v;
      variance[i] = spread.v;
      for (Index j = 0; j < here; ++j) {
        d_mean(first + j, i) = shift.d[static_cast<std::size_t>(j)];
        d_variance(first + j, i) = spread.d[static_cast<std::size_t>(j)];
      }
    }
  }
  for (Index i = 0; i < n; ++i) {
    const double v = variance[i], residual = next[i] - mean[i], z = residual / v;
    if (!(v > 0 && std::isfinite(v) && std::isfinite(residual))) {
      out.log_density[i] = -std::numeric_limits<double>::infinity();
      out.scores.col(i).setZero();
      continue;
    }
    out.log_density[i] = -0.5 * (std::log(2 * std::numbers::pi * v) + residual * z);
    out.scores.col(i) = z * d_mean.col(i) + 0.5 * (z * z - 1 / v) * d_variance.col(i);
    out.expected += d_mean.col(i) * d_mean.col(i).transpose() / v + d_variance.col(i) * d_variance.col(i).transpose() * (0.5 / (v * v));
  }
  return out;
}

}  // namespace jko::estimators
