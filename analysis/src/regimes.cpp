#include <jko/analysis/regimes.hpp>

#include <jko/analysis/corrector.hpp>
#include <jko/analysis/online_limit.hpp>
#include <jko/core/check.hpp>

#include "limit_grid.hpp"

#include <cmath>

namespace jko::analysis {

std::string_view name(Centring centring) {
  switch (centring) {
    case Centring::law: return "law";
    case Centring::corrected: return "corrected";
    case Centring::scheme: return "scheme";
  }
  return "?";
}

RegimeTerms regime_terms(const LimitCase& c, const BatchEstimator& estimator, const std::vector<Functional>& phi) {
  LimitGrid grid(c);
  const Index p = c.model.theta().size();
  const double beta = c.model.beta();
  check_size("regime_terms", "the estimator's bias", estimator.bias.size(), p + 1);
  check_size("regime_terms", "the estimator's covariance", estimator.covariance.rows(), p + 1);
  const Matrix points = grid.centres().transpose();
  const Matrix curvature = c.model.potential().evaluate({0, 2}, points, c.model.theta());  // p^2 x cells
  const Vector potential = c.model.potential().evaluate({0, 1}, points, c.model.theta()).transpose() * estimator.bias.head(p) +
                           0.5 * curvature.transpose() * Matrix(estimator.covariance.topLeftCorner(p, p)).reshaped();
  const double temperature = -estimator.bias[p] / (beta * beta) + estimator.covariance(p, p) / (beta * beta * beta);
  Vector rho = grid.start();
  Matrix b = Matrix::Zero(c.cells, 1);
  for (int k = 0; k < c.steps; ++k) grid.advance(rho, b, c.t / c.steps, [&](const Vector& law) { return Matrix(grid.forcing(law, potential, temperature)); });
  const auto corrector = first_order_corrector(c.model, c.start, c.lower, c.upper, c.cells, c.t, c.steps);
  const Matrix functional = rows(phi, grid.centres(), grid.width());
  return {functional * corrector.eta, functional * b.col(0), online_limit(c).covariance(phi, estimator.covariance)};
}

Vector regime_shift(const RegimeTerms& terms, Centring centring, double a) {
  check_positive("regime_shift", "a = mh", a);
  const Vector bias = terms.bias / std::sqrt(a);
  return centring == Centring::law ? Vector(bias + std::sqrt(a) * terms.corrector) : bias;
}

double regime_bias_ratio(const RegimeTerms& terms, Centring centring, double a) {
  return regime_shift(terms, centring, a).cwiseQuotient(terms.covariance.diagonal().cwiseSqrt()).cwiseAbs().maxCoeff();
}

}  // namespace jko::analysis
