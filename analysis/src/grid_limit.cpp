#include <jko/analysis/grid_limit.hpp>

#include <jko/core/check.hpp>

#include "grid_linear.hpp"
#include "limit_grid.hpp"

#include <cmath>

namespace jko::analysis {
namespace {

using estimators::OnlineData;

/// (dL*/d(theta, beta)) rho on a box, one column a parameter.
class Forcing {
 public:
  Forcing(const Model& model, std::shared_ptr<const Grid> grid) : grid_(std::move(grid)), beta_(model.beta()) {
    const Matrix points = grid_->points();
    potential_ = model.potential().evaluate({0, 0}, points, model.theta()).row(0).transpose();
    gradient_ = model.potential().evaluate({0, 1}, points, model.theta()).transpose();
    check_finite("grid_limit", "the potential at the cell centres", potential_);
    check_finite("grid_limit", "the potential's derivatives in the parameters", Vector(gradient_.reshaped()));
  }
  [[nodiscard]] Index parameters() const { return gradient_.cols() + 1; }
  [[nodiscard]] Matrix operator()(const Vector& rho) const {
    const Index p = gradient_.cols();
    Matrix out = Matrix::Zero(rho.size(), p + 1);
    for (int axis = 0; axis < grid_->dimension(); ++axis) {
      const double dx = grid_->width(axis);
      for_neighbours(*grid_, axis, [&](Index i, Index j) {
        const double d = (potential_[j] - potential_[i]) * beta_;
        for (Index k = 0; k <= p; ++k) {
          const double flux = k < p ? flux_derivative(rho[i], rho[j], d, gradient_(j, k) - gradient_(i, k), 0, dx) : flux_derivative(rho[i], rho[j], d, 0, -1 / (beta_ * beta_), dx);
          out(i, k) -= flux / dx;
          out(j, k) += flux / dx;
        }
      });
    }
    return out;
  }

