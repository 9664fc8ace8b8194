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
template <std::size_t N>
using Series = std::array<Number, N>;  // coefficients of 1, x, ..., x^{N-1}

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

template <std::size_t N, std::size_t A, std::size_t B>
Series<N> product(const Series<A>& a, const Series<B>& b) {
  static_assert(N <= A && N <= B);
  Series<N> out;
  for (std::size_t k = 0; k < N; ++k) {
    out[k] = a[0] * b[k];
    for (std::size_t i = 1; i <= k; ++i) out[k] += a[i] * b[k - i];
  }
  return out;
}

template <std::size_t N, std::size_t A, std::size_t B>
Series<N> quotient(const Series<A>& a, const Series<B>& b) {
  static_assert(N <= A && N <= B);
  Series<N> out;
  const Number inverse = 1.0 / b[0];
  for (std::size_t k = 0; k < N; ++k) {
    Number rest = a[k];
    for (std::size_t j = 1; j <= k; ++j) rest -= b[j] * out[k - j];
    out[k] = rest * inverse;
  }
  return out;
}

template <std::size_t N>
Series<N - 1> slope(const Series<N>& a) {
  Series<N - 1> out;
  for (std::size_t k = 0; k + 1 < N; ++k) out[k] = static_cast<double>(k + 1) * a[k + 1];
  return out;
}

template <std::size_t N>
Series<N> read(const std::vector<Vector>& values, const std::vector<Matrix>& derivatives, Index i, Index first, Index here) {
  Series<N> out{};
  double factor = 1;
  for (std::size_t k = 0; k < N; ++k) {
    if (k > 0) factor /= static_cast<double>(k);
    out[k].v = values[k][i] * factor;
    for (Index j = 0; j < here; ++j) out[k].d[static_cast<std::size_t>(j)] = derivatives[k](first + j, i) * factor;
  }
  return out;
}

/// lambda = -(mu^2 + d mu/dy)/2 as a series of N coefficients in x.
template <std::size_t N>
Series<N> potential(const Series<N + 1>& b, const Series<N + 2>& s) {
  Series<N + 1> mu = quotient<N + 1>(b, s);
  const Series<N + 1> bend = slope(s);
  for (std::size_t k = 0; k <= N; ++k) mu[k] -= 0.5 * bend[k];
  Series<N> out = product<N>(mu, mu);
  const Series<N> along = product<N>(s, slope(mu));
  for (std::size_t k = 0; k < N; ++k) out[k] = -0.5 * (out[k] + along[k]);
  return out;
}

/// Means over the segment in x of 1/sigma, its first half, lambda/sigma and b/sigma^2.
struct Means {
  Number unit, unit_half, energy, gauge;
};

/// One node's part in the means, with lambda/sigma = -(b^2 u^3 - 2 b s' u^2 + s'^2 u/4 + b' u - s''/2)/2, u = 1/s, differentiated by hand.
void add_node(const Jets& at, Index i, Index first, Index here, double whole, double half, Means& out) {
  const double b = at.b[0][i], b1 = at.b[1][i], s1 = at.s[1][i], s2 = at.s[2][i], u = 1 / at.s[0][i], u2 = u * u, u3 = u2 * u;
  out.unit.v += whole * u;
  out.unit_half.v += half * u;
  out.energy.v -= 0.5 * whole * (b * b * u3 - 2 * b * s1 * u2 + 0.25 * s1 * s1 * u + b1 * u - 0.5 * s2);
  out.gauge.v += whole * b * u2;
  const double by_b = -whole * (b * u3 - s1 * u2), by_b1 = -0.5 * whole * u, by_s = -0.5 * whole * (-3 * b * b * u3 * u + 4 * b * s1 * u3 - (0.25 * s1 * s1 + b1) * u2);
  const double by_s1 = whole * (b * u2 - 0.25 * s1 * u), by_s2 = 0.25 * whole;
  const Index count = at.db[0].rows(), begin = i * count + first;
  const double *db = at.db[0].data() + begin, *db1 = at.db[1].data() + begin, *ds = at.ds[0].data() + begin, *ds1 = at.ds[1].data() + begin, *ds2 = at.ds[2].data() + begin;
  for (Index j = 0; j < here; ++j) {
    const auto k = static_cast<std::size_t>(j);
    out.unit.d[k] -= whole * u2 * ds[j];
    out.unit_half.d[k] -= half * u2 * ds[j];
    out.energy.d[k] += by_b * db[j] + by_b1 * db1[j] + by_s * ds[j] + by_s1 * ds1[j] + by_s2 * ds2[j];
    out.gauge.d[k] += whole * u2 * (db[j] - 2 * b * u * ds[j]);
  }
}

