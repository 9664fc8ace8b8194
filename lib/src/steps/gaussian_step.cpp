#include <jko/steps/gaussian_step.hpp>

#include <jko/core/check.hpp>

#include "certificate.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <unsupported/Eigen/KroneckerProduct>

#include <algorithm>
#include <cmath>
#include <utility>

namespace jko {
namespace {

using Eigensystem = Eigen::SelfAdjointEigenSolver<Matrix>;

Matrix symmetric(const Matrix& a) { return 0.5 * (a + a.transpose()); }

/// Y(S) = (S + 2c + sqrt(S^2 + 4 c S))/2 for one eigenvalue.
double step_variance(double s, double c) { return 0.5 * (s + 2 * c + std::sqrt(s * (s + 4 * c))); }

}  // namespace

GaussianStep::GaussianStep(FreeEnergy energy) : energy_(std::move(energy)) { read_energy(); }

void GaussianStep::set_parameters(const ConstVectorRef& parameters) {
  energy_.set_parameters(parameters);
  read_energy();
}

void GaussianStep::read_energy() {
  if (!energy_.potential() || !energy_.entropy() || energy_.porous_medium() || energy_.congestion() || energy_.interaction()) {
    throw DomainError("gaussian_step: the energy must be a quadratic potential plus entropy");
  }
  auto quadratic = energy_.potential()->potential->quadratic(energy_.potential()->theta);
  if (!quadratic) {
    throw DomainError("gaussian_step: the potential " + energy_.potential()->potential->describe() +
                      " is not quadratic; use the quantile step");
  }
  quadratic_ = std::move(*quadratic);
  beta_ = energy_.entropy()->beta;
}

EnergyValue GaussianStep::energy_value(const Gaussian& measure) const {
  const Vector offset = measure.mean() - quadratic_.centre;
  const Matrix& curvature = quadratic_.curvature;
  const double potential = 0.5 * (offset.dot(curvature * offset) + (curvature * measure.covariance()).trace());
  const double entropy = measure.entropy() / beta_;
  return {potential + entropy, {{"potential", potential}, {"entropy", entropy}}};
}

StepResult<Gaussian> GaussianStep::advance(const Gaussian& from, double h) {
  check_positive("gaussian_step", "step size h", h);
  const Index d = from.dimension();
  check_size("gaussian_step", "the start's mean", d, quadratic_.centre.size());
  const Matrix& curvature = quadratic_.curvature;
  const Vector& centre = quadratic_.centre;
  const double c = h / beta_;
  StepResult<Gaussian> result;
  result.measure = from;
  h_ = h;

  const bool scalar = d == 1;
  double kappa = curvature(0, 0);
  Eigensystem a_system;
  if (!scalar) {
    a_system.compute(Matrix::Identity(d, d) + h * curvature);
    kappa = (a_system.eigenvalues()[0] - 1) / h;
  }
  const double convexity = 1 + h * kappa;
  if (!(convexity > 0)) {
    result.status = Status::step_not_convex;
    return result;
  }

  if (scalar) {
    const double mean = (from.mean()[0] + h * kappa * centre[0]) / convexity;
    const double variance = step_variance(from.covariance()(0, 0) / convexity, c) / convexity;
    result_ = Gaussian(Vector::Constant(1, mean), Matrix::Constant(1, 1, variance));
  } else {
    const auto& u = a_system.eigenvectors();
    const Vector mean = u * (u.transpose() * (from.mean() + h * curvature * centre)).cwiseQuotient(a_system.eigenvalues());
    const Matrix root = symmetric(u * a_system.eigenvalues().cwiseInverse().cwiseSqrt().asDiagonal() * u.transpose());
    const Eigensystem s_system(symmetric(root * from.covariance() * root));
    const Vector y = s_system.eigenvalues().unaryExpr([c](double s) { return step_variance(std::max(s, 0.0), c); });
    result_ = Gaussian(mean, symmetric(root * s_system.eigenvectors() * y.asDiagonal() * s_system.eigenvectors().transpose() * root));
  }
  result.measure = result_;

  // The residual is a linear vector field: its constant part, and its matrix under the result's covariance. The map back to
  // `from` is recomputed from the covariances alone, so that the residual tests the closed form.
  const Vector shift = curvature * (result_.mean() - centre) + (result_.mean() - from.mean()) / h;
  double spread = 0, moved = 0;
  if (scalar) {
    const double after = std::sqrt(result_.covariance()(0, 0));
    const double before = std::sqrt(from.covariance()(0, 0));
    spread = std::pow(kappa * after - 1 / (beta_ * after) + (after - before) / h, 2);
    moved = std::pow(after - before, 2);
  } else {
    const Matrix& after = result_.covariance();
    const Eigensystem e(after);
    const Vector deviations = e.eigenvalues().cwiseSqrt();
    const Matrix root = symmetric(e.eigenvectors() * deviations.asDiagonal() * e.eigenvectors().transpose());
    const Matrix inverse = symmetric(e.eigenvectors() * deviations.cwiseInverse().asDiagonal() * e.eigenvectors().transpose());
    const Eigensystem middle(symmetric(root * from.covariance() * root));
    const Matrix map = symmetric(inverse * middle.eigenvectors() * middle.eigenvalues().cwiseMax(0.0).cwiseSqrt().asDiagonal() *
                                 middle.eigenvectors().transpose() * inverse);
    const Matrix identity = Matrix::Identity(d, d);
    const Matrix field = curvature - inverse * inverse / beta_ + (identity - map) / h;
    spread = (field * after * field.transpose()).trace();
    moved = ((identity - map) * after * (identity - map)).trace();
  }
  result.residual = std::sqrt(std::max(0.0, shift.squaredNorm() + spread));
  certify_by_residual(result, h, convexity);
  result.w2_moved = std::sqrt(std::max(0.0, (result_.mean() - from.mean()).squaredNorm() + moved));
  result.energy = energy_value(result_);
  result.objective = result.energy.total + result.w2_moved * result.w2_moved / (2 * h);
  result.iterations = 1;
  result.status = Status::converged;
  return result;
}

Matrix GaussianStep::tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const {
  const Index d = result_.dimension();
  if (d == 0) throw DomainError("gaussian_step: tangent() needs an advance() before it");
  const Index columns = std::max(from_tangent.cols(), parameter_tangent.cols());
  const Index p = energy_.potential()->theta.size();
  const bool from_given = from_tangent.size() > 0;
  const bool parameters_given = parameter_tangent.size() > 0;
  if (from_given) check_size("gaussian_step", "the start's tangent", from_tangent.rows(), d + d * d);
  if (parameters_given) check_size("gaussian_step", "the parameter tangent", parameter_tangent.rows(), p + 1);
  const Matrix& curvature = quadratic_.curvature;
  const Matrix& after = result_.covariance();
  const Matrix identity = Matrix::Identity(d, d);
  const Matrix a = identity + h_ * curvature;
  const double c = h_ / beta_;
  const Matrix inverse = after.inverse();
  const Matrix map = a - c * inverse;  // T with T Sigma' T = Sigma
  // Differentiating T Sigma' T = Sigma:
  //   c Sigma'^{-1} X T + T X T + c T X Sigma'^{-1} = dSigma - dT0 Sigma' T - T Sigma' dT0,  dT0 = h dK + (h/beta^2) dbeta Sigma'^{-1}.
  const Matrix kronecker = c * Matrix(Eigen::kroneckerProduct(map, inverse)) + Matrix(Eigen::kroneckerProduct(map, map)) +
                           c * Matrix(Eigen::kroneckerProduct(inverse, map));
  const Eigen::PartialPivLU<Matrix> covariance_solver(kronecker);
  const Eigen::PartialPivLU<Matrix> mean_solver(a);
  Potential::QuadraticTangent directions;
  if (parameters_given) directions = energy_.potential()->potential->quadratic_tangent(energy_.potential()->theta);

  Matrix out(d + d * d, columns);
  for (Index j = 0; j < columns; ++j) {
    Vector mean_side = Vector::Zero(d);
    Matrix covariance_side = Matrix::Zero(d, d);
    if (from_given) {
      mean_side = from_tangent.col(j).head(d);
      covariance_side = from_tangent.col(j).tail(d * d).reshaped(d, d);
    }
    if (parameters_given) {
      Matrix d_curvature = Matrix::Zero(d, d);
      Vector d_centre = Vector::Zero(d);
      for (Index i = 0; i < p; ++i) {
        d_curvature += parameter_tangent(i, j) * directions.curvature[static_cast<std::size_t>(i)];
        d_centre += parameter_tangent(i, j) * directions.centre.col(i);
      }
      mean_side += h_ * (curvature * d_centre - d_curvature * (result_.mean() - quadratic_.centre));
      const Matrix d_map = h_ * d_curvature + (h_ / (beta_ * beta_)) * parameter_tangent(p, j) * inverse;
      covariance_side -= d_map * after * map + map * after * d_map;
    }
    out.col(j).head(d) = mean_solver.solve(mean_side);
    out.col(j).tail(d * d) = covariance_solver.solve(Vector(covariance_side.reshaped()));
  }
  return out;
}

}  // namespace jko
