// Ait-Sahalia's expansion in the logarithm, with the Hermite sum carried to infinity: powers of dt with coefficients that are integrals along the segment in Lamperti's coordinate.
#include "diffusion_terms.hpp"
#include "dual.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

constexpr int lanes = 4;  // parameters differentiated at once
using Number = Dual<lanes>;
using Series = std::array<Number, 7>;

// Gauss-Legendre nodes and weights on [0, 1].
const double root_a = std::sqrt(5 - 2 * std::sqrt(10.0 / 7)) / 3, root_b = std::sqrt(5 + 2 * std::sqrt(10.0 / 7)) / 3;
const std::array<double, 5> nodes{0.5 * (1 - root_b), 0.5 * (1 - root_a), 0.5, 0.5 * (1 + root_a), 0.5 * (1 + root_b)};
constexpr std::size_t middle = 2;

/// Weights of int_0^1 and int_0^{1/2} of the interpolating polynomial.
struct Weights {
  std::array<double, 5> whole{}, half{};
  Weights() {
    for (std::size_t q = 0; q < 5; ++q) {
      // The cardinal polynomial of node q, by its coefficients.
      std::array<double, 5> c{1, 0, 0, 0, 0};
      int degree = 0;
      for (std::size_t j = 0; j < 5; ++j) {
        if (j == q) continue;
        for (int k = ++degree; k >= 0; --k) {
          const auto i = static_cast<std::size_t>(k);
          c[i] = ((i > 0 ? c[i - 1] : 0) - nodes[j] * (k < degree ? c[i] : 0)) / (nodes[q] - nodes[j]);
        }
      }
      double power = 1;
      for (std::size_t k = 0; k < 5; ++k) {
        power *= 0.5;
        whole[q] += c[k] / static_cast<double>(k + 1);
        half[q] += c[k] * power / static_cast<double>(k + 1);
      }
    }
  }
};

Series product(const Series& a, const Series& b, int degree) {
  Series out{};
  for (int i = 0; i <= degree; ++i) {
    for (int j = 0; i + j <= degree; ++j) out[static_cast<std::size_t>(i + j)] += a[static_cast<std::size_t>(i)] * b[static_cast<std::size_t>(j)];
  }
  return out;
}

Series quotient(const Series& a, const Series& b, int degree) {
  Series out{};
  for (int k = 0; k <= degree; ++k) {
    Number rest = a[static_cast<std::size_t>(k)];
    for (int j = 1; j <= k; ++j) rest -= b[static_cast<std::size_t>(j)] * out[static_cast<std::size_t>(k - j)];
    out[static_cast<std::size_t>(k)] = rest / b[0];
  }
  return out;
}

Series slope(const Series& a, int degree) {
  Series out{};
  for (int k = 0; k < degree; ++k) out[static_cast<std::size_t>(k)] = (k + 1) * a[static_cast<std::size_t>(k + 1)];
  return out;
}

Series read(const std::vector<Vector>& values, const std::vector<Matrix>& derivatives, Index i, Index first, Index here) {
  Series out{};
  double factorial = 1;
  for (std::size_t k = 0; k < values.size(); ++k) {
    if (k > 0) factorial *= static_cast<double>(k);
    out[k].v = values[k][i] / factorial;
    for (Index j = 0; j < here; ++j) out[k].d[static_cast<std::size_t>(j)] = derivatives[k](first + j, i) / factorial;
  }
  return out;
}

/// lambda = -(mu^2 + d mu/dy)/2 as a series of this degree in x.
Series potential(const Series& b, const Series& s, int degree) {
  Series mu = quotient(b, s, degree + 1);
  const Series bend = slope(s, degree + 2);
  for (int k = 0; k <= degree + 1; ++k) mu[static_cast<std::size_t>(k)] -= 0.5 * bend[static_cast<std::size_t>(k)];
  const Series square = product(mu, mu, degree), along = product(s, slope(mu, degree + 1), degree);
  Series out{};
  for (int k = 0; k <= degree; ++k) out[static_cast<std::size_t>(k)] = -0.5 * (square[static_cast<std::size_t>(k)] + along[static_cast<std::size_t>(k)]);
  return out;
}

}  // namespace

