#include <jko/estimators/likelihood.hpp>

#include <jko/core/check.hpp>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>

namespace jko::estimators {
namespace {

/// phi_k(z) = sum_j z^j/(j + k)!
struct Phi {
  double one, two, three;
};

Phi phi(double z) {
  if (std::abs(z) >= 0.5) {
    const double one = std::expm1(z) / z, two = (one - 1) / z;
    return {one, two, (two - 0.5) / z};
  }
  double three = 0;  // the series: 20 terms leave 0.5^20/23!, far below rounding
  for (int j = 20; j >= 1; --j) three = (1 + three) * z / (j + 3);
  three = (1 + three) / 6;
  const double two = 0.5 + z * three;
  return {1 + z * two, two, three};
}

struct Blocks {
  Matrix slope, curvature, third;                 // Psi', Psi'', Psi''' at the points
  Matrix d_slope, d_curvature, d_third;           // and their theta derivatives, p x n
};

/// Order-one quadratic-variation estimate of beta.
double quadratic_variation_beta(const Panel& panel) {
  double sum = 0, time = 0;
  for (const Path& path : panel) {
    for (Index i = 0; i < path.transitions(); ++i) sum += std::pow(path.values(0, i + 1) - path.values(0, i), 2);
    time += path.times[path.times.size() - 1] - path.times[0];
  }
  return 2 * time / sum;
}

Matrix restricted_inverse(const Matrix& information, const std::vector<Index>& free, bool& positive) {
  const auto k = static_cast<Index>(free.size());
  Matrix block(k, k);
  for (Index i = 0; i < k; ++i) {
    for (Index j = 0; j < k; ++j) block(i, j) = information(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]);
  }
  // Scaled to a unit diagonal, so that units do not decide what is singular.
  const Vector scale = block.diagonal().cwiseAbs().cwiseSqrt().cwiseMax(1e-300).cwiseInverse();
  const Eigen::LDLT<Matrix> factor(scale.asDiagonal() * block * scale.asDiagonal());
  positive = factor.info() == Eigen::Success && factor.isPositive() && factor.vectorD().minCoeff() > 1e-12;
  Matrix out = Matrix::Zero(information.rows(), information.cols());
  if (!positive) return out;
  const Matrix inverse = scale.asDiagonal() * factor.solve(Matrix(Matrix::Identity(k, k))) * scale.asDiagonal();
  for (Index i = 0; i < k; ++i) {
    for (Index j = 0; j < k; ++j) out(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]) = inverse(i, j);
  }
  return out;
}

}  // namespace

std::string_view name(Transition transition) {
  switch (transition) {
    case Transition::exact: return "exact";
    case Transition::euler: return "euler";
    case Transition::shoji_ozaki: return "shoji-ozaki";
  }
  return "?";
}

Transition transition_from_name(std::string_view text) {
  for (const Transition t : {Transition::exact, Transition::euler, Transition::shoji_ozaki}) {
    if (name(t) == text) return t;
  }
  throw DomainError(fmt::format("fit: estimator is '{}', but must be one of exact, euler, shoji-ozaki", text));
}

LikelihoodValue log_likelihood(const Panel& panel, const Model& model, Transition transition, bool with_scores) {
  if (model.dimension() != 1) throw DomainError("log_likelihood: the model must be one-dimensional");
  const Potential& potential = model.potential();
  if (transition == Transition::exact && !potential.quadratic(model.theta())) {
    throw DomainError("log_likelihood: the exact likelihood needs the Ornstein-Uhlenbeck family; use shoji-ozaki");
  }
  const bool linearised = transition != Transition::euler;
  const Index p = model.theta().size();
  const double beta = model.beta();
  LikelihoodValue out;
  out.gradient = Vector::Zero(p + 1);
  out.expected = Matrix::Zero(p + 1, p + 1);
  Index total = 0;
  for (const Path& path : panel) total += path.transitions();
  if (with_scores) out.scores.resize(p + 1, total);

  Index at = 0;
  Vector d_mean(p + 1), d_variance(p + 1), score(p + 1);
  for (const Path& path : panel) {
    const Index n = path.transitions();
    const auto points = path.values.leftCols(n);
    Blocks b;
    b.slope = potential.evaluate({1, 0}, points, model.theta());
    b.d_slope = potential.evaluate({1, 1}, points, model.theta());
    if (linearised) {
      b.curvature = potential.evaluate({2, 0}, points, model.theta());
      b.d_curvature = potential.evaluate({2, 1}, points, model.theta());
      b.third = potential.evaluate({3, 0}, points, model.theta());
      b.d_third = potential.evaluate({3, 1}, points, model.theta());
    }
    for (Index i = 0; i < n; ++i, ++at) {
      const double x = path.values(0, i), dt = path.times[i + 1] - path.times[i];
      const double drift = -b.slope(0, i);
      double mean = x + drift * dt, variance = 2 * dt / beta;
      d_mean[p] = 0;
      d_variance.setZero();
      if (linearised) {
        const double jacobian = -b.curvature(0, i), bend = -b.third(0, i) / beta;
        const Phi f = phi(jacobian * dt), g = phi(2 * jacobian * dt);
        mean = x + drift * dt * f.one + bend * dt * dt * f.two;
        // d phi_1 = phi_1 - phi_2, d phi_2 = phi_2 - 2 phi_3.
        const double mean_in_jacobian = dt * dt * (drift * (f.one - f.two) + bend * dt * (f.two - 2 * f.three));
        const double variance_in_jacobian = 2 * dt * variance * (g.one - g.two);
        variance *= g.one;
        for (Index j = 0; j < p; ++j) {
          d_mean[j] = -dt * f.one * b.d_slope(j, i) - mean_in_jacobian * b.d_curvature(j, i) - dt * dt * f.two * b.d_third(j, i) / beta;
          d_variance[j] = -variance_in_jacobian * b.d_curvature(j, i);
        }
        d_mean[p] = -dt * dt * f.two * bend / beta;
      } else {
        for (Index j = 0; j < p; ++j) d_mean[j] = -dt * b.d_slope(j, i);
      }
      d_variance[p] = -variance / beta;
      const double residual = path.values(0, i + 1) - mean;
      if (!(variance > 0 && std::isfinite(variance) && std::isfinite(mean))) {
        out.value = -std::numeric_limits<double>::infinity();
        return out;
      }
      out.value -= 0.5 * (std::log(2 * std::numbers::pi * variance) + residual * residual / variance);
      score = d_mean * (residual / variance) + d_variance * (0.5 / variance * (residual * residual / variance - 1));
      out.gradient += score;
      out.expected += d_mean * d_mean.transpose() / variance + d_variance * d_variance.transpose() * (0.5 / (variance * variance));
      if (with_scores) out.scores.col(at) = score;
    }
  }
  return out;
}

