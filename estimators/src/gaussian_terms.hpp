#pragma once
/// Gaussian laws whose mean and variance are functions of a few derivatives of b and sigma at the starting point.
#include "phi_functions.hpp"
#include "transitions.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {

/// Mean and variance with their partial derivatives in N inputs.
template <int N>
struct GaussianLaw {
  double mean = 0, variance = 0;
  std::array<double, static_cast<std::size_t>(N)> d_mean{}, d_variance{};
};

/// The drift replaced by its local linearisation with the Ito term; sigma frozen. Inputs b, b', b'', sigma.
inline GaussianLaw<4> shoji_ozaki(double x, double dt, double b, double slope, double bend, double s) {
  const double z = slope * dt, square = s * s, ito = 0.5 * dt * dt * square;
  const Phi f = phi(z);
  const DoubledPhi g = doubled(f, z);
  // phi_1' = phi_1 - phi_2, phi_2' = phi_2 - 2 phi_3.
  return {x + b * dt * f.one + ito * bend * f.two,
          square * dt * g.one,
          {dt * f.one, dt * (b * dt * (f.one - f.two) + ito * bend * (f.two - 2 * f.three)), ito * f.two, dt * dt * s * bend * f.two},
          {0, 2 * dt * dt * square * (g.one - g.two), 0, 2 * s * dt * g.one}};
}

/// Adds log p(next) of a law to column `at` of the terms: score, and Fisher information (upper triangle). inputs[k]: P x block, the derivatives of input k in theta; `i` is the column there.
/// d_mean and d_variance are room for P numbers each.
template <int N>
void add_gaussian(const GaussianLaw<N>& law, double next, const std::array<const Matrix*, static_cast<std::size_t>(N)>& inputs, Index i, Index at, Vector& d_mean, Vector& d_variance, Terms& out) {
  const double v = law.variance, residual = next - law.mean;
  const Index count = out.scores.rows();
  double* const score = out.scores.data() + at * count;
  if (!(v > 0 && std::isfinite(v) && std::isfinite(residual))) {
    out.log_density[at] = -std::numeric_limits<double>::infinity();
    std::fill_n(score, count, 0.0);
    return;
  }
  const double inverse = 1 / v, z = residual * inverse, spread = 0.5 * (z * z - inverse), half = 0.5 * inverse * inverse;
  out.log_density[at] = -0.5 * (std::log(2 * std::numbers::pi * v) + residual * z);
  double *const dm = d_mean.data(), *const dv = d_variance.data();
  for (Index j = 0; j < count; ++j) {
    double m = 0, s = 0;
    for (std::size_t k = 0; k < N; ++k) {
      const double by = inputs[k]->data()[i * count + j];
      m += law.d_mean[k] * by;
      s += law.d_variance[k] * by;
    }
    dm[j] = m;
    dv[j] = s;
    score[j] = m * z + s * spread;
  }
  for (Index b = 0; b < count; ++b) {
    double* const column = out.expected.data() + b * count;
    for (Index a = 0; a <= b; ++a) column[a] += dm[a] * dm[b] * inverse + dv[a] * dv[b] * half;
  }
}

}  // namespace jko::estimators