Terms hermite_terms(const Transitions& data, const Diffusion& diffusion, int order) {
  static const Weights weights;
  const Vector from = data.from(), next = data.next();
  const Index n = data.size(), count = diffusion.parameters().size();
  const int degree = order == 1 ? 0 : (order == 2 ? 2 : 4);  // of lambda at the middle
  std::vector<Jets> at;
  for (std::size_t q = 0; q < 5; ++q) {
    const int extra = q == middle ? degree : 0;
    at.emplace_back(diffusion, from + nodes[q] * (next - from), 1 + extra, 2 + extra);
  }
  const Jets end(diffusion, next, -1, 0);
  Terms out(count, n);
  for (Index first = 0; first < count; first += lanes) {
    const Index here = std::min<Index>(lanes, count - first);
    for (Index i = 0; i < n; ++i) {
      const double dt = data.dt[i], h = next[i] - from[i];
      Number unit, unit_half, energy, gauge;  // means over the segment in x of 1/sigma, its first half, lambda/sigma, b/sigma^2
      Series middle_lambda{}, middle_sigma{};
      for (std::size_t q = 0; q < 5; ++q) {
        const Series b = read(at[q].b, at[q].db, i, first, here), s = read(at[q].s, at[q].ds, i, first, here);
        const Series lambda = potential(b, s, q == middle ? degree : 0);
        const Number u = 1.0 / s[0];
        unit += weights.whole[q] * u;
        unit_half += weights.half[q] * u;
        energy += weights.whole[q] * u * lambda[0];
        gauge += weights.whole[q] * b[0] * u * u;
        if (q == middle) middle_lambda = lambda, middle_sigma = s;
      }
      const Number d = h * unit;
      Number sigma_end = end.s[0][i];
      for (Index j = 0; j < here; ++j) sigma_end.d[static_cast<std::size_t>(j)] = end.ds[0](first + j, i);
      // S' - S - log sigma(x') = int b/sigma^2 - (log sigma(x') - log sigma(x))/2 - log sigma(x'); the part of sigma(x) is added below.
      Number value = -0.5 * (std::log(2 * std::numbers::pi * dt) + d * d / dt) + h * gauge - 1.5 * log(sigma_end) + dt * energy / unit;
      if (order >= 2) {
        const auto along = [&](const Series& f, int length) { return product(middle_sigma, slope(f, length), length - 1); };
        const Series one = along(middle_lambda, degree), two = along(one, degree - 1);
        Number second = two[0] / 6.0;  // int s (1-s) lambda_yy, at the middle
        if (order == 3) {
          const Series three = along(two, 2), four = along(three, 1);
          const Number shift = d * (0.5 - unit_half / unit);  // from the middle in x to that in y
          second = (two[0] + shift * three[0]) / 6.0 + d * d * four[0] / 240.0;
          value += dt * dt * dt / 6 * (four[0] / 40.0 + 0.25 * one[0] * one[0]);
        }
        value += 0.5 * dt * dt * second;
      }
      out.log_density[i] = value.v;
      for (Index j = 0; j < here; ++j) out.scores(first + j, i) = value.d[static_cast<std::size_t>(j)];
    }
  }
  // The half logarithm of sigma at the start.
  const Jets begin(diffusion, from, -1, 0);
  for (Index i = 0; i < n; ++i) {
    const double sigma = begin.s[0][i];
    out.log_density[i] += 0.5 * std::log(sigma);
    out.scores.col(i) += begin.ds[0].col(i) * (0.5 / sigma);
    if (!(sigma > 0)) out.log_density[i] = -std::numeric_limits<double>::infinity();
  }
  return out;
}

}  // namespace jko::estimators
