#include <jko/estimators/gmm.hpp>

#include <jko/core/check.hpp>
#include <jko/estimators/conditional_moments.hpp>

#include "maximise.hpp"
#include "transitions.hpp"

#include <Eigen/Cholesky>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>

namespace jko::estimators {
namespace {

/// Omega of the mean's sqrt(n) multiple, by Bartlett's kernel within each stretch.
Matrix long_run(const Moments& m, int lags) {
  const Matrix centred = m.terms.colwise() - m.terms.rowwise().mean();
  const Index n = centred.cols();
  Matrix out = centred * centred.transpose();
  std::vector<Index> edges{0};
  edges.insert(edges.end(), m.first.begin(), m.first.end());
  edges.push_back(n);
  for (int lag = 1; lag <= lags; ++lag) {
    Matrix sum = Matrix::Zero(out.rows(), out.cols());
    for (std::size_t k = 0; k + 1 < edges.size(); ++k) {
      const Index length = edges[k + 1] - edges[k] - lag;
      if (length > 0) sum.noalias() += centred.middleCols(edges[k] + lag, length) * centred.middleCols(edges[k], length).transpose();
    }
    out += (1 - lag / (lags + 1.0)) * (sum + sum.transpose());
  }
  return out / static_cast<double>(n);
}

/// Omega^{-1}, equilibrated; false where it is singular.
bool inverse(const Matrix& omega, Matrix& out) {
  if (!omega.allFinite()) return false;
  const Vector scale = omega.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
  const Eigen::LDLT<Matrix> factor(scale.asDiagonal() * omega * scale.asDiagonal());
  if (factor.info() != Eigen::Success || !factor.isPositive() || !(factor.vectorD().minCoeff() > 1e-12)) return false;
  out = scale.asDiagonal() * factor.solve(Matrix(scale.asDiagonal()));
  return true;
}

}  // namespace

GmmFit fit_gmm(const MomentFunction& moments, const std::vector<Parameter>& parameters, const ConstVectorRef& start, const GmmOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  check_at_least("fit_gmm", "lags", options.lags, automatic_lags);
  check_positive("fit_gmm", "tolerance", options.tolerance);
  check_at_least("fit_gmm", "max_rounds", options.max_rounds, 1);
  check_size("fit_gmm", "the start", start.size(), static_cast<Index>(parameters.size()));
  Vector x = start;
  Moments at = moments(x);
  const Index q = at.terms.rows(), n = at.terms.cols(), count = x.size();
  check_size("fit_gmm", "rows of the moments' Jacobian", at.jacobian.rows(), q);
  check_size("fit_gmm", "columns of the moments' Jacobian", at.jacobian.cols(), count);
  if (!at.terms.allFinite()) throw DomainError("fit_gmm: the moments are not finite at the start");
  check_at_least("fit_gmm", "number of observations", n, 2 * q);
  GmmFit out;
  Fit& fit = out.fit;
  fit = prepared_fit("", parameters, options.fit);
  const int free = fit.free_parameters();
  if (q < free) throw DomainError(fmt::format("fit_gmm: {} moments cannot determine {} parameters", q, free));
  fit.estimator = options.weighting == GmmWeighting::two_step ? "GMM, two-step" : "GMM, iterated";
  fit.n = n;
  out.lags = options.lags == automatic_lags ? static_cast<int>(4 * std::pow(static_cast<double>(n) / 100, 2.0 / 9)) : options.lags;
  fit.theorem = fmt::format("moment conditions, n -> infinity; long-run covariance by Bartlett's kernel with {} lags", out.lags);
  const auto size = static_cast<double>(n);
  Matrix w = long_run(at, 0).diagonal().cwiseMax(1e-300).cwiseInverse().asDiagonal();
  const Objective objective = [&](const Vector& theta, bool) {
    const Moments m = moments(theta);
    LikelihoodValue value;
    const Vector mean = m.terms.rowwise().mean();
    value.value = -0.5 * size * mean.dot(w * mean);
    value.gradient = -size * (m.jacobian.transpose() * (w * mean));
    value.expected = size * (m.jacobian.transpose() * w * m.jacobian);
    if (!std::isfinite(value.value) || !value.gradient.allFinite()) value.value = -std::numeric_limits<double>::infinity();
    return value;
  };
  // Round 0 has the start's weights; two-step stops after round 1.
  const int rounds = options.weighting == GmmWeighting::two_step ? 1 : options.max_rounds;
  LikelihoodValue best;
  bool settled = options.weighting == GmmWeighting::two_step;
  Matrix information;
  for (int round = 0; round <= rounds; ++round) {
    const Vector before = x;
    best = maximise(objective, parameters, options.fit, x, fit);
    if (!is_success(fit.status)) break;
    if (round > 0 && options.weighting == GmmWeighting::iterated) {
      double moved = 0;
      for (Index i = 0; i < count; ++i) moved = std::max(moved, std::abs(x[i] - before[i]) * std::sqrt(std::max(best.expected(i, i), 0.0)));
      settled = moved <= options.tolerance;
      if (settled) break;
    }
    if (round == rounds) break;
    if (!inverse(long_run(moments(x), out.lags), w)) {
      fit.status = Status::singular_information;
      fit.warnings.emplace_back("the moments are linearly dependent");
      break;
    }
  }
  if (is_success(fit.status) && !settled) fit.status = Status::iteration_limit;
  const bool solved = is_success(fit.status);
  at = moments(x);
  out.mean = at.terms.rowwise().mean();
  out.long_run = long_run(at, out.lags);
  fit.estimate = x;
  fit.covariance = fit.sandwich = Matrix::Zero(count, count);
  if (!solved) {
    for (Index i = 0; i < count; ++i) {
      const Parameter& p = parameters[static_cast<std::size_t>(i)];
      if (!fit.fixed[static_cast<std::size_t>(i)] && p.positive && x[i] < 1e-3 * start[i]) fit.warnings.push_back(fmt::format("{} runs to the end of its range at {:g}: the moments ask for a value beyond it", p.name, p.lower));
    }
    return out;
  }
  // Parameters held by a bound count as known.
  std::vector<Index> moving;
  for (Index i = 0; i < count; ++i) {
    const auto k = static_cast<std::size_t>(i);
    if (fit.fixed[k]) continue;
    const double lower = options.fit.lower.empty() ? parameters[k].lower : std::max(options.fit.lower[k], parameters[k].lower);
    const double upper = options.fit.upper.empty() ? parameters[k].upper : std::min(options.fit.upper[k], parameters[k].upper);
    if ((x[i] <= lower && best.gradient[i] < 0) || (x[i] >= upper && best.gradient[i] > 0)) {
      fit.status = Status::parameter_at_bound;
      fit.warnings.push_back(fmt::format("{} is at its bound {:g} and is treated as known", fit.names[k], x[i]));
    } else {
      moving.push_back(i);
    }
  }
  const Matrix g = at.jacobian(Eigen::all, moving);
  Matrix bread;
  if (!moving.empty() && !inverse(g.transpose() * w * g, bread)) {
    fit.status = Status::singular_information;
    return out;
  }
  if (!moving.empty()) {
    fit.covariance(moving, moving) = bread / size;
    fit.sandwich(moving, moving) = bread * (g.transpose() * w * out.long_run * w * g) * bread / size;
  }
  const int df = static_cast<int>(q) - static_cast<int>(moving.size());
  Matrix weight;
  if (df > 0 && inverse(out.long_run, weight)) {
    const double j = size * out.mean.dot(weight * out.mean);
    out.overidentification = {"over-identification", j, df, chi_square_tail(j, df)};
  }
  fit.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

namespace {

struct Standard {
  double centre, scale;
  explicit Standard(const Vector& x) : centre(x.mean()), scale(std::sqrt((x.array() - x.mean()).square().mean())) {
    if (!(scale > 0)) throw DomainError("gmm: the data are constant");
  }
};

std::vector<Index> starts(const Panel& panel, Index extra) {
  std::vector<Index> out;
  Index at = 0;
  for (std::size_t k = 0; k + 1 < panel.size(); ++k) out.push_back(at += panel[k].transitions() + extra);
  return out;
}

void validate(const Panel& panel) {
  if (panel.empty()) throw ShapeError("gmm: there is no path");
  for (const Path& path : panel) path.validate();
}

}  // namespace

MomentFunction transition_moments(const Panel& panel, const Diffusion& diffusion, TransitionMoments moments, int degree) {
  validate(panel);
  check_in("transition_moments", "degree", degree, 0, 8);
  const auto data = std::make_shared<const Transitions>(panel);
  diffusion.check_values("transition_moments", data->x);
  const Vector x = data->from, move = data->next - x;
  const Standard standard(x);
  const Vector z = (x.array() - standard.centre) / standard.scale;
  return [=, family = diffusion, first = starts(panel, 0)](const Vector& theta) {
    const Diffusion at = family.with_parameters(theta);
    const Index n = x.size(), count = theta.size();
    Vector mean, variance;      // F - x, phi
    Matrix d_mean(count, n), d_variance(count, n);
    if (moments == TransitionMoments::exact) {
      const ConditionalMoments m = conditional_moments(at, x, data->dt, 2);
      mean = m.value.row(0).transpose();
      variance = m.value.row(1).transpose() - mean.cwiseAbs2();
      for (Index j = 0; j < count; ++j) {
        d_mean.row(j) = m.by_theta[static_cast<std::size_t>(j)].row(0);
        d_variance.row(j) = m.by_theta[static_cast<std::size_t>(j)].row(1) - 2 * d_mean.row(j).cwiseProduct(mean.transpose());
      }
    } else {
      using Coefficient = DiffusionFamily::Coefficient;
      const Matrix points = x.transpose();
      mean = at.family().evaluate(Coefficient::drift, {0, 0}, points, theta).row(0).transpose().cwiseProduct(data->dt);
      const Vector s = at.family().evaluate(Coefficient::diffusion, {0, 0}, points, theta).row(0).transpose();
      variance = s.cwiseAbs2().cwiseProduct(data->dt);
      d_mean = at.family().evaluate(Coefficient::drift, {0, 1}, points, theta) * data->dt.asDiagonal();
      d_variance = 2 * at.family().evaluate(Coefficient::diffusion, {0, 1}, points, theta) * s.cwiseProduct(data->dt).asDiagonal();
    }
    const Index half = degree + 1;
    Moments out{Matrix(2 * half, n), Matrix::Zero(2 * half, count), first};
    for (Index i = 0; i < n; ++i) {
      const double e = move[i] - mean[i], rate = 1 / data->dt[i];
      double power = 1;
      for (Index k = 0; k < half; ++k, power *= z[i]) {
        out.terms(k, i) = e * rate * power;
        out.terms(half + k, i) = (e * e - variance[i]) * rate * power;
        for (Index j = 0; j < count; ++j) {
          out.jacobian(k, j) -= d_mean(j, i) * rate * power / static_cast<double>(n);
          out.jacobian(half + k, j) -= (2 * e * d_mean(j, i) + d_variance(j, i)) * rate * power / static_cast<double>(n);
        }
      }
    }
    return out;
  };
}

MomentFunction generator_moments(const Panel& panel, const Diffusion& diffusion, int degree) {
  validate(panel);
  check_in("generator_moments", "degree", degree, 1, 8);
  const Vector x = Transitions(panel).x;
  diffusion.check_values("generator_moments", x);
  const Standard standard(x);
  const Vector z = (x.array() - standard.centre) / standard.scale;
  return [=, family = diffusion, first = starts(panel, 1)](const Vector& theta) {
    using Coefficient = DiffusionFamily::Coefficient;
    const Index n = x.size(), count = theta.size();
    const Matrix points = x.transpose();
    const DiffusionFamily& f = family.family();
    const Vector b = f.evaluate(Coefficient::drift, {0, 0}, points, theta).row(0).transpose(), s = f.evaluate(Coefficient::diffusion, {0, 0}, points, theta).row(0).transpose();
    const Matrix db = f.evaluate(Coefficient::drift, {0, 1}, points, theta), ds = f.evaluate(Coefficient::diffusion, {0, 1}, points, theta);
    Moments out{Matrix(degree, n), Matrix::Zero(degree, count), first};
    for (Index i = 0; i < n; ++i) {
      double power = 1, below = 0;  // z^{k-1}, z^{k-2}
      for (int k = 1; k <= degree; ++k) {
        const double drift = power / standard.scale, half = 0.5 * (k - 1) * below / (standard.scale * standard.scale);
        out.terms(k - 1, i) = drift * b[i] + half * s[i] * s[i];
        for (Index j = 0; j < count; ++j) out.jacobian(k - 1, j) += (drift * db(j, i) + half * 2 * s[i] * ds(j, i)) / static_cast<double>(n);
        below = power;
        power *= z[i];
      }
    }
    return out;
  };
}

}  // namespace jko::estimators
