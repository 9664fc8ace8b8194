// Densities by JKO steps: a narrow Gaussian, then variational implicit midpoint steps that grow with the age of the law.
#include "jko_terms.hpp"

#include "diffusion_terms.hpp"
#include "gaussian_terms.hpp"
#include "unit_drift.hpp"

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/models/diffusion.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct LogDensityAt {
  double value = -infinity;
  Vector score;
};

/// N(0, 1) on `cells` cells; every start is an affine image of it.
QuantileFunction standard(Index cells) { return QuantileFunction::gaussian(0, 1, cells); }

/// Psi of Y = int dx/sigma with the diffusion's parameters: a piecewise Chebyshev series, and mu's own derivatives in theta; infinite outside the range.
class UnitPotential final : public Potential {
 public:
  UnitPotential(const Diffusion& diffusion, std::shared_ptr<const UnitDrift> unit) : parameters_(diffusion.parameter_list()), text_("the Lamperti transform of " + diffusion.family().describe()), unit_(std::move(unit)),
        value_(unit_->first(), unit_->last(), [this](const Matrix& y) -> Vector { return -unit_->drift(y.row(0).transpose()); }) {}
  [[nodiscard]] bool ok() const { return value_.ok(); }
  [[nodiscard]] int dimension() const override { return 1; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override { return parameters_; }
  [[nodiscard]] std::string describe() const override { return text_; }
  using Potential::evaluate;
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef&, MatrixRef out) const override {
    if (which.x > 4 || which.theta > 1 || (which.theta == 1 && (which.x < 1 || which.x > 2))) throw DomainError("jko_log_likelihood: no such derivative of the Lamperti potential");
    if (which.theta == 1) {
      out = -unit_->at_y(points.row(0).transpose()).by_theta[static_cast<std::size_t>(which.x - 1)];
      return;
    }
    for (Index i = 0; i < points.cols(); ++i) out(0, i) = at(points(0, i), which.x)[static_cast<std::size_t>(which.x)];
  }
  void jet(const double* x, Index n, const ConstVectorRef&, double* value, double* first, double* second) const override {
    const int order = second != nullptr ? 2 : (first != nullptr ? 1 : 0);
    for (Index i = 0; i < n; ++i) {
      const auto f = at(x[i], order);
      if (value != nullptr) value[i] = f[0];
      if (first != nullptr) first[i] = f[1];
      if (second != nullptr) second[i] = f[2];
    }
  }

 private:
  /// Beyond the range the derivatives are those of the end.
  [[nodiscard]] std::array<double, 5> at(double y, int order) const {
    auto out = value_.derivatives(std::clamp(y, unit_->first(), unit_->last()), order);
    if (!(y > unit_->first() && y < unit_->last())) out[0] = infinity;
    return out;
  }

  std::vector<Parameter> parameters_;
  std::string text_;
  std::shared_ptr<const UnitDrift> unit_;
  Antiderivative value_;
};

/// own: d(theta, beta)/d(parameters); d_next: the derivatives of the end point.
LogDensityAt log_density(QuantileStep& step, const QuantileFunction& normal, const GaussianLaw<4>& law, const Matrix& inputs, const Vector& d_start, const Vector& d_next, const Matrix& own, double from, double to, int steps,
                         double next) {
  const Index count = inputs.cols();
  const double deviation = std::sqrt(law.variance), growth = std::pow(to / from, 1.0 / steps);
  LogDensityAt out{-infinity, Vector::Zero(count)};
  Eigen::RowVectorXd d_mean = d_start.transpose(), d_deviation = Eigen::RowVectorXd::Zero(count);
  for (Index k = 0; k < 4; ++k) {
    d_mean += law.d_mean[static_cast<std::size_t>(k)] * inputs.row(k);
    d_deviation += 0.5 / deviation * law.d_variance[static_cast<std::size_t>(k)] * inputs.row(k);
  }
  QuantileFunction measure = normal.with_coordinates(law.mean + deviation * normal.nodes().array());
  Matrix tangent = Vector::Ones(normal.nodes().size()) * d_mean + normal.nodes() * d_deviation;
  double t = from;
  for (int k = 0; k < steps; ++k) {
    const double after = k + 1 == steps ? to : t * growth;
    const auto half = step.advance(measure, 0.5 * (after - t));
    if (half.status != Status::converged && half.status != Status::stalled) return out;
    tangent = Matrix(2 * step.tangent(tangent, own) - tangent);
    measure = measure.with_coordinates(2 * half.measure.nodes() - measure.nodes());
    if (!measure.is_monotone()) return out;
    t = after;
  }
  const auto density = measure.local_density(next);
  if (!(density.value > 0)) return out;
  out.value = std::log(density.value);
  for (std::size_t q = 0; q < 4; ++q) {
    // The density at a point depends on the nodes' distances to it only.
    if (density.gradient[q] != 0) out.score += density.gradient[q] / density.value * (tangent.row(density.first + static_cast<Index>(q)).transpose() - d_next);
  }
  return out;
}

}  // namespace

