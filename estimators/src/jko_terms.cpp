// Densities by JKO steps: a narrow Gaussian, then variational implicit midpoint steps that grow with the age of the law.
#include "jko_terms.hpp"

#include "diffusion_terms.hpp"
#include "gaussian_terms.hpp"

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/models/diffusion.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct LogDensityAt {
  double value = -infinity;
  Vector score;
};

/// N(0, 1) on `cells` cells; every start is an affine image of it.
QuantileFunction standard(Index cells) { return QuantileFunction::gaussian(0, 1, cells); }

LogDensityAt log_density(QuantileStep& step, const QuantileFunction& normal, const GaussianLaw<4>& law, const Matrix& inputs, double from, double to, int steps, double next) {
  const Index count = inputs.cols();
  const double deviation = std::sqrt(law.variance), growth = std::pow(to / from, 1.0 / steps);
  LogDensityAt out{-infinity, Vector::Zero(count)};
  Eigen::RowVectorXd d_mean = Eigen::RowVectorXd::Zero(count), d_deviation = d_mean;
  for (Index k = 0; k < 4; ++k) {
    d_mean += law.d_mean[static_cast<std::size_t>(k)] * inputs.row(k);
    d_deviation += 0.5 / deviation * law.d_variance[static_cast<std::size_t>(k)] * inputs.row(k);
  }
  QuantileFunction measure = normal.with_coordinates(law.mean + deviation * normal.nodes().array());
  Matrix tangent = Vector::Ones(normal.nodes().size()) * d_mean + normal.nodes() * d_deviation;
  const Matrix own = Matrix::Identity(count, count);
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
    if (density.gradient[q] != 0) out.score += density.gradient[q] / density.value * tangent.row(density.first + static_cast<Index>(q)).transpose();
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
  const PotentialPtr potential = diffusion.family().potential();
  if (!potential) throw DomainError(fmt::format("log_likelihood: the JKO likelihood needs a Langevin model (a potential), but the model is {}", diffusion.family().describe()));
  const Vector& theta = diffusion.parameters();
  const Index count = theta.size(), n = data.size();
  const Model model(potential, theta.head(count - 1), theta[count - 1]);
  Terms out(count, n);
  out.error = Vector::Zero(n);
  const QuantileFunction coarse = standard(options.cells), fine = standard(2 * options.cells);
  const int steps = std::max(1, static_cast<int>(std::ceil(-std::log(options.start) / std::log1p(options.growth))));
  parallel_blocks(n, 16, options.threads, [&](Index first, Index last) {
    QuantileStep step_coarse{FreeEnergy(model)}, step_fine{FreeEnergy(model)};
    const Jets at(diffusion, data.from.segment(first, last - first), 2, 0);
    for (Index t = first; t < last; ++t) {
      const Index i = t - first;
      const double begin = options.start * data.dt[t];
      const GaussianLaw<4> law = shoji_ozaki(data.from[t], begin, at.b[0][i], at.b[1][i], at.b[2][i], at.s[0][i]);
      Matrix inputs(4, count);
      inputs << at.db[0].col(i).transpose(), at.db[1].col(i).transpose(), at.db[2].col(i).transpose(), at.ds[0].col(i).transpose();
      out.log_density[t] = -infinity;
      out.scores.col(t).setZero();
      if (!(law.variance > 0) || !std::isfinite(law.mean)) continue;
      const LogDensityAt one = log_density(step_coarse, coarse, law, inputs, begin, data.dt[t], steps, data.next[t]);
      const LogDensityAt two = log_density(step_fine, fine, law, inputs, begin, data.dt[t], 2 * steps, data.next[t]);
      if (!std::isfinite(one.value) || !std::isfinite(two.value)) continue;
      out.log_density[t] = (4 * two.value - one.value) / 3;
      out.scores.col(t) = (4 * two.score - one.score) / 3;
      out.error[t] = std::abs(two.value - one.value) / 3;
    }
  });
  return out;
}

LikelihoodValue jko_log_likelihood(const Panel& panel, const Model& model, const JkoLikelihoodOptions& options, bool with_scores) {
  options.validate();
  return collect(jko_terms(Transitions(panel), as_diffusion(model), options), with_scores);
}

}  // namespace jko::estimators
