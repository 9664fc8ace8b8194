// Ait-Sahalia's expansion in the logarithm, with the Hermite sum carried to infinity: powers of dt with coefficients that are integrals along the segment in Lamperti's coordinate.
#include "diffusion_terms.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

constexpr Index lanes = 4;  // transitions side by side
using Lanes = double __attribute__((vector_size(32)));
template <std::size_t N>
using Series = std::array<Lanes, N>;  // coefficients of 1, x, ..., x^{N-1}

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

// Truncated series and the reverse of each operation: from `bar`, the derivatives of log p in the result, those in the operands are added to. References, not
// values: functions of wide vectors have another calling convention in each instruction set.

template <std::size_t N, std::size_t A, std::size_t B>
void product(const Series<A>& a, const Series<B>& b, Series<N>& out) {
  static_assert(N <= A && N <= B);
  for (std::size_t k = 0; k < N; ++k) {
    out[k] = a[0] * b[k];
    for (std::size_t i = 1; i <= k; ++i) out[k] += a[i] * b[k - i];
  }
}
template <std::size_t N, std::size_t A, std::size_t B>
void product_back(const Series<A>& a, const Series<B>& b, const Series<N>& bar, Series<A>& a_bar, Series<B>& b_bar) {
  for (std::size_t k = 0; k < N; ++k) {
    for (std::size_t i = 0; i <= k; ++i) {
      a_bar[i] += bar[k] * b[k - i];
      b_bar[k - i] += bar[k] * a[i];
    }
  }
}

template <std::size_t N, std::size_t A, std::size_t B>
void quotient(const Series<A>& a, const Series<B>& b, Series<N>& out) {
  static_assert(N <= A && N <= B);
  const Lanes inverse = 1.0 / b[0];
  for (std::size_t k = 0; k < N; ++k) {
    Lanes rest = a[k];
    for (std::size_t j = 1; j <= k; ++j) rest -= b[j] * out[k - j];
    out[k] = rest * inverse;
  }
}
template <std::size_t N, std::size_t A, std::size_t B>
void quotient_back(const Series<B>& b, const Series<N>& out, const Series<N>& by_out, Series<A>& a_bar, Series<B>& b_bar) {
  const Lanes inverse = 1.0 / b[0];
  Series<N> bar = by_out;
  for (std::size_t k = N; k-- > 0;) {
    const Lanes rest = bar[k] * inverse;
    a_bar[k] += rest;
    for (std::size_t j = 0; j <= k; ++j) {
      b_bar[j] -= rest * out[k - j];
      if (j > 0) bar[k - j] -= rest * b[j];
    }
  }
}

template <std::size_t N>
void slope(const Series<N>& a, Series<N - 1>& out) {
  for (std::size_t k = 0; k + 1 < N; ++k) out[k] = static_cast<double>(k + 1) * a[k + 1];
}
template <std::size_t N>
void slope_back(const Series<N - 1>& bar, Series<N>& a_bar) {
  for (std::size_t k = 0; k + 1 < N; ++k) a_bar[k + 1] += static_cast<double>(k + 1) * bar[k];
}

void load(const double* from, Lanes& to) { std::memcpy(&to, from, sizeof to); }

template <std::size_t N>
void read(const std::vector<Vector>& derivatives, Index i, Series<N>& out) {
  double factor = 1;
  for (std::size_t k = 0; k < N; ++k) {
    if (k > 0) factor /= static_cast<double>(k);
    load(derivatives[k].data() + i, out[k]);
    out[k] *= factor;
  }
}

/// The corrections beyond the first order of dt, from lambda = -(mu^2 + d mu/dy)/2, mu = b/sigma - sigma'/2, at the middle of the segment in x.
template <int Order>
struct Corrections {
  static constexpr std::size_t degree = Order == 2 ? 2 : 4;  // of lambda
  Series<degree + 2> b, b_bar, ratio, mu, mu_bar{};
  Series<degree + 3> s, s_bar;
  Series<degree + 1> along, lambda, lambda_bar{};
  Series<degree + 2> bend;
  Series<degree> lambda_slope, one, one_bar{}, slope_bar{};
  Series<degree - 1> one_slope, two, two_bar{}, one_slope_bar{};

  /// d sigma d/dx of lambda.
  Corrections(const Jets& at, Index i) {
    read(at.b, i, b);
    read(at.s, i, s);
    quotient(b, s, ratio);
    slope(s, bend);
    for (std::size_t k = 0; k < mu.size(); ++k) mu[k] = ratio[k] - 0.5 * bend[k];
    product(mu, mu, lambda);
    Series<degree + 1> mu_slope;
    slope(mu, mu_slope);
    product(s, mu_slope, along);
    for (std::size_t k = 0; k < lambda.size(); ++k) lambda[k] = -0.5 * (lambda[k] + along[k]);
    slope(lambda, lambda_slope);
    product(s, lambda_slope, one);
    slope(one, one_slope);
    product(s, one_slope, two);
  }

