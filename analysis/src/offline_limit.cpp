#include <jko/analysis/offline_limit.hpp>

#include <jko/core/check.hpp>

#include "limit_grid.hpp"

namespace jko::analysis {
namespace {

/// tr(Sigma M), M_jl = int a_j a_l/rho dx over the cells where rho is not rounding.
double weighted_trace(const Matrix& columns, const Vector& rho, double width, const ConstMatrixRef& covariance) {
  check_size("offline_limit", "the parameter covariance", covariance.rows(), columns.cols());
  const double floor = 1e-13 * rho.maxCoeff();
  double sum = 0;
  for (Index i = 0; i < rho.size(); ++i) {
    if (rho[i] > floor) sum += columns.row(i).dot(covariance * columns.row(i).transpose()) / rho[i] * width;
  }
  return sum;
}

}  // namespace

Matrix OfflineLimit::pairing(const std::vector<Functional>& phi) const { return rows(phi, centres, width) * response; }

Matrix OfflineLimit::covariance(const std::vector<Functional>& phi, const ConstMatrixRef& parameter_covariance) const {
  check_size("offline_limit", "the parameter covariance", parameter_covariance.rows(), response.cols());
  const Matrix j = pairing(phi);
  return j * parameter_covariance * j.transpose();
}

double OfflineLimit::expected_w2_squared(const ConstMatrixRef& parameter_covariance) const {
  Matrix cumulated = response;  // at the cell centres: everything to the left and half of the own cell
  for (Index j = 0; j < response.cols(); ++j) {
    double left = 0;
    for (Index i = 0; i < response.rows(); ++i) {
      cumulated(i, j) = (left + 0.5 * response(i, j)) * width;
      left += response(i, j);
    }
  }
  return weighted_trace(cumulated, density, width, parameter_covariance);
}

double OfflineLimit::expected_relative_entropy(const ConstMatrixRef& parameter_covariance) const {
  return weighted_trace(response, density, width, parameter_covariance);
}

OfflineLimit offline_limit(const LimitCase& c) {
  LimitGrid grid(c);
  OfflineLimit out{grid.centres(), grid.width(), grid.start(), {}};
  out.response = Matrix::Zero(c.cells, c.model.theta().size() + 1);
  for (int k = 0; k < c.steps; ++k) grid.advance(out.density, out.response, c.t / c.steps, [&](const Vector& rho) { return grid.forcing(rho); });
  return out;
}

OfflineLimit stationary_offline_limit(const Model& model, double lower, double upper, Index cells) {
  const FokkerPlanck solver(model, lower, upper, cells);
  OfflineLimit out{solver.centres(), solver.width(), solver.stationary(), {}};
  const Matrix points = out.centres.transpose();
  Matrix psi(cells, model.theta().size() + 1);  // -d log pi/d parameter, up to a constant
  psi << model.beta() * model.potential().evaluate({0, 1}, points, model.theta()).transpose(), model.potential().evaluate({0, 0}, points, model.theta()).transpose();
  const Matrix mean = out.width * out.density.transpose() * psi;
  out.response = -(out.density.asDiagonal() * (psi.rowwise() - mean.row(0)));
  return out;
}

}  // namespace jko::analysis
