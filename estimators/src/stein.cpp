#include <jko/estimators/stein.hpp>

#include <jko/core/check.hpp>

#include "maximise.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

namespace jko::estimators {
namespace {

constexpr Index most_points = 16384;  // 2 GiB of kernel values

double median_distance(const Matrix& x) {
  const Index n = std::min<Index>(x.cols(), 1000);
  std::vector<double> squares;
  squares.reserve(static_cast<std::size_t>(n * (n - 1) / 2));
  for (Index j = 0; j < n; ++j) {
    for (Index i = 0; i < j; ++i) squares.push_back((x.col(i) - x.col(j)).squaredNorm());
  }
  const auto middle = squares.begin() + static_cast<std::ptrdiff_t>(squares.size() / 2);
  std::nth_element(squares.begin(), middle, squares.end());
  return std::sqrt(*middle);
}

/// k = phi(r), r = |x - y|^2: value, first and second derivative.
struct Radial {
  double value, first, second;
};
Radial radial(SteinKernel kernel, double r, double l) {
  const double inverse = 1 / (l * l);
  if (kernel == SteinKernel::gaussian) {
    const double e = std::exp(-0.5 * r * inverse);
    return {e, -0.5 * inverse * e, 0.25 * inverse * inverse * e};
  }
  const double base = 1 + r * inverse, k = 1 / std::sqrt(base);
  return {k, -0.5 * inverse * k / base, 0.75 * inverse * inverse * k / (base * base)};
}

}  // namespace

Fit fit_stein(const ConstMatrixRef& sample, const Model& start, const SteinOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  const Index d = sample.rows(), n = sample.cols(), p = start.theta().size();
  check_size("fit_stein", "dimension of the sample", d, start.dimension());
  check_in("fit_stein", "sample size", static_cast<double>(n), 3, static_cast<double>(most_points));
  check_nonnegative("fit_stein", "bandwidth", options.bandwidth);
  check_finite("fit_stein", "the sample", sample);
  const Matrix x = sample;
  const double l = options.bandwidth > 0 ? options.bandwidth : median_distance(x);
  if (!(l > 0)) throw DomainError("fit_stein: more than half of the sample are the same point: give a bandwidth");
  // What does not depend on the parameters: K, v_i = sum_j grad_2 k(x_i, x_j), and the constant. grad_2 k(x, y) = -2 phi'(r) (x - y) = -grad_1 k.
  Matrix k(n, n), v = Matrix::Zero(d, n);
  double constant = 0;
  for (Index j = 0; j < n; ++j) {
    k(j, j) = 1;
    constant += -2 * static_cast<double>(d) * radial(options.kernel, 0, l).first;
    for (Index i = 0; i < j; ++i) {
      const double r = (x.col(i) - x.col(j)).squaredNorm();
      const Radial f = radial(options.kernel, r, l);
      k(i, j) = k(j, i) = f.value;
      v.col(i) += (-2 * f.first) * (x.col(i) - x.col(j));
      v.col(j) += (-2 * f.first) * (x.col(j) - x.col(i));
      constant += 2 * (-2 * static_cast<double>(d) * f.first - 4 * r * f.second);
    }
  }
  const double each = 1 / static_cast<double>(n);
  // The value is -(n/2) KSD^2, so that the information is of the order of a likelihood's.
  const Objective objective = [&](const Vector& parameters, bool with_scores) {
    const Model model = start.with_parameters(parameters);
    const double beta = model.beta();
    const Matrix force = model.potential().evaluate({1, 0}, x, model.theta()), by_theta = model.potential().evaluate({1, 1}, x, model.theta());
    const Matrix s = -beta * force;
    std::vector<Matrix> slope;  // ds/dparameter, d x n
    for (Index j = 0; j < p; ++j) slope.emplace_back(-beta * by_theta.middleRows(d * j, d));
    slope.emplace_back(-force);
    const Matrix sk = s * k;
    LikelihoodValue out;
    out.value = -0.5 * each * (s.cwiseProduct(sk).sum() + 2 * s.cwiseProduct(v).sum() + constant);
    out.gradient.resize(p + 1);
    out.expected.resize(p + 1, p + 1);
    std::vector<Matrix> slope_k;
    for (const Matrix& g : slope) slope_k.emplace_back(g * k);
    for (Index a = 0; a <= p; ++a) {
      const Matrix& g = slope[static_cast<std::size_t>(a)];
      out.gradient[a] = -each * (g.cwiseProduct(sk).sum() + g.cwiseProduct(v).sum());
      for (Index b = 0; b <= a; ++b) out.expected(a, b) = out.expected(b, a) = each * g.cwiseProduct(slope_k[static_cast<std::size_t>(b)]).sum();
    }
    if (!std::isfinite(out.value)) out.value = -std::numeric_limits<double>::infinity();
    if (with_scores) {
      // The projection: the mean over j of d/dtheta of the pair's term, at each i.
      out.scores.resize(p + 1, n);
      for (Index a = 0; a <= p; ++a) {
        const Matrix& g = slope[static_cast<std::size_t>(a)];
        out.scores.row(a) = -each * (g.cwiseProduct(sk + v) + s.cwiseProduct(slope_k[static_cast<std::size_t>(a)])).colwise().sum();
      }
      for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < n; ++j) {
          const Vector difference = x.col(i) - x.col(j);
          const double first = 2 * radial(options.kernel, difference.squaredNorm(), l).first;
          for (Index a = 0; a <= p; ++a) out.scores(a, i) -= each * first * slope[static_cast<std::size_t>(a)].col(j).dot(difference);  // ds_j . grad_1 k_ij
        }
      }
    }
    return out;
  };
  Fit out = prepared_fit(start, options.fit);
  out.estimator = options.kernel == SteinKernel::gaussian ? "minimum Stein discrepancy, Gaussian kernel" : "minimum Stein discrepancy, inverse multiquadric";
  out.theorem = "minimum kernel Stein discrepancy from independent draws of the stationary law, n -> infinity";
  out.n = n;
  minimise_distance(objective, start, options.fit, out);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