void JkoLikelihoodOptions::validate() const {
  check_at_least("jko_log_likelihood", "cells", cells, 8);
  if (!(start > 0 && start < 1)) throw DomainError(fmt::format("jko_log_likelihood: start is {}, but must lie in (0, 1)", start));
  if (!(growth > 0 && growth <= 1)) throw DomainError(fmt::format("jko_log_likelihood: growth is {}, but must lie in (0, 1]", growth));
  check_at_least("jko_log_likelihood", "threads", threads, 1);
}

Terms jko_terms(const Transitions& data, const Diffusion& diffusion, const JkoLikelihoodOptions& options) {
  const PotentialPtr langevin = diffusion.family().potential();
  const Vector& theta = diffusion.parameters();
  const Index count = theta.size(), n = data.size();
  Terms out(count, n);
  out.error = Vector::Zero(n);
  // Without a potential in x there is one in y = int dx/sigma.
  std::shared_ptr<const UnitDrift> unit;
  std::shared_ptr<const UnitPotential> transformed;
  if (!langevin) {
    const double low = data.x.minCoeff(), high = data.x.maxCoeff(), root = std::sqrt(data.dt.maxCoeff());
    const LampertiMap map(diffusion, low, high, 0);
    unit = std::make_shared<const UnitDrift>(diffusion, low, high, 10 * root + (map.ok() ? map.last() - map.first() : 0));
    if (unit->ok()) transformed = std::make_shared<const UnitPotential>(diffusion, unit);
    if (!transformed || !transformed->ok()) {
      out.log_density.setConstant(-infinity);
      out.scores.setZero();
      return out;
    }
  }
  const Model model = langevin ? Model(langevin, theta.head(count - 1), theta[count - 1]) : Model(transformed, theta, 2);
  const Matrix own = Matrix::Identity(langevin ? count : count + 1, count);
  const QuantileFunction coarse = standard(options.cells), fine = standard(2 * options.cells);
  const int steps = std::max(1, static_cast<int>(std::ceil(-std::log(options.start) / std::log1p(options.growth))));
  parallel_blocks(n, 16, options.threads, [&](Index first, Index last) {
    QuantileStep step_coarse{FreeEnergy(model)}, step_fine{FreeEnergy(model)};
    const Index size = last - first;
    const Vector from = data.from.segment(first, size), next = data.next.segment(first, size);
    // The drift's derivatives at the start (at fixed x), and where start and end are, with their own motion in theta.
    UnitDrift::Jet at;
    Vector begin_at = from, end_at = next, sigma = Vector::Ones(size), log_sigma = Vector::Zero(size);
    Matrix d_begin = Matrix::Zero(count, size), d_end = d_begin, d_sigma = d_begin, d_log_sigma = d_begin;
    if (langevin) {
      const Jets jets(diffusion, from, 2, 0);
      for (std::size_t k = 0; k < 3; ++k) at.value[k] = jets.b[k], at.by_theta[k] = jets.db[k];
      sigma = jets.s[0], d_sigma = jets.ds[0];
    } else {
      at = unit->at_x(from);
      begin_at = unit->forward(from), end_at = unit->forward(next);
      d_begin = unit->d_forward(from), d_end = unit->d_forward(next);
      const Jets jets(diffusion, next, -1, 0);
      log_sigma = jets.s[0].array().log();
      d_log_sigma = jets.ds[0] * jets.s[0].cwiseInverse().asDiagonal();
    }
    for (Index t = first; t < last; ++t) {
      const Index i = t - first;
      const double begin = options.start * data.dt[t];
      const GaussianLaw<4> law = shoji_ozaki(begin_at[i], begin, at.value[0][i], at.value[1][i], at.value[2][i], sigma[i]);
      Matrix inputs(4, count);
      inputs << at.by_theta[0].col(i).transpose(), at.by_theta[1].col(i).transpose(), at.by_theta[2].col(i).transpose(), d_sigma.col(i).transpose();
      out.log_density[t] = -infinity;
      out.scores.col(t).setZero();
      if (!(law.variance > 0) || !std::isfinite(law.mean)) continue;
      const LogDensityAt one = log_density(step_coarse, coarse, law, inputs, d_begin.col(i), d_end.col(i), own, begin, data.dt[t], steps, end_at[i]);
      const LogDensityAt two = log_density(step_fine, fine, law, inputs, d_begin.col(i), d_end.col(i), own, begin, data.dt[t], 2 * steps, end_at[i]);
      if (!std::isfinite(one.value) || !std::isfinite(two.value)) continue;
      out.log_density[t] = (4 * two.value - one.value) / 3 - log_sigma[i];
      out.scores.col(t) = (4 * two.score - one.score) / 3 - d_log_sigma.col(i);
      out.error[t] = std::abs(two.value - one.value) / 3;
    }
  });
  return out;
}

LikelihoodValue jko_log_likelihood(const Panel& panel, const Model& model, const JkoLikelihoodOptions& options, bool with_scores) {
  return jko_log_likelihood(panel, as_diffusion(model), options, with_scores);
}

LikelihoodValue jko_log_likelihood(const Panel& panel, const Diffusion& diffusion, const JkoLikelihoodOptions& options, bool with_scores) {
  options.validate();
  const Transitions data(panel);
  diffusion.check_values("jko_log_likelihood", data.x);
  return collect(jko_terms(data, diffusion, options), with_scores);
}

}  // namespace jko::estimators
