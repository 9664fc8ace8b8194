#include <jko/problems/ornstein_uhlenbeck_flow.hpp>

#include <jko/core/check.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <utility>

namespace jko::problems {

OrnsteinUhlenbeckFlow::OrnsteinUhlenbeckFlow(Model model, std::vector<double> weights, std::vector<Gaussian> components)
    : model_(std::move(model)), weights_(std::move(weights)), components_(std::move(components)) {
  if (!model_.potential().quadratic(model_.theta())) throw DomainError("ornstein_uhlenbeck_flow: the potential must be quadratic");
  if (components_.empty()) throw DomainError("ornstein_uhlenbeck_flow: there must be at least one component");
  check_size("ornstein_uhlenbeck_flow", "weights", static_cast<Index>(weights_.size()), static_cast<Index>(components_.size()));
  double sum = 0;
  for (const double w : weights_) {
    check_positive("ornstein_uhlenbeck_flow", "weight", w);
    sum += w;
  }
  if (!(std::abs(sum - 1) <= 1e-12)) throw DomainError(fmt::format("ornstein_uhlenbeck_flow: the weights sum to {:.15g}, but must to 1", sum));
  for (const Gaussian& g : components_) check_size("ornstein_uhlenbeck_flow", "component's dimension", g.dimension(), model_.dimension());
}

double OrnsteinUhlenbeckFlow::kappa() const {
  return Eigen::SelfAdjointEigenSolver<Matrix>(model_.potential().quadratic(model_.theta())->curvature).eigenvalues()[0];
}

std::vector<Gaussian> OrnsteinUhlenbeckFlow::at(double t) const {
  const OrnsteinUhlenbeck closed_form(model_);
  std::vector<Gaussian> out;
  for (const Gaussian& g : components_) out.push_back(closed_form.law(g, t));
  return out;
}

Vector OrnsteinUhlenbeckFlow::density(const ConstMatrixRef& points, double t) const {
  check_size("ornstein_uhlenbeck_flow", "points' dimension", points.rows(), model_.dimension());
  Vector out = Vector::Zero(points.cols());
  const std::vector<Gaussian> now = at(t);
  for (std::size_t j = 0; j < now.size(); ++j) {
    const Eigen::LLT<Matrix> factor(now[j].covariance());
    const double log_height = std::log(weights_[j]) - 0.5 * model_.dimension() * std::log(2 * std::numbers::pi) - factor.matrixLLT().diagonal().array().log().sum();
    const Matrix centred = points.colwise() - now[j].mean();
    const Matrix scaled = factor.matrixL().solve(centred);
    out.array() += (log_height - 0.5 * scaled.colwise().squaredNorm().transpose().array()).exp();
  }
  return out;
}

GridDensity OrnsteinUhlenbeckFlow::on_grid(std::shared_ptr<const Grid> grid, double t) const {
  return GridDensity::from_density(std::move(grid), [&](const ConstMatrixRef& x) { return density(x, t); });
}

Gaussian OrnsteinUhlenbeckFlow::jko(double h, int steps) const {
  if (components_.size() != 1) throw DomainError(fmt::format("ornstein_uhlenbeck_flow: {} components have no closed JKO iterate, but one has", components_.size()));
  check_at_least("ornstein_uhlenbeck_flow", "steps", steps, 0);
  GaussianStep step{FreeEnergy(model_)};
  Gaussian now = components_.front();
  for (int k = 0; k < steps; ++k) {
    auto result = step.advance(now, h);
    require(result.status, "ornstein_uhlenbeck_flow");
    now = std::move(result.measure);
  }
  return now;
}

OrnsteinUhlenbeckFlow non_commuting() {
  return {Model(ornstein_uhlenbeck(2), Vector{{1.5, 0.6, 0.8, 0.2, -0.1}}, 1.5), {1.0}, {Gaussian(Vector{{0.5, 0.4}}, Matrix{{0.3, -0.1}, {-0.1, 0.5}})}};
}

OrnsteinUhlenbeckFlow two_bumps(int dimension) {
  check_in("two_bumps", "dimension", dimension, 1, 3);
  const Index d = dimension;
  Vector theta = Vector::Zero(d * (d + 1) / 2 + d), shift = Vector::Zero(d);
  for (Index i = 0; i < d; ++i) theta[(i + 1) * (i + 2) / 2 - 1] = 1;  // the diagonal of the lower triangle by rows
  shift[0] = 1.2;
  const Matrix covariance = 0.2 * Matrix::Identity(d, d);
  return {Model(ornstein_uhlenbeck(dimension), theta, 1), {0.4, 0.6}, {Gaussian(shift, covariance), Gaussian(-shift, covariance)}};
}

}  // namespace jko::problems
