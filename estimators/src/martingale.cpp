#include <jko/estimators/martingale.hpp>

#include <jko/core/check.hpp>
#include <jko/estimators/conditional_moments.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>

#include "eigenfunctions.hpp"
#include "estimating_equations.hpp"
#include "maximise.hpp"
#include "transitions.hpp"

#include <Eigen/Cholesky>

#include <chrono>
#include <cmath>
#include <limits>

namespace jko::estimators {
namespace {

/// Which parameters the drift knows, at the data.
std::vector<bool> in_drift(const Diffusion& diffusion, const Vector& x) {
  const Matrix slope = diffusion.family().evaluate(DiffusionFamily::Coefficient::drift, {0, 1}, x.transpose(), diffusion.parameters());
  std::vector<bool> out;
  for (Index j = 0; j < slope.rows(); ++j) out.push_back((slope.row(j).array() != 0).any());
  return out;
}

/// With eigenfunctions in the place of powers.
EquationValue evaluate_eigen(const Vector& x, const Vector& move, const Vector& dt, const Diffusion& diffusion, int degree, bool with_terms) {
  const Index n = x.size(), count = diffusion.parameters().size();
  EquationValue out{Vector::Zero(count), Matrix::Zero(count, count), Matrix::Zero(count, count), with_terms ? Matrix(count, n) : Matrix()};
  const EigenMartingale m = eigen_martingale(diffusion, x, x + move, dt, degree);
  for (Index i = 0; i < n; ++i) {
    const Matrix v = m.ok ? Matrix(m.variance.col(i).reshaped(degree, degree)) : Matrix::Zero(degree, degree);
    const Eigen::LDLT<Matrix> factor(v);
    if (!m.ok || factor.info() != Eigen::Success || !factor.isPositive() || !(factor.vectorD().minCoeff() > 0)) {
      out.value.setConstant(std::numeric_limits<double>::quiet_NaN());
      return out;
    }
    const Matrix slope = m.slope.col(i).reshaped(degree, count), a = factor.solve(slope).transpose();
    const Vector term = a * m.value.col(i);
    out.value += term;
    out.sensitivity.noalias() += a * slope;
    out.variance.noalias() += a * v * a.transpose();
    if (with_terms) out.terms.col(i) = term;
  }
  return out;
}

EquationValue evaluate(const Vector& x, const Vector& move, const Vector& dt, const Diffusion& diffusion, const MartingaleOptions& options, bool with_terms) {
  if (options.kind == MartingaleKind::eigenfunctions) return evaluate_eigen(x, move, dt, diffusion, options.degree, with_terms);
  const Index n = x.size(), count = diffusion.parameters().size();
  const int k = options.kind == MartingaleKind::optimal ? options.degree : 2;
  const ConditionalMoments m = conditional_moments(diffusion, x, dt, 2 * k);
  const std::vector<bool> drift = options.kind == MartingaleKind::linear ? in_drift(diffusion, x) : std::vector<bool>();
  EquationValue out{Vector::Zero(count), Matrix::Zero(count, count), Matrix::Zero(count, count), with_terms ? Matrix(count, n) : Matrix()};
  Matrix v(k, k), a(count, k), slope(k, count);
  Vector h(k), unit(k), term(count);
  for (Index i = 0; i < n; ++i) {
    const double m1 = m.value(0, i), phi = m.value(1, i) - m1 * m1;
    if (!(phi > 0) || !m.value.col(i).allFinite()) {
      out.value.setConstant(std::numeric_limits<double>::quiet_NaN());
      return out;
    }
    // In units of the deviation, so that V is of order one.
    const double scale = 1 / std::sqrt(m.value(1, i));
    unit[0] = scale;
    for (Index r = 1; r < k; ++r) unit[r] = unit[r - 1] * scale;
    double power = 1;
    for (Index r = 0; r < k; ++r) {
      power *= move[i];
      h[r] = unit[r] * (power - m.value(r, i));
      for (Index s = 0; s < k; ++s) v(r, s) = unit[r] * unit[s] * (m.value(r + s + 1, i) - m.value(r, i) * m.value(s, i));
      for (Index j = 0; j < count; ++j) slope(r, j) = unit[r] * m.by_theta[static_cast<std::size_t>(j)](r, i);
    }
    if (options.kind == MartingaleKind::optimal) {
      const Eigen::LDLT<Matrix> factor(v);
      if (factor.info() != Eigen::Success || !factor.isPositive()) {
        out.value.setConstant(std::numeric_limits<double>::quiet_NaN());
        return out;
      }
      a = factor.solve(slope).transpose();
    } else {
      for (Index j = 0; j < count; ++j) {
        const double by_mean = m.by_theta[static_cast<std::size_t>(j)](0, i), by_variance = m.by_theta[static_cast<std::size_t>(j)](1, i) - 2 * m1 * by_mean;
        const bool first = options.kind == MartingaleKind::quadratic || drift[static_cast<std::size_t>(j)], second = options.kind == MartingaleKind::quadratic || !drift[static_cast<std::size_t>(j)];
        // (X' - F)^2 - phi = h_2 - 2 m_1 h_1.
        const double weight = second ? 0.5 * by_variance / (phi * phi) : 0;
        a(j, 0) = ((first ? by_mean / phi : 0) - 2 * m1 * weight) / unit[0];
        a(j, 1) = weight / unit[1];
      }
    }
    term.noalias() = a * h;
    out.value += term;
    out.sensitivity.noalias() += a * slope;
    out.variance.noalias() += a * v * a.transpose();
    if (with_terms) out.terms.col(i) = term;
  }
  return out;
}

void check(const MartingaleOptions& options) { check_in("fit_martingale", "degree", options.degree, 1, 4); }

}  // namespace

MartingaleValue martingale_function(const Panel& panel, const Diffusion& diffusion, const MartingaleOptions& options) {
  check(options);
  for (const Path& path : panel) path.validate();
  const Transitions data(panel);
  EquationValue e = evaluate(data.from, data.next - data.from, data.dt, diffusion, options, true);
  return {std::move(e.value), std::move(e.sensitivity), std::move(e.variance), std::move(e.terms)};
}

Fit fit_martingale(const Panel& panel, const Diffusion& start, const MartingaleOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  check(options);
  if (panel.empty()) throw ShapeError("fit_martingale: there is no path");
  for (const Path& path : panel) path.validate();
  const Transitions data(panel);
  start.check_values("fit_martingale", data.x);
  const Vector x = data.from, move = data.next - x;
  Fit out = prepared_fit(start.family().describe(), start.parameter_list(), options.fit);
  const Fit euler = fit(panel, start, Transition::euler, options.fit);
  out.iterations = euler.iterations;
  Vector parameters = euler.estimate.allFinite() && euler.estimate.size() > 0 ? euler.estimate : start.parameters();
  solve_equations([&](const Vector& theta, bool with_terms) { return evaluate(x, move, data.dt, start.with_parameters(theta), options, with_terms); }, start.parameter_list(), options.fit, parameters, out);
  switch (options.kind) {
    case MartingaleKind::linear: out.estimator = "linear martingale estimating function"; break;
    case MartingaleKind::quadratic: out.estimator = "quadratic martingale estimating function"; break;
    case MartingaleKind::eigenfunctions: out.estimator = "optimal estimating function of " + std::to_string(options.degree) + " eigenfunctions"; break;
    case MartingaleKind::optimal: out.estimator = "optimal martingale estimating function of degree " + std::to_string(options.degree); break;
  }
  out.theorem = "unbiased estimating equation at fixed dt, n -> infinity (ergodic)";
  out.n = data.size();
  out.duration = data.dt.sum();
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
