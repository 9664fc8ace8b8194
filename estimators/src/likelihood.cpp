#include <jko/estimators/likelihood.hpp>

#include <jko/core/check.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>

#include "diffusion_terms.hpp"
#include "maximise.hpp"
#include "numerical_error.hpp"
#include "phi_functions.hpp"
#include "spectral_function.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numbers>

namespace jko::estimators {
namespace {

/// Derivatives of Psi at the points of a path that a transition needs, one column a point.
struct Derivatives {
  Matrix slope, curvature, third, d_slope, d_curvature, d_third;
  Derivatives(const Potential& potential, const ConstMatrixRef& points, const ConstVectorRef& theta, bool linearised)
      : slope(potential.evaluate({1, 0}, points, theta)), d_slope(potential.evaluate({1, 1}, points, theta)) {
    if (!linearised) return;
    curvature = potential.evaluate({2, 0}, points, theta);
    third = potential.evaluate({3, 0}, points, theta);
    d_curvature = potential.evaluate({2, 1}, points, theta);
    d_third = potential.evaluate({3, 1}, points, theta);
  }
};

/// The Gaussian law of one transition with its derivatives in (theta, beta); d_mean has P columns, d_covariance P matrices.
struct GaussianTransition {
  Vector mean;
  Matrix covariance, d_mean;
  std::vector<Matrix> d_covariance;
};

/// Adds one transition to the sums; false where it is inadmissible.
bool add_transition(const GaussianTransition& t, const ConstVectorRef& next, LikelihoodValue& out, Vector& score) {
  const Index d = next.size(), count = t.d_mean.cols();
  const Eigen::LLT<Matrix> factor(t.covariance);
  if (!t.mean.allFinite() || !t.covariance.allFinite() || factor.info() != Eigen::Success) return false;
  const Vector residual = next - t.mean, weighted = factor.solve(residual);
  const Matrix lower = factor.matrixL();
  out.value -= 0.5 * (static_cast<double>(d) * std::log(2 * std::numbers::pi) + residual.dot(weighted)) + lower.diagonal().array().log().sum();
  const Matrix whitened_mean = factor.solve(t.d_mean);
  std::vector<Matrix> whitened;
  for (Index a = 0; a < count; ++a) {
    const Matrix& dv = t.d_covariance[static_cast<std::size_t>(a)];
    whitened.push_back(factor.solve(dv));
    score[a] = t.d_mean.col(a).dot(weighted) + 0.5 * (weighted.dot(dv * weighted) - whitened.back().trace());
  }
  for (Index a = 0; a < count; ++a) {
    for (Index b = 0; b < count; ++b) {
      out.expected(a, b) += t.d_mean.col(a).dot(whitened_mean.col(b)) +
                            0.5 * whitened[static_cast<std::size_t>(a)].cwiseProduct(whitened[static_cast<std::size_t>(b)].transpose()).sum();
    }
  }
  out.gradient += score;
  return true;
}

GaussianTransition euler(const Derivatives& at, Index i, const ConstVectorRef& x, double dt, double beta) {
  const Index d = x.size(), p = at.d_slope.rows() / d;
  GaussianTransition t;
  t.mean = x - dt * at.slope.col(i);
  t.covariance = 2 * dt / beta * Matrix::Identity(d, d);
  t.d_mean = Matrix::Zero(d, p + 1);
  t.d_mean.leftCols(p) = -dt * at.d_slope.col(i).reshaped(d, p);
  t.d_covariance.assign(static_cast<std::size_t>(p), Matrix::Zero(d, d));
  t.d_covariance.emplace_back(-t.covariance / beta);
  return t;
}

/// grad(Lap Psi) from the third derivative, a d^3-vector with symmetric indices.
Vector laplacian_gradient(const ConstVectorRef& third, Index d) {
  Vector out = Vector::Zero(d);
  for (Index i = 0; i < d; ++i) {
    for (Index k = 0; k < d; ++k) out[i] += third[k + d * k + d * d * i];
  }
  return out;
}

GaussianTransition local_linearisation(const Derivatives& at, Index i, const ConstVectorRef& x, double dt, double beta) {
  const Index d = x.size(), p = at.d_slope.rows() / d;
  const Eigen::SelfAdjointEigenSolver<Matrix> e(-dt * at.curvature.col(i).reshaped(d, d));
  const Matrix q = e.eigenvectors();
  const Vector z = e.eigenvalues();
  const auto one = spectral(q, z, [](double v) { return phi(v).one; }, [](double v) { return phi(v).one - phi(v).two; });
  const auto two = spectral(q, z, [](double v) { return phi(v).two; }, [](double v) { return phi(v).two - 2 * phi(v).three; });
  const auto spread = spectral(q, z, [](double v) { return phi(2 * v).one; }, [](double v) { return 2 * (phi(2 * v).one - phi(2 * v).two); });
  const Vector drift = -at.slope.col(i), bend = -laplacian_gradient(at.third.col(i), d) / beta;
  const Matrix phi_one = one.matrix(), phi_two = two.matrix();
  GaussianTransition t;
  t.mean = x + dt * phi_one * drift + dt * dt * phi_two * bend;
  t.covariance = 2 * dt / beta * spread.matrix();
  t.d_mean.resize(d, p + 1);
  for (Index j = 0; j < p; ++j) {
    const Matrix rotated = -dt * q.transpose() * at.d_curvature.col(i).segment(d * d * j, d * d).reshaped(d, d) * q;
    t.d_mean.col(j) = dt * (one.derivative(rotated) * drift - phi_one * at.d_slope.col(i).segment(d * j, d)) +
                      dt * dt * (two.derivative(rotated) * bend - phi_two * laplacian_gradient(at.d_third.col(i).segment(d * d * d * j, d * d * d), d) / beta);
    t.d_covariance.emplace_back(2 * dt / beta * spread.derivative(rotated));
  }
  t.d_mean.col(p) = -dt * dt / beta * phi_two * bend;
  t.d_covariance.emplace_back(-t.covariance / beta);
  return t;
}

/// The scalar case written out: the hot path. Mean and variance with their derivatives; score and sums as in add_transition().
bool add_scalar(const Derivatives& at, Index i, double x, double next, double dt, double beta, bool linearised, Vector& d_mean, Vector& d_variance,
                LikelihoodValue& out, Vector& score) {
  const Index p = at.d_slope.rows();
  const double drift = -at.slope(0, i);
  double mean = x + drift * dt, variance = 2 * dt / beta;
  d_mean[p] = 0;
  d_variance.setZero();
  if (linearised) {
    const double jacobian = -at.curvature(0, i), bend = -at.third(0, i) / beta;
    const Phi f = phi(jacobian * dt), g = phi(2 * jacobian * dt);
    mean = x + drift * dt * f.one + bend * dt * dt * f.two;
    // d phi_1 = phi_1 - phi_2, d phi_2 = phi_2 - 2 phi_3.
    const double mean_in_jacobian = dt * dt * (drift * (f.one - f.two) + bend * dt * (f.two - 2 * f.three));
    const double variance_in_jacobian = 2 * dt * variance * (g.one - g.two);
    variance *= g.one;
    for (Index j = 0; j < p; ++j) {
      d_mean[j] = -dt * f.one * at.d_slope(j, i) - mean_in_jacobian * at.d_curvature(j, i) - dt * dt * f.two * at.d_third(j, i) / beta;
      d_variance[j] = -variance_in_jacobian * at.d_curvature(j, i);
    }
    d_mean[p] = -dt * dt * f.two * bend / beta;
  } else {
    for (Index j = 0; j < p; ++j) d_mean[j] = -dt * at.d_slope(j, i);
  }
  d_variance[p] = -variance / beta;
  const double residual = next - mean;
  if (!(variance > 0 && std::isfinite(variance) && std::isfinite(mean))) return false;
  out.value -= 0.5 * (std::log(2 * std::numbers::pi * variance) + residual * residual / variance);
  score = d_mean * (residual / variance) + d_variance * (0.5 / variance * (residual * residual / variance - 1));
  out.gradient += score;
  out.expected += d_mean * d_mean.transpose() / variance + d_variance * d_variance.transpose() * (0.5 / (variance * variance));
  return true;
}

/// Written for potentials in d dimensions; the others are those of one-dimensional diffusions.
bool is_langevin_scheme(Transition transition, Index dimension) {
  return transition == Transition::exact || transition == Transition::euler || transition == Transition::shoji_ozaki || (transition == Transition::strang && dimension > 1);
}

void check_dimension(const Panel& panel, Index d) {
  for (const Path& path : panel) {
    if (path.values.rows() != d) throw ShapeError(fmt::format("log_likelihood: the data have dimension {}, but the model {}", path.values.rows(), d));
  }
}

void require_quadratic(const Model& model) {
  if (!model.potential().quadratic(model.theta())) throw DomainError("log_likelihood: the exact likelihood needs a quadratic potential; use shoji-ozaki");
}

/// Order-one quadratic-variation estimate of beta: E |dX|^2 = 2 d dt/beta.
double quadratic_variation_beta(const Panel& panel) {
  double sum = 0, time = 0;
  for (const Path& path : panel) {
    const Index n = path.transitions();
    sum += (path.values.rightCols(n) - path.values.leftCols(n)).squaredNorm();
    time += path.times[n] - path.times[0];
  }
  return 2 * static_cast<double>(panel.front().values.rows()) * time / sum;
}

}  // namespace

namespace {
constexpr std::array<std::pair<Transition, std::string_view>, 17> scheme_names{{{Transition::exact, "exact"},
                                                                               {Transition::euler, "euler"},
                                                                               {Transition::elerian, "elerian"},
                                                                               {Transition::kessler_1, "kessler-1"},
                                                                               {Transition::kessler_2, "kessler-2"},
                                                                               {Transition::kessler_3, "kessler-3"},
                                                                               {Transition::kessler_4, "kessler-4"},
                                                                               {Transition::ozaki, "ozaki"},
                                                                               {Transition::shoji_ozaki, "shoji-ozaki"},
                                                                               {Transition::hermite_1, "hermite-1"},
                                                                               {Transition::hermite_2, "hermite-2"},
                                                                               {Transition::hermite_3, "hermite-3"},
                                                                               {Transition::strang, "strang"},
                                                                               {Transition::pedersen, "pedersen"},
                                                                               {Transition::modified_bridge, "modified-bridge"},
                                                                               {Transition::jko, "jko"},
                                                                               {Transition::fokker_planck, "fokker-planck"}}};
}  // namespace

std::string_view name(Transition transition) {
  for (const auto& [value, text] : scheme_names) {
    if (value == transition) return text;
  }
  return "?";
}

std::vector<std::string> transition_names() {
  std::vector<std::string> out;
  for (const auto& entry : scheme_names) out.emplace_back(entry.second);
  return out;
}

Transition transition_from_name(std::string_view text) {
  for (const auto& [value, known] : scheme_names) {
    if (known == text) return value;
  }
  throw DomainError(fmt::format("fit: estimator is '{}', but must be one of {}", text, fmt::join(transition_names(), ", ")));
}

LikelihoodValue log_likelihood(const Panel& panel, const Model& model, Transition transition, bool with_scores) {
  const Potential& potential = model.potential();
  const Index d = model.dimension(), count = model.theta().size() + 1;
  if (!is_langevin_scheme(transition, d)) return log_likelihood(panel, as_diffusion(model), transition, with_scores);
  if (transition == Transition::strang) {
    check_dimension(panel, d);
    const Refinement refinement = refine([&](int level) { return strang_terms(panel, model, level).log_density.sum(); }, 0);
    LikelihoodValue out = collect(strang_terms(panel, model, refinement.level), with_scores);
    out.error += refinement.error;
    return out;
  }
  if (transition == Transition::exact) require_quadratic(model);
  const bool linearised = transition != Transition::euler;
  LikelihoodValue out;
  out.gradient = Vector::Zero(count);
  out.expected = Matrix::Zero(count, count);
  check_dimension(panel, d);
  Index total = 0;
  for (const Path& path : panel) total += path.transitions();
  if (with_scores) out.scores.resize(count, total);
  Index column = 0;
  Vector d_mean(count), d_variance(count), score(count);
  for (const Path& path : panel) {
    const Index n = path.transitions();
    const Derivatives at(potential, path.values.leftCols(n), model.theta(), linearised);
    for (Index i = 0; i < n; ++i, ++column) {
      const double dt = path.times[i + 1] - path.times[i];
      bool admissible = false;
      if (d == 1) {
        admissible = add_scalar(at, i, path.values(0, i), path.values(0, i + 1), dt, model.beta(), linearised, d_mean, d_variance, out, score);
      } else {
        const auto x = path.values.col(i);
        admissible = add_transition(linearised ? local_linearisation(at, i, x, dt, model.beta()) : euler(at, i, x, dt, model.beta()), path.values.col(i + 1), out, score);
      }
      if (!admissible) {
        out.value = -std::numeric_limits<double>::infinity();
        return out;
      }
      if (with_scores) out.scores.col(column) = score;
    }
  }
  return out;
}

Fit fit(const Panel& panel, const Model& start, Transition transition, const FitOptions& options) {
  if (!is_langevin_scheme(transition, start.dimension())) return fit(panel, as_diffusion(start), transition, options);
  const auto begin = std::chrono::steady_clock::now();
  if (transition == Transition::exact) require_quadratic(start);
  Fit out;
  if (start.dimension() == 1) {
    // The local linearisation of a linear drift is the exact law.
    out = fit(panel, as_diffusion(start), transition == Transition::exact ? Transition::shoji_ozaki : transition, options);
  } else {
    if (panel.empty()) throw ShapeError("fit: there are no paths");
    for (const Path& path : panel) path.validate();
    out = prepared_fit(start, options);
    for (const Path& path : panel) {
      out.n += path.transitions();
      out.duration += path.times[path.times.size() - 1] - path.times[0];
    }
    const auto constant = [](const Path& path) { return (path.values.colwise() - path.values.col(0)).isZero(0); };
    if (std::all_of(panel.begin(), panel.end(), constant)) throw DomainError("fit: the data are constant, so no diffusion fits them");
    Vector x = start.parameters();
    if (!out.fixed.back()) x[x.size() - 1] = quadratic_variation_beta(panel);
    check_dimension(panel, start.dimension());
    int level = 2;  // of the Strang flows: that which the optimum needs
    const auto objective = [&](Transition kind) -> Objective {
      return [&panel, &start, &level, kind](const Vector& parameters, bool with_scores) {
        const Model at = start.with_parameters(parameters);
        return kind == Transition::strang ? collect(strang_terms(panel, at, level), with_scores) : log_likelihood(panel, at, kind, with_scores);
      };
    };
    if (transition != Transition::euler && !start.potential().quadratic(start.theta())) (void)maximise(objective(Transition::euler), start, options, x, out);
    LikelihoodValue best = maximise(objective(transition), start, options, x, out);
    if (transition == Transition::strang) {
      const Refinement refinement = refine([&](int l) { return strang_terms(panel, start.with_parameters(x), l).log_density.sum(); }, level);
      level = refinement.level;
      best = maximise(objective(transition), start, options, x, out);
      if (!(refinement.error <= numerical_tolerance)) out.warnings.push_back(fmt::format("the numerical error of the log-likelihood is about {:.1g}", refinement.error));
    }
    complete(objective(transition), start, options, x, best, out);
  }
  out.estimator = name(transition);
  out.theorem = transition == Transition::euler
                    ? "rates sqrt(T), sqrt(n) for n dt -> infinity, n dt^2 -> 0; inconsistent at fixed dt"
                    : (transition == Transition::exact ? "maximum likelihood at fixed dt, n -> infinity"
                                                       : "pseudo-likelihood, n dt -> infinity and dt -> 0; exact for linear drift");
  if (const auto q = start.potential().quadratic(out.estimate.head(out.estimate.size() - 1)); q && q->curvature.size() == 1 && !out.fixed[0]) {
    const double kappa = q->curvature(0, 0);
    if (4 / out.duration > 0.1 * kappa) {
      out.warnings.push_back(fmt::format("T = {:.4g} is short: the bias of kappa is about 4/T = {:.3g}", out.duration, 4 / out.duration));
    }
  }
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
