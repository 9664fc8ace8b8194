#include <jko/estimators/drift_least_squares.hpp>

#include <jko/core/check.hpp>

#include "maximise.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace jko::estimators {

Fit fit_drift_least_squares(const Panel& panel, const Model& start, const FitOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  const Index d = start.dimension(), p = start.theta().size();
  if (panel.empty()) throw ShapeError("fit_drift_least_squares: there is no path");
  Index n = 0;
  for (const Path& path : panel) {
    path.validate();
    check_size("fit_drift_least_squares", "dimension of the data", path.values.rows(), d);
    n += path.transitions();
  }
  Matrix from(d, n), move(d, n);
  Vector dt(n);
  Index at = 0;
  for (const Path& path : panel) {
    const Index m = path.transitions();
    from.middleCols(at, m) = path.values.leftCols(m);
    move.middleCols(at, m) = path.values.rightCols(m) - path.values.leftCols(m);
    dt.segment(at, m) = path.times.tail(m) - path.times.head(m);
    at += m;
  }
  const Vector squares = move.colwise().squaredNorm().transpose().array() / (static_cast<double>(d) * dt.array());  // estimates of 2/beta
  const double speed = squares.mean();
  if (!(speed > 0)) throw DomainError("fit_drift_least_squares: the data are constant");

  Fit out = prepared_fit(start, options);
  out.estimator = "drift least squares, quadratic variation";
  out.theorem = "rates sqrt(T), sqrt(n) for n dt -> infinity, n dt^2 -> 0; inconsistent at fixed dt";
  out.n = n;
  out.duration = dt.sum();
  const bool beta_free = !out.fixed.back();
  Vector x = start.parameters();
  FitOptions drift = options;
  drift.fixed = out.fixed;
  drift.fixed.back() = true;
  // A beta outside the options' bounds is held by them.
  bool beta_held = false;
  if (beta_free) {
    const double lower = options.lower.empty() ? 0 : options.lower.back(), upper = options.upper.empty() ? std::numeric_limits<double>::infinity() : options.upper.back();
    const double beta = std::clamp(2 / speed, lower, upper);
    beta_held = beta != 2 / speed;
    x[p] = beta;
  }

  const Objective objective = [&](const Vector& parameters, bool with_scores) {
    const Model model = start.with_parameters(parameters);
    const Matrix force = model.potential().evaluate({1, 0}, from, model.theta()), by_theta = model.potential().evaluate({1, 1}, from, model.theta());
    LikelihoodValue value;
    value.gradient = Vector::Zero(p + 1);
    value.expected = Matrix::Zero(p + 1, p + 1);
    if (with_scores) value.scores = Matrix::Zero(p + 1, n);
    Vector score(p);
    for (Index i = 0; i < n; ++i) {
      const Vector residual = move.col(i) + force.col(i) * dt[i];
      const auto slope = by_theta.col(i).reshaped(d, p);
      value.value -= 0.25 * model.beta() * residual.squaredNorm() / dt[i];
      score.noalias() = -0.5 * model.beta() * (slope.transpose() * residual);
      value.gradient.head(p) += score;
      value.expected.topLeftCorner(p, p).noalias() += 0.5 * model.beta() * dt[i] * slope.transpose() * slope;
      if (with_scores) value.scores.col(i).head(p) = score;
    }
    if (!std::isfinite(value.value)) value.value = -std::numeric_limits<double>::infinity();
    return value;
  };
  const std::vector<bool> fixed = out.fixed;
  out.fixed = drift.fixed;
  const LikelihoodValue best = maximise(objective, start, drift, x, out);
  complete(objective, start, drift, x, best, out);
  out.fixed = fixed;
  out.log_likelihood = std::numeric_limits<double>::quiet_NaN();  // a sum of squares is none
  if (beta_held) {
    if (is_success(out.status)) out.status = Status::parameter_at_bound;
    out.warnings.emplace_back("beta is at its bound and is treated as known");
  } else if (beta_free && out.covariance.size() > 0) {
    const double beta = x[p], by_speed = -beta / speed;  // d(2/speed)/d speed
    out.covariance(p, p) = 2 * beta * beta / static_cast<double>(n * d);
    const Vector centred = squares.array() - speed;
    const double scale = by_speed / static_cast<double>(n);
    out.sandwich(p, p) = scale * scale * centred.squaredNorm();
    if (p > 0) {
      const Matrix scores = objective(x, true).scores.topRows(p);
      const Vector cross = scale * (out.covariance.topLeftCorner(p, p) * (scores * centred));
      out.sandwich.col(p).head(p) = cross;
      out.sandwich.row(p).head(p) = cross.transpose();
    }
  }
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
