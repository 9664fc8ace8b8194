#include <jko/measures/gaussian.hpp>

#include <jko/core/check.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace jko {
namespace {

using Eigensystem = Eigen::SelfAdjointEigenSolver<Matrix>;

Matrix symmetric(const Matrix& a) { return 0.5 * (a + a.transpose()); }

/// a^{power} of a symmetric positive definite matrix.
Matrix matrix_power(const Matrix& a, double power) {
  const Eigensystem e(a);
  return symmetric(e.eigenvectors() * e.eigenvalues().cwiseMax(0.0).array().pow(power).matrix().asDiagonal() *
                   e.eigenvectors().transpose());
}

/// The linear part T of the optimal map from N(., A) to N(., B): T A T = B.
Matrix optimal_map(const Matrix& a, const Matrix& b) {
  const Matrix root = matrix_power(a, 0.5);
  const Matrix inverse_root = matrix_power(a, -0.5);
  return symmetric(inverse_root * matrix_power(symmetric(root * b * root), 0.5) * inverse_root);
}

/// X symmetric with P X + X P = C for P symmetric positive definite.
Matrix lyapunov(const Eigensystem& p, const Matrix& c) {
  Matrix x = p.eigenvectors().transpose() * c * p.eigenvectors();
  for (Index j = 0; j < x.cols(); ++j) {
    for (Index i = 0; i < x.rows(); ++i) x(i, j) /= p.eigenvalues()[i] + p.eigenvalues()[j];
  }
  return p.eigenvectors() * x * p.eigenvectors().transpose();
}

void check_same_dimension(std::string_view where, const Gaussian& a, const Gaussian& b) {
  if (a.dimension() != b.dimension()) {
    throw ShapeError(fmt::format("{}: the dimensions {} and {} differ", where, a.dimension(), b.dimension()));
  }
}

}  // namespace

Gaussian::Gaussian(Vector mean, Matrix covariance) : mean_(std::move(mean)), covariance_(std::move(covariance)) {
  if (mean_.size() == 1 && covariance_.size() == 1) {
    check_finite("gaussian", "mean", mean_[0]);
    check_positive("gaussian", "variance", covariance_(0, 0));
    return;
  }
  check_finite("gaussian", "mean", mean_);
  check_covariance("gaussian", "covariance", covariance_);
  check_size("gaussian", "covariance", covariance_.rows(), mean_.size());
}

Vector Gaussian::coordinates() const {
  Vector all(mean_.size() + covariance_.size());
  all << mean_, covariance_.reshaped();
  return all;
}

Gaussian Gaussian::with_coordinates(const ConstVectorRef& coordinates) const {
  const Index d = dimension();
  check_size("gaussian", "the coordinate vector", coordinates.size(), d + d * d);
  return {coordinates.head(d), coordinates.tail(d * d).reshaped(d, d)};
}

double Gaussian::entropy() const {
  const Matrix factor = Eigen::LLT<Matrix>(covariance_).matrixL();
  return -0.5 * dimension() * std::log(2 * std::numbers::pi * std::numbers::e) - factor.diagonal().array().log().sum();
}

double Gaussian::log_density(const ConstVectorRef& x) const {
  check_size("gaussian", "the point", x.size(), dimension());
  const Eigen::LLT<Matrix> factor(covariance_);
  const Vector z = factor.matrixL().solve(x - mean_);
  const Matrix lower = factor.matrixL();
  return -0.5 * z.squaredNorm() - 0.5 * dimension() * std::log(2 * std::numbers::pi) - lower.diagonal().array().log().sum();
}

double w2(const Gaussian& a, const Gaussian& b) {
  check_same_dimension("w2", a, b);
  const double shift = (a.mean() - b.mean()).squaredNorm();
  if (a.dimension() == 1) {
    return std::sqrt(shift + std::pow(std::sqrt(a.covariance()(0, 0)) - std::sqrt(b.covariance()(0, 0)), 2));
  }
  // |(Id - T) Z|^2 with Z ~ N(0, A): no cancellation when A is near B.
  const Matrix displacement = Matrix::Identity(a.dimension(), a.dimension()) - optimal_map(a.covariance(), b.covariance());
  return std::sqrt(shift + std::max(0.0, (displacement * a.covariance() * displacement).trace()));
}