  /// From the derivatives of log p in `one` and `two` to those in b and sigma, on top of what s_bar holds.
  void back() {
    product_back(s, one_slope, two_bar, s_bar, one_slope_bar);
    slope_back(one_slope_bar, one_bar);
    product_back(s, lambda_slope, one_bar, s_bar, slope_bar);
    slope_back(slope_bar, lambda_bar);
    Series<degree + 1> half, mu_slope, mu_slope_bar{};
    for (std::size_t k = 0; k < half.size(); ++k) half[k] = -0.5 * lambda_bar[k];
    slope(mu, mu_slope);
    product_back(s, mu_slope, half, s_bar, mu_slope_bar);
    slope_back(mu_slope_bar, mu_bar);
    product_back(mu, mu, half, mu_bar, mu_bar);
    Series<degree + 2> bend_bar;
    for (std::size_t k = 0; k < mu.size(); ++k) bend_bar[k] = -0.5 * mu_bar[k];
    slope_back(bend_bar, s_bar);
    quotient_back(s, ratio, mu_bar, b_bar, s_bar);
  }
};

/// By each input (b, sigma and derivatives at a node) of a group of lanes: log p's derivative in it, and where the input's own derivatives in theta lie.
struct Inputs {
  std::vector<Lanes> weight;
  std::vector<const double*> from;  // P x (transitions of the block)
  void add(const Lanes& by_input, const Matrix& derivative) {
    weight.push_back(by_input);
    from.push_back(derivative.data());
  }
  /// scores(:, i + l) = sum over the inputs, for l < here.
  template <int Fixed>
  void collect(Index parameters, Index i, Index here, double* scores) const {
    const Index count = Fixed > 0 ? Fixed : parameters;
    for (Index l = 0; l < here; ++l, scores += count) {
      std::array<double, Fixed> sum{};
      for (std::size_t k = 0; k < from.size(); ++k) {
        const double w = weight[k][l];
        const double* const d = from[k] + (i + l) * count;
        for (Index j = 0; j < count; ++j) (Fixed > 0 ? sum[static_cast<std::size_t>(j)] : scores[j]) += w * d[j];
      }
      for (std::size_t j = 0; j < sum.size(); ++j) scores[j] = sum[j];
    }
  }
  void collect(Index parameters, Index i, Index here, double* scores) const {
    switch (parameters) {
      case 2: return collect<2>(parameters, i, here, scores);
      case 3: return collect<3>(parameters, i, here, scores);
      case 4: return collect<4>(parameters, i, here, scores);
      default: return collect<0>(parameters, i, here, scores);
    }
  }
};