template <int Order>
Terms terms_of_order(const Transitions& data, const Diffusion& diffusion) {
  static const Weights weights;
  const Index n = data.size(), count = diffusion.parameters().size();
  constexpr int degree = Order == 1 ? 0 : (Order == 2 ? 2 : 4);  // of lambda at the middle
  Terms out(count, n);
  in_blocks(n, [&](Index start, Index size) {
    const Vector from = data.from.segment(start, size), next = data.next.segment(start, size);
    std::vector<Jets> at;
    for (std::size_t q = 0; q < 5; ++q) {
      const int extra = q == middle ? degree : 0;
      at.emplace_back(diffusion, from + nodes[q] * (next - from), 1 + extra, 2 + extra);
    }
    const Jets end(diffusion, next, -1, 0), begin(diffusion, from, -1, 0);
    for (Index first = 0; first < count; first += lanes) {
      const Index here = std::min<Index>(lanes, count - first);
      for (Index i = 0; i < size; ++i) {
        const double dt = data.dt[start + i], h = next[i] - from[i];
        Means mean;
        for (std::size_t q = 0; q < 5; ++q) add_node(at[q], i, first, here, weights.whole[q], weights.half[q], mean);
        const Number d = h * mean.unit;
        Number sigma_end = end.s[0][i], sigma_begin = begin.s[0][i];
        for (Index j = 0; j < here; ++j) {
          sigma_end.d[static_cast<std::size_t>(j)] = end.ds[0](first + j, i);
          sigma_begin.d[static_cast<std::size_t>(j)] = begin.ds[0](first + j, i);
        }
        // S' - S - log sigma(x') = int b/sigma^2 - (log sigma(x') - log sigma(x))/2 - log sigma(x').
        Number value = h * mean.gauge + 0.5 * log(sigma_begin) - 1.5 * log(sigma_end) + dt * mean.energy / mean.unit - (0.5 / dt) * d * d;
        value.v -= 0.5 * std::log(2 * std::numbers::pi * dt);
        if constexpr (Order >= 2) {
          const auto sigma = read<degree + 3>(at[middle].s, at[middle].ds, i, first, here);
          const auto lambda = potential<degree + 1>(read<degree + 2>(at[middle].b, at[middle].db, i, first, here), sigma);
          const auto one = product<degree>(sigma, slope(lambda));
          const auto two = product<degree - 1>(sigma, slope(one));
          Number second = two[0] * (1.0 / 6);  // int s (1-s) lambda_yy, at the middle
          if constexpr (Order == 3) {
            const auto three = product<degree - 2>(sigma, slope(two));
            const auto four = product<degree - 3>(sigma, slope(three));
            const Number shift = d * (0.5 - mean.unit_half / mean.unit);  // from the middle in x to that in y
            second += shift * three[0] * (1.0 / 6) + d * d * four[0] * (1.0 / 240);
            value += dt * dt * dt / 6 * (four[0] * (1.0 / 40) + 0.25 * one[0] * one[0]);
          }
          value += 0.5 * dt * dt * second;
        }
        const Index t = start + i;
        out.log_density[t] = sigma_begin.v > 0 ? value.v : -std::numeric_limits<double>::infinity();
        for (Index j = 0; j < here; ++j) out.scores(first + j, t) = value.d[static_cast<std::size_t>(j)];
      }
    }
  });
  return out;
}

}  // namespace

Terms hermite_terms(const Transitions& data, const Diffusion& diffusion, int order) {
  switch (order) {
    case 1: return terms_of_order<1>(data, diffusion);
    case 2: return terms_of_order<2>(data, diffusion);
    default: return terms_of_order<3>(data, diffusion);
  }
}

}  // namespace jko::estimators
