#include <jko/analysis/stationary_limit.hpp>

#include <jko/analysis/offline_limit.hpp>
#include <jko/core/check.hpp>
#include <jko/reference/fokker_planck.hpp>

#include <Eigen/Eigenvalues>

#include <cmath>

namespace jko::analysis {

Spectrum generator_spectrum(const Model& model, double lower, double upper, Index cells, Index count) {
  const FokkerPlanck solver(model, lower, upper, cells);
  check_in("generator_spectrum", "count", static_cast<double>(count), 1, static_cast<double>(cells));
  Spectrum out{solver.centres(), solver.width(), solver.stationary(), {}, {}};
  if (!(out.stationary.minCoeff() > 0)) throw DomainError("generator_spectrum: exp(-beta Psi) underflows in the box; choose a smaller one");
  // L* is tridiagonal and self-adjoint in L2(1/pi): S = pi^{-1/2} L* pi^{1/2} is symmetric. Its entries by applying L* to unit vectors three apart.
  const Vector root = out.stationary.cwiseSqrt();
  Vector diagonal(cells), off(cells - 1);
  for (Index colour = 0; colour < 3; ++colour) {
    Vector unit = Vector::Zero(cells);
    for (Index i = colour; i < cells; i += 3) unit[i] = 1;
    const Vector column = solver.apply(unit);
    for (Index i = colour; i < cells; i += 3) {
      diagonal[i] = -column[i];
      if (i + 1 < cells) off[i] = -column[i + 1] * root[i] / root[i + 1];
    }
  }
  Eigen::SelfAdjointEigenSolver<Matrix> e;
  e.computeFromTridiagonal(diagonal, off);
  out.eigenvalues = e.eigenvalues().head(count);
  out.eigenfunctions = root.cwiseInverse().asDiagonal() * e.eigenvectors().leftCols(count) / std::sqrt(out.width);
  for (Index j = 0; j < count; ++j) {
    if (out.eigenfunctions(cells / 2 + cells / 8, j) < 0) out.eigenfunctions.col(j) *= -1;  // a sign that does not depend on the solver
  }
  return out;
}

StationaryLimit stationary_limit(const Model& model, const ConstMatrixRef& parameter_covariance, double lower, double upper, Index cells, Index count) {
  check_size("stationary_limit", "the parameter covariance", parameter_covariance.rows(), model.theta().size() + 1);
  check_in("stationary_limit", "count", static_cast<double>(count), 1, static_cast<double>(cells - 1));
  const Spectrum s = generator_spectrum(model, lower, upper, cells, cells);
  const Matrix response = stationary_offline_limit(model, lower, upper, cells).response;
  const Matrix all = s.width * s.eigenfunctions.rightCols(cells - 1).transpose() * response;  // without the constant
  StationaryLimit out;
  out.rates = s.eigenvalues.segment(1, count);
  out.coefficients = all.topRows(count);
  out.offline = out.coefficients * parameter_covariance * out.coefficients.transpose();
  out.online = out.offline;
  for (Index i = 0; i < count; ++i) {
    for (Index j = 0; j < count; ++j) out.online(i, j) *= out.rates[i] * out.rates[j] / (out.rates[i] + out.rates[j]);
  }
  for (Index j = 0; j < all.rows(); ++j) {
    const double offline = all.row(j).dot(parameter_covariance * all.row(j).transpose()), rate = s.eigenvalues[j + 1];
    out.free_energy_cost += 0.5 / model.beta() * 0.5 * rate * offline;
    out.slope_cost += 0.5 / model.beta() * rate * rate * offline;
    out.offline_free_energy_cost += 0.5 / model.beta() * offline;
  }
  return out;
}

Matrix stationary_information(const Model& model, double lower, double upper, Index cells) {
  const auto limit = stationary_offline_limit(model, lower, upper, cells);  // d pi = pi * score
  const Matrix scores = limit.response.leftCols(model.theta().size());
  Matrix out = Matrix::Zero(scores.cols(), scores.cols());
  for (Index i = 0; i < cells; ++i) {
    if (limit.density[i] > 0) out += limit.width / limit.density[i] * scores.row(i).transpose() * scores.row(i);
  }
  return out;
}

}  // namespace jko::analysis
