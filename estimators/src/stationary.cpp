#include <jko/estimators/stationary.hpp>

#include <jko/core/check.hpp>

#include "maximise.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace jko::estimators {
namespace {

/// log Z, and mean and covariance under the model of the statistic s = d(beta Psi)/d(theta, beta) = (beta d_theta Psi, Psi).
struct Partition {
  double log_z = std::numeric_limits<double>::infinity();
  Vector mean;
  Matrix covariance;
};

/// Columns of s at the points.
Matrix statistic(const Model& model, const ConstMatrixRef& points) {
  Matrix s(model.theta().size() + 1, points.cols());
  s.topRows(s.rows() - 1) = model.beta() * model.potential().evaluate({0, 1}, points, model.theta());
  s.bottomRows(1) = model.potential().evaluate({0, 0}, points, model.theta());
  return s;
}

Partition partition(const Model& model, double centre, double scale, bool with_moments) {
  const auto energy = [&](const Matrix& x) { return Vector(model.beta() * model.potential().evaluate({0, 0}, x, model.theta()).row(0).transpose()); };
  // x = centre + scale sinh(t): Gaussian tails fall doubly exponentially in t, algebraic ones exponentially.
  const auto points = [&](double reach, Index n) {
    const Vector t = Vector::LinSpaced(2 * n + 1, -reach, reach);
    return std::pair{Matrix((centre + scale * t.array().sinh()).matrix().transpose()), Vector((scale * t.array().cosh()).matrix())};
  };
  Partition out;
  // The reach at which the integrand has fallen by e^-40 on both sides: 4e-18 relative.
  double reach = 4;
  const double bottom = energy(points(4, 200).first).minCoeff();
  if (!std::isfinite(bottom)) return out;
  for (;; reach *= 1.3) {
    if (reach > 300) return out;  // not confining
    const auto [x, weight] = points(reach, 1);
    const Vector e = energy(x);
    const double left = e[0] - bottom - std::log(weight[0]), right = e[2] - bottom - std::log(weight[2]);
    if (left > 40 && right > 40) break;
  }
  double before = std::numeric_limits<double>::quiet_NaN();
  for (Index n = 64; n <= 1 << 17; n *= 2) {
    const auto [x, weight] = points(reach, n);
    const Vector e = energy(x);
    const double lowest = e.minCoeff();
    if (!std::isfinite(lowest)) return out;
    const Vector mass = weight.array() * (lowest - e.array()).exp();
    const double log_z = std::log(mass.sum() * reach / static_cast<double>(n)) - lowest;
    if (std::abs(log_z - before) < 1e-12 * (1 + std::abs(log_z))) {
      out.log_z = log_z;
      if (with_moments) {
        const Vector p = mass / mass.sum();
        Matrix s = statistic(model, x);
        for (Index j = 0; j < p.size(); ++j) {
          if (p[j] == 0) s.col(j).setZero();  // infinite potentials carry no mass
        }
        out.mean = s * p;
        const Matrix centred = s.colwise() - out.mean;
        out.covariance = centred * p.asDiagonal() * centred.transpose();
      }
      return out;
    }
    before = log_z;
  }
  return out;
}

struct Scale {
  double centre, scale;
};
Scale scale_of(const ConstVectorRef& sample) {
  const double centre = sample.mean();
  return {centre, std::sqrt((sample.array() - centre).square().mean())};
}

}  // namespace

double log_partition(const Model& model) {
  if (model.dimension() != 1) throw DomainError("log_partition: the model must be one-dimensional");
  // Where the potential is lowest on a coarse, wide grid.
  Matrix x(1, 4001);
  for (Index i = 0; i < x.cols(); ++i) x(0, i) = std::sinh(0.005 * static_cast<double>(i - 2000));
  const Matrix psi = model.potential().evaluate({0, 0}, x, model.theta());
  Index best = 0;
  psi.row(0).minCoeff(&best);
  return partition(model, x(0, best), 1.0, false).log_z;
}

Fit fit_stationary(const ConstVectorRef& sample, const Model& start, const FitOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  if (start.dimension() != 1) throw DomainError("fit_stationary: the model must be one-dimensional");
  check_at_least("fit_stationary", "sample size", sample.size(), 2);
  check_finite("fit_stationary", "the sample", sample);
  if ((sample.array() == sample[0]).all()) throw DomainError("fit_stationary: the sample is constant");
  const Scale scale = scale_of(sample);
  const Matrix points = sample.transpose();
  const double n = static_cast<double>(sample.size());
  const Objective objective = [&](const Vector& parameters, bool with_scores) {
    const Model model = start.with_parameters(parameters);
    LikelihoodValue out;
    const Partition z = partition(model, scale.centre, scale.scale, true);
    const double energy = model.beta() * model.potential().evaluate({0, 0}, points, model.theta()).sum();
    out.value = -energy - n * z.log_z;
    if (!std::isfinite(out.value)) {
      out.value = -std::numeric_limits<double>::infinity();
      out.gradient = Vector::Zero(parameters.size());
      out.expected = Matrix::Zero(parameters.size(), parameters.size());
      return out;
    }
    const Matrix s = statistic(model, points);
    out.gradient = n * z.mean - s.rowwise().sum();
    out.expected = n * z.covariance;
    if (with_scores) out.scores = (-s).colwise() + z.mean;
    return out;
  };
  Fit out = prepared_fit(start, options);
  out.estimator = "stationary";
  out.theorem = "maximum likelihood from independent draws of the stationary law, n -> infinity";
  out.n = sample.size();
  Vector x = start.parameters();
  const LikelihoodValue best = maximise(objective, start, options, x, out);
  complete(objective, start, options, x, best, out);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