double relative_entropy(const Gaussian& a, const Gaussian& b) {
  check_same_dimension("relative_entropy", a, b);
  const Eigen::LLT<Matrix> factor(b.covariance());
  const Matrix lower_a = Eigen::LLT<Matrix>(a.covariance()).matrixL();
  const Matrix ratio = factor.matrixL().solve(lower_a);
  const Vector shift = factor.matrixL().solve(a.mean() - b.mean());
  return 0.5 * (ratio.squaredNorm() - a.dimension() + shift.squaredNorm()) - ratio.diagonal().array().log().sum();
}

Gaussian geodesic(const Gaussian& a, const Gaussian& b, double s) {
  check_same_dimension("geodesic", a, b);
  check_finite("geodesic", "time s", s);
  const Vector mean = (1 - s) * a.mean() + s * b.mean();
  if (a.dimension() == 1) {
    const double deviation = (1 - s) * std::sqrt(a.covariance()(0, 0)) + s * std::sqrt(b.covariance()(0, 0));
    if (!(deviation > 0)) throw DomainError("geodesic: extrapolation leaves the Gaussians, take a smaller step");
    return {mean, Matrix::Constant(1, 1, deviation * deviation)};
  }
  const Matrix map = (1 - s) * Matrix::Identity(a.dimension(), a.dimension()) + s * optimal_map(a.covariance(), b.covariance());
  if (Eigensystem(map, Eigen::EigenvaluesOnly).eigenvalues()[0] <= 0) {
    throw DomainError("geodesic: extrapolation leaves the Gaussians, take a smaller step");
  }
  return {mean, symmetric(map * a.covariance() * map)};
}

Matrix geodesic_tangent(const Gaussian& a, const Gaussian& b, double s, const ConstMatrixRef& da, const ConstMatrixRef& db) {
  check_same_dimension("geodesic_tangent", a, b);
  const Index d = a.dimension();
  Matrix out(d + d * d, da.cols());
  out.topRows(d) = (1 - s) * da.topRows(d) + s * db.topRows(d);
  if (d == 1) {
    const double sa = std::sqrt(a.covariance()(0, 0));
    const double sb = std::sqrt(b.covariance()(0, 0));
    const double deviation = (1 - s) * sa + s * sb;
    out.row(1) = 2 * deviation * ((1 - s) * da.row(1) / (2 * sa) + s * db.row(1) / (2 * sb));
    return out;
  }
  // T A T = B. With A = G G', P = G' T G and dT = G^{-T} X G^{-1}: X P + P X = G'(dB - T dA T) G after multiplication.
  const Matrix& cov = a.covariance();
  const Matrix map = optimal_map(cov, b.covariance());
  const Matrix root = matrix_power(cov, 0.5);
  const Matrix inverse_root = matrix_power(cov, -0.5);
  const Eigensystem p(symmetric(root * map * root));
  const Matrix extrapolation = (1 - s) * Matrix::Identity(d, d) + s * map;
  for (Index j = 0; j < da.cols(); ++j) {
    const Matrix d_cov = da.col(j).tail(d * d).reshaped(d, d);
    const Matrix d_target = db.col(j).tail(d * d).reshaped(d, d);
    const Matrix x = lyapunov(p, root * (d_target - map * d_cov * map) * root);
    const Matrix d_map = s * (inverse_root * x * inverse_root);
    const Matrix d_out = d_map * cov * extrapolation + extrapolation * d_cov * extrapolation + extrapolation * cov * d_map;
    out.col(j).tail(d * d) = symmetric(d_out).reshaped();
  }
  return out;
}

}  // namespace jko