Fit fit(const Panel& panel, const Model& start, Transition transition, const FitOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  if (panel.empty()) throw ShapeError("fit: there are no paths");
  for (const Path& path : panel) path.validate();
  const std::vector<Parameter> list = start.parameter_list();
  const auto count = static_cast<Index>(list.size());
  Fit out;
  out.model = start.potential().describe();
  out.estimator = name(transition);
  out.theorem = transition == Transition::euler
                    ? "rates sqrt(T), sqrt(n) for n dt -> infinity, n dt^2 -> 0; inconsistent at fixed dt"
                    : (transition == Transition::exact ? "maximum likelihood at fixed dt, n -> infinity"
                                                       : "pseudo-likelihood, n dt -> infinity and dt -> 0; exact for linear drift");
  out.fixed = options.fixed.empty() ? std::vector<bool>(list.size(), false) : options.fixed;
  if (out.fixed.size() != list.size()) throw ShapeError("fit: the list of fixed parameters does not fit the model");
  Vector lower(count), upper(count);
  std::vector<Index> free;
  for (Index i = 0; i < count; ++i) {
    const auto k = static_cast<std::size_t>(i);
    out.names.push_back(list[k].name);
    lower[i] = options.lower.empty() ? list[k].lower : options.lower[k];
    upper[i] = options.upper.empty() ? list[k].upper : options.upper[k];
    if (!out.fixed[k]) free.push_back(i);
  }
  bool constant = true;
  for (const Path& path : panel) {
    out.n += path.transitions();
    out.duration += path.times[path.times.size() - 1] - path.times[0];
    constant = constant && path.values.maxCoeff() == path.values.minCoeff();
  }
  if (constant) throw DomainError("fit: the data are constant, so no diffusion fits them");

  Vector x = start.parameters();
  if (!out.fixed.back()) x[count - 1] = quadratic_variation_beta(panel);
  // An open bound (beta > 0) is kept by going at most nine tenths of the way.
  const auto admissible = [&](const Vector& from, Vector step) {
    for (Index i = 0; i < count; ++i) {
      const double target = from[i] + step[i];
      if (target <= lower[i] && from[i] > lower[i]) step *= 0.9 * (lower[i] - from[i]) / step[i];
      if (target >= upper[i] && from[i] < upper[i]) step *= 0.9 * (upper[i] - from[i]) / step[i];
    }
    return step;
  };
  const auto maximise = [&](Transition kind) {
    LikelihoodValue at = log_likelihood(panel, start.with_parameters(x), kind);
    out.status = Status::iteration_limit;
    for (int iteration = 0; iteration < options.max_iterations; ++iteration) {
      ++out.iterations;
      bool positive = false;
      const Matrix inverse = restricted_inverse(at.expected, free, positive);
      if (!positive || !std::isfinite(at.value)) {
        out.status = std::isfinite(at.value) ? Status::singular_information : Status::not_finite;
        return at;
      }
      out.gradient_norm = 0;
      for (const Index i : free) out.gradient_norm = std::max(out.gradient_norm, std::abs(at.gradient[i]) * std::sqrt(inverse(i, i)));
      if (out.gradient_norm <= options.tolerance) {
        out.status = Status::converged;
        return at;
      }
      Vector step = admissible(x, inverse * at.gradient);
      const double slope = step.dot(at.gradient);
      bool moved = false;
      for (int halving = 0; halving < 60; ++halving, step *= 0.5) {
        const Vector trial = x + step;
        if (trial == x) break;
        LikelihoodValue next = log_likelihood(panel, start.with_parameters(trial), kind);
        // 1e-12 |value| is the rounding of a sum of n terms of that size.
        if (next.value >= at.value + 1e-4 * std::pow(0.5, halving) * slope - 1e-12 * std::abs(at.value)) {
          x = trial;
          at = std::move(next);
          moved = true;
          break;
        }
      }
      if (!moved) {
        // The gradient's own rounding is about sqrt(n) epsilon in units of the standard error.
        out.status = out.gradient_norm <= 1e-6 ? Status::converged : Status::stalled;
        return at;
      }
    }
    return at;
  };
  if (transition == Transition::shoji_ozaki && !start.potential().quadratic(start.theta())) maximise(Transition::euler);
  const LikelihoodValue best = maximise(transition);
  out.log_likelihood = best.value;
  out.estimate = x;

  // Observed information: Richardson-extrapolated central differences of the exact gradient, error O(d^4) + epsilon/d.
  bool positive = false;
  const Matrix scale = restricted_inverse(best.expected, free, positive);
  out.covariance = out.sandwich = Matrix::Zero(count, count);
  if (positive) {
    Matrix information = Matrix::Zero(count, count);
    for (const Index i : free) {
      const auto difference = [&](double d) {
        Vector up = x, down = x;
        up[i] += d;
        down[i] -= d;
        return Vector((log_likelihood(panel, start.with_parameters(up), transition).gradient -
                       log_likelihood(panel, start.with_parameters(down), transition).gradient) /
                      (2 * d));
      };
      double d = 0.05 * std::sqrt(scale(i, i));
      if (x[i] - d <= lower[i]) d = 0.5 * (x[i] - lower[i]);
      if (x[i] + d >= upper[i]) d = std::min(d, 0.5 * (upper[i] - x[i]));
      information.col(i) = -(4 * difference(0.5 * d) - difference(d)) / 3;
    }
    information = Matrix(0.5 * (information + information.transpose()));
    out.covariance = restricted_inverse(information, free, positive);
    if (positive) {
      const Matrix scores = log_likelihood(panel, start.with_parameters(x), transition, true).scores;
      out.sandwich = out.covariance * (scores * scores.transpose()) * out.covariance;
    }
  }
  if (!positive) out.status = Status::singular_information;
  for (const Index i : free) {
    const double se = out.standard_errors()[i];
    if (std::min(x[i] - lower[i], upper[i] - x[i]) < 1e-3 * se) out.status = Status::parameter_at_bound;
  }
  if (const auto q = start.potential().quadratic(x.head(count - 1)); q && !out.fixed[0]) {
    const double kappa = q->curvature(0, 0);
    if (4 / out.duration > 0.1 * kappa) {
      out.warnings.push_back(fmt::format("T = {:.4g} is short: the bias of kappa is about 4/T = {:.3g}", out.duration, 4 / out.duration));
    }
  }
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

OuEstimate exact_ou_estimate(const ConstVectorRef& values, double dt) {
  const Index n = values.size() - 1;
  const auto before = values.head(n).array(), after = values.tail(n).array();
  const double mean_before = before.mean(), mean_after = after.mean();
  const double sxx = (before - mean_before).square().sum();
  const double sxy = ((before - mean_before) * (after - mean_after)).sum();
  const double phi_hat = sxy / sxx;
  OuEstimate out;
  if (!(phi_hat > 0 && phi_hat < 1)) return out;
  out.kappa = -std::log(phi_hat) / dt;
  out.mu = (mean_after - phi_hat * mean_before) / (1 - phi_hat);
  const double residual = (after - out.mu - phi_hat * (before - out.mu)).square().sum() / static_cast<double>(n);
  // The transition's variance is (1 - phi^2)/(beta kappa).
  out.beta = (1 - phi_hat * phi_hat) / (out.kappa * residual);
  out.ok = true;
  return out;
}

Matrix exact_ou_covariance(double kappa, double mu, double beta, double dt) {
  (void)mu;
  const double phi_value = std::exp(-kappa * dt);
  const double g = -2 * phi_value / (1 - phi_value * phi_value) + 1 / (phi_value * kappa * dt);
  Matrix out = Matrix::Zero(3, 3);
  out(0, 0) = std::expm1(2 * kappa * dt) / (dt * dt);
  out(1, 1) = (1 + phi_value) / (1 - phi_value) / (beta * kappa);
  out(2, 2) = beta * beta * (2 + g * g * (1 - phi_value * phi_value));
  out(0, 2) = out(2, 0) = -beta * g * (1 - phi_value * phi_value) / (phi_value * dt);
  return out;
}

}  // namespace jko::estimators