 private:
  std::shared_ptr<const Grid> grid_;
  double beta_;
  Vector potential_;
  Matrix gradient_;  // cells x p
};

void check_case(const Model& model, const GridDensity& start, double t, int steps) {
  check_positive("grid_limit", "time t", t);
  check_at_least("grid_limit", "steps", steps, 1);
  check_size("grid_limit", "the start's dimension", start.dimension(), model.dimension());
}

Matrix rows(const std::vector<GridFunctional>& phi, const Grid& grid) {
  const Matrix points = grid.points();
  Matrix out(static_cast<Index>(phi.size()), points.cols());
  for (std::size_t i = 0; i < phi.size(); ++i) {
    const Vector values = phi[i](points);
    check_size("grid_limit", "a functional's values", values.size(), points.cols());
    check_finite("grid_limit", "a functional's values", values);
    out.row(static_cast<Index>(i)) = grid.cell_volume() * values.transpose();
  }
  return out;
}

std::pair<Vector, Matrix> forced(const Model& model, const GridDensity& start, double t, int steps) {
  FokkerPlanckGrid solver(FreeEnergy(model), start.grid_ptr());
  const Forcing forcing(model, start.grid_ptr());
  GridDensity rho = start;
  Matrix v = Matrix::Zero(start.values().size(), forcing.parameters());
  const double dt = t / steps;
  for (int k = 0; k < steps; ++k) {
    v += dt * forcing(rho.values());
    for (Index j = 0; j < v.cols(); ++j) v.col(j) = advance_signed(solver, rho, v.col(j), dt);
    rho = solver.advance(rho, dt, 1, GridStepping::implicit_euler).measure;
  }
  return {rho.values(), std::move(v)};
}

/// q(s_k), k = 0, ..., steps.
std::vector<Matrix> gains(const Model& model, const GridDensity& start, double t, int steps, const Matrix& functionals) {
  FokkerPlanckGrid solver(FreeEnergy(model), start.grid_ptr());
  const Forcing forcing(model, start.grid_ptr());
  const Vector pi = solver.stationary().values();
  if (!(pi.minCoeff() > 0)) throw DomainError("grid_limit: exp(-beta Psi) underflows to zero in the box: choose a smaller one");
  const double dt = t / steps;
  std::vector<Matrix> sources{forcing(start.values())};
  GridDensity rho = start;
  for (int k = 0; k < steps; ++k) {
    rho = solver.advance(rho, dt, 1, GridStepping::implicit_euler).measure;
    sources.push_back(forcing(rho.values()));
  }
  std::vector<Matrix> out(sources.size(), Matrix(functionals.rows(), forcing.parameters()));
  for (Index i = 0; i < functionals.rows(); ++i) {
    Vector weighted = pi.cwiseProduct(functionals.row(i).transpose());  // pi P_{t-s} phi, times the cell volume
    for (int k = steps; k >= 0; --k) {
      out[static_cast<std::size_t>(k)].row(i) = weighted.cwiseQuotient(pi).transpose() * sources[static_cast<std::size_t>(k)];
      if (k > 0) weighted = advance_signed(solver, rho, weighted, dt);
    }
  }
  return out;
}

/// Means of q over the time steps.
std::vector<Matrix> means(const std::vector<Matrix>& q) {
  std::vector<Matrix> out;
  for (std::size_t k = 0; k + 1 < q.size(); ++k) out.push_back(0.5 * (q[k] + q[k + 1]));
  return out;
}

Matrix integral(const std::vector<Matrix>& q, double t) {
  Matrix out = Matrix::Zero(q[0].rows(), q[0].cols());
  for (const Matrix& mean : means(q)) out += mean;
  return out * (t / static_cast<double>(q.size() - 1));
}

Matrix covariance_of(const std::vector<Matrix>& q, double t, const ConstMatrixRef& sigma, OnlineData data) {
  const auto steps = q.size() - 1;
  const double dt = t / static_cast<double>(steps);
  const auto mean = means(q);
  Matrix out = Matrix::Zero(q[0].rows(), q[0].rows());
  for (std::size_t k = 0; k < steps; ++k) {
    if (data == OnlineData::fresh) {  // Simpson with the mean of products at the ends and the product of means
      out += dt / 6 * (q[k] * sigma * q[k].transpose() + 4 * mean[k] * sigma * mean[k].transpose() + q[k + 1] * sigma * q[k + 1].transpose());
      continue;
    }
    Matrix right = Matrix::Zero(q[0].rows(), q[0].cols());
    for (std::size_t l = 0; l < steps; ++l) right += noise_covariance(data, static_cast<Index>(k), static_cast<Index>(l), dt) * mean[l];
    out += dt * dt * mean[k] * sigma * right.transpose();
  }
  return 0.5 * (out + out.transpose());
}

}  // namespace

Matrix GridOfflineLimit::pairing(const std::vector<GridFunctional>& phi) const { return rows(phi, *grid) * response; }

Matrix GridOfflineLimit::covariance(const std::vector<GridFunctional>& phi, const ConstMatrixRef& parameter_covariance) const {
  check_size("grid_limit", "the parameter covariance", parameter_covariance.rows(), response.cols());
  const Matrix j = pairing(phi);
  return j * parameter_covariance * j.transpose();
}

GridOfflineLimit grid_offline_limit(const Model& model, const GridDensity& start, double t, int steps) {
  check_case(model, start, t, steps);
  const auto [coarse_density, coarse] = forced(model, start, t, steps);
  auto [density, fine] = forced(model, start, t, 2 * steps);
  return {start.grid_ptr(), 2 * density - coarse_density, 2 * fine - coarse};
}

Matrix GridOnlineLimit::covariance(const ConstMatrixRef& parameter_covariance, OnlineData data) const {
  check_size("grid_limit", "the parameter covariance", parameter_covariance.rows(), fine.at(0).cols());
  return 2 * covariance_of(fine, t, parameter_covariance, data) - covariance_of(coarse, t, parameter_covariance, data);
}

Matrix GridOnlineLimit::pairing() const { return 2 * integral(fine, t) - integral(coarse, t); }

GridOnlineLimit grid_online_limit(const Model& model, const GridDensity& start, double t, int steps, const std::vector<GridFunctional>& phi) {
  check_case(model, start, t, steps);
  const Matrix functionals = rows(phi, start.grid());
  return {t, gains(model, start, t, steps, functionals), gains(model, start, t, 2 * steps, functionals)};
}

}  // namespace jko::analysis
