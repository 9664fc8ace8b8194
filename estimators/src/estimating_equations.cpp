#include "estimating_equations.hpp"

#include <jko/core/check.hpp>

#include <Eigen/LU>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::estimators {
namespace {

/// S^{-1} on the parameters that move, in a matrix of the full size; false where it is singular to 1e-12 after equilibration.
bool invert(const Matrix& s, const std::vector<Index>& free, Matrix& out) {
  out = Matrix::Zero(s.rows(), s.cols());
  if (free.empty()) return true;
  const Matrix block = s(free, free);
  if (!block.allFinite()) return false;
  const Vector scale = block.diagonal().cwiseAbs().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
  const Eigen::FullPivLU<Matrix> lu(scale.asDiagonal() * block * scale.asDiagonal());
  const Vector pivots = lu.matrixLU().diagonal().cwiseAbs();
  if (!(pivots.minCoeff() > 1e-12)) return false;
  out(free, free) = scale.asDiagonal() * lu.inverse() * scale.asDiagonal();
  return true;
}

}  // namespace

void solve_equations(const Equation& equation, const std::vector<Parameter>& list, const FitOptions& options, Vector& x, Fit& fit) {
  const Index count = x.size();
  Vector lower(count), upper(count);
  for (Index i = 0; i < count; ++i) {
    const auto k = static_cast<std::size_t>(i);
    lower[i] = options.lower.empty() ? list[k].lower : std::max(options.lower[k], list[k].lower);
    upper[i] = options.upper.empty() ? list[k].upper : std::min(options.upper[k], list[k].upper);
    if (!fit.fixed[k]) x[i] = std::clamp(x[i], lower[i], upper[i]);
  }
  const auto open = [&](Index i) { return list[static_cast<std::size_t>(i)].positive && lower[i] <= 0; };
  std::vector<bool> held(static_cast<std::size_t>(count), false);
  const auto movable = [&] {
    std::vector<Index> out;
    for (Index i = 0; i < count; ++i) {
      if (!fit.fixed[static_cast<std::size_t>(i)] && !held[static_cast<std::size_t>(i)]) out.push_back(i);
    }
    return out;
  };
  EquationValue at = equation(x, false);
  Matrix inverse;
  fit.status = Status::iteration_limit;
  for (int iteration = 0; iteration < options.max_iterations; ++iteration) {
    ++fit.iterations;
    if (!at.value.allFinite()) {
      fit.status = Status::not_finite;
      break;
    }
    if (!invert(at.sensitivity, movable(), inverse)) {
      fit.status = Status::singular_information;
      break;
    }
    Vector step = inverse * at.value;
    bool changed = false;
    for (const Index i : movable()) {
      // On a closed bound with the step pointing outwards.
      if ((x[i] <= lower[i] && step[i] < 0 && !open(i)) || (x[i] >= upper[i] && step[i] > 0)) held[static_cast<std::size_t>(i)] = changed = true;
    }
    if (changed) continue;
    const Vector error = (inverse * at.variance * inverse.transpose()).diagonal().cwiseMax(1e-300).cwiseSqrt();
    const auto size = [&](const Vector& s) {
      double out = 0;
      for (const Index i : movable()) out = std::max(out, std::abs(s[i]) / error[i]);
      return out;
    };
    fit.gradient_norm = size(step);
    if (fit.gradient_norm <= options.tolerance) {
      fit.status = Status::converged;
      break;
    }
    bool moved = false;
    for (int halving = 0; halving < 40 && !moved; ++halving, step *= 0.5) {
      Vector trial = x + step;
      for (Index i = 0; i < count; ++i) {
        if (trial[i] <= lower[i] && step[i] < 0) trial[i] = open(i) ? x[i] - 0.9 * (x[i] - lower[i]) : lower[i];
        trial[i] = std::min(trial[i], std::max(upper[i], x[i]));
      }
      if (trial == x) break;
      EquationValue next = equation(trial, false);
      if (!next.value.allFinite()) continue;
      // A step cut short by a bound need not reduce the equations it is meant for.
      if (size(inverse * next.value) <= (1 - 1e-4) * fit.gradient_norm || (trial - x - step).cwiseAbs().maxCoeff() > 0.5 * step.cwiseAbs().maxCoeff()) {
        x = trial;
        at = std::move(next);
        moved = true;
      }
    }
    if (!moved) {
      fit.status = fit.gradient_norm <= 1e-6 ? Status::converged : Status::stalled;  // the equations' own rounding
      break;
    }
  }
  fit.estimate = x;
  fit.covariance = fit.sandwich = Matrix::Zero(count, count);
  if (!at.value.allFinite() || !invert(at.sensitivity, movable(), inverse)) return;
  const Matrix terms = equation(x, true).terms;
  fit.covariance = inverse * at.variance * inverse.transpose();
  fit.sandwich = inverse * (terms * terms.transpose()) * inverse.transpose();
  for (Index i = 0; i < count; ++i) {
    if (!held[static_cast<std::size_t>(i)]) continue;
    if (is_success(fit.status)) fit.status = Status::parameter_at_bound;
    fit.warnings.push_back(fmt::format("{} is at its bound {:g} and is treated as known", fit.names[static_cast<std::size_t>(i)], x[i]));
  }
}

}  // namespace jko::estimators