template <int Order>
Terms terms_of_order(const Transitions& data, const Diffusion& diffusion) {
  static const Weights weights;
  const Index n = data.size(), count = diffusion.parameters().size();
  constexpr int degree = Order == 1 ? 0 : (Order == 2 ? 2 : 4);  // of lambda at the middle
  Terms out(count, n);
  out.scores.setZero();
  in_blocks(n, [&](Index start, Index size) {
    // Whole groups of lanes: the last transition fills what is left.
    const auto padded = [&](const Vector& all) {
      Vector block = Vector::Constant((size + lanes - 1) / lanes * lanes, all[start + size - 1]);
      block.head(size) = all.segment(start, size);
      return block;
    };
    const Vector from = padded(data.from), next = padded(data.next), times = padded(data.dt);
    std::vector<Jets> at;
    for (std::size_t q = 0; q < 5; ++q) {
      const int extra = q == middle ? degree : 0;
      at.emplace_back(diffusion, from + nodes[q] * (next - from), 1 + extra, 2 + extra);
    }
    const Jets end(diffusion, next, -1, 0), begin(diffusion, from, -1, 0);
    Inputs inputs;
    for (Index i = 0; i < size; i += lanes) {
      Lanes x, h, dt, sigma_begin, sigma_end;
      load(from.data() + i, x);
      load(next.data() + i, h);
      load(times.data() + i, dt);
      load(begin.s[0].data() + i, sigma_begin);
      load(end.s[0].data() + i, sigma_end);
      h -= x;
      // Means over the segment in x of 1/sigma, its first half, lambda/sigma and b/sigma^2, where lambda/sigma = -(b^2 u^3 - 2 b s' u^2 + s'^2 u/4 + b' u - s''/2)/2, u = 1/s.
      Lanes unit{}, unit_half{}, energy{}, gauge{};
      std::array<std::array<Lanes, 5>, 5> input;  // b, b', s', s'', u
      for (std::size_t q = 0; q < 5; ++q) {
        auto& [b, b1, s1, s2, u] = input[q];
        load(at[q].b[0].data() + i, b);
        load(at[q].b[1].data() + i, b1);
        load(at[q].s[0].data() + i, u);
        load(at[q].s[1].data() + i, s1);
        load(at[q].s[2].data() + i, s2);
        u = 1.0 / u;
        const double whole = weights.whole[q];
        unit += whole * u;
        unit_half += weights.half[q] * u;
        energy -= 0.5 * whole * ((b * b * u * u - 2.0 * b * s1 * u + 0.25 * s1 * s1 + b1) * u - 0.5 * s2);
        gauge += whole * b * u * u;
      }
      const Lanes d = h * unit;
      // S' - S - log sigma(x') = int b/sigma^2 - (log sigma(x') - log sigma(x))/2 - log sigma(x').
      Lanes value = h * gauge + dt * energy / unit - 0.5 / dt * d * d;
      const Lanes by_gauge = h, by_energy = dt / unit;
      Lanes by_d = -d / dt, by_unit_half{}, by_unit = -by_energy * energy / unit;
      inputs.weight.clear();
      inputs.from.clear();
      if constexpr (Order >= 2) {
        Corrections<Order> c(at[middle], i);
        for (Lanes& v : c.b_bar) v = Lanes{};
        for (Lanes& v : c.s_bar) v = Lanes{};
        Lanes second = c.two[0] * (1.0 / 6);  // int s (1-s) lambda_yy, at the middle
        c.two_bar[0] = dt * dt * (1.0 / 12);
        if constexpr (Order == 3) {
          Series<2> two_slope, three, three_bar{}, two_slope_bar{};
          Series<1> three_slope, four, four_bar{}, three_slope_bar{};
          slope(c.two, two_slope);
          product(c.s, two_slope, three);
          slope(three, three_slope);
          product(c.s, three_slope, four);
          const Lanes ratio = unit_half / unit, shift = d * (0.5 - ratio), half = 0.5 * dt * dt, cube = dt * dt * dt * (1.0 / 6);  // shift: from the middle in x to that in y
          second += shift * three[0] * (1.0 / 6) + d * d * four[0] * (1.0 / 240);
          value += cube * (four[0] * (1.0 / 40) + 0.25 * c.one[0] * c.one[0]);
          const Lanes by_shift = half * three[0] * (1.0 / 6);
          by_d += by_shift * (0.5 - ratio) + half * d * four[0] * (1.0 / 120);
          by_unit_half -= by_shift * d / unit;
          by_unit += by_shift * d * ratio / unit;
          three_bar[0] = half * shift * (1.0 / 6);
          four_bar[0] = half * d * d * (1.0 / 240) + cube * (1.0 / 40);
          c.one_bar[0] = cube * 0.5 * c.one[0];
          product_back(c.s, three_slope, four_bar, c.s_bar, three_slope_bar);
          slope_back(three_slope_bar, three_bar);
          product_back(c.s, two_slope, three_bar, c.s_bar, two_slope_bar);
          slope_back(two_slope_bar, c.two_bar);
        }
        value += 0.5 * dt * dt * second;
        c.back();
        double factor = 1;
        for (std::size_t k = 0; k < c.s_bar.size(); ++k) {
          if (k > 0) factor /= static_cast<double>(k);
          if (k < c.b_bar.size()) inputs.add(c.b_bar[k] * factor, at[middle].db[k]);
          inputs.add(c.s_bar[k] * factor, at[middle].ds[k]);
        }
      }
      by_unit += by_d * h;
      for (std::size_t q = 0; q < 5; ++q) {
        const auto& [b, b1, s1, s2, u] = input[q];
        const double whole = weights.whole[q];
        const Lanes weight = whole * by_energy, u2 = u * u, bu = b * u;
        inputs.add(whole * by_gauge * u2 - weight * (bu - s1) * u2, at[q].db[0]);
        inputs.add(-0.5 * weight * u, at[q].db[1]);
        inputs.add(-u2 * (whole * by_unit + weights.half[q] * by_unit_half + 2.0 * whole * by_gauge * bu) +
                0.5 * weight * (3.0 * bu * bu - 4.0 * bu * s1 + 0.25 * s1 * s1 + b1) * u2, at[q].ds[0]);
        inputs.add(weight * (bu - 0.25 * s1) * u, at[q].ds[1]);
        inputs.add(0.25 * weight, at[q].ds[2]);
      }
      inputs.add(0.5 / sigma_begin, begin.ds[0]);
      inputs.add(-1.5 / sigma_end, end.ds[0]);
      const Index here = std::min(lanes, size - i);
      inputs.collect(count, i, here, out.scores.data() + (start + i) * count);
      for (Index l = 0; l < here; ++l) {
        const double constants = 0.5 * std::log(sigma_begin[l]) - 1.5 * std::log(sigma_end[l]) - 0.5 * std::log(2 * std::numbers::pi * dt[l]);
        out.log_density[start + i + l] = sigma_begin[l] > 0 ? value[l] + constants : -std::numeric_limits<double>::infinity();
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
