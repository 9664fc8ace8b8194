#include <jko/transport/gaussian_map.hpp>

#include <jko/core/check.hpp>

#include <Eigen/Eigenvalues>
#include <Eigen/LU>

#include <cmath>

namespace jko {
namespace {

using Eigensystem = Eigen::SelfAdjointEigenSolver<Matrix>;

Matrix symmetric(const Matrix& a) { return 0.5 * (a + a.transpose()); }

}  // namespace

Matrix AffineMap::operator()(const ConstMatrixRef& points) const {
  check_size("affine_map", "the points' dimension", points.rows(), from.size());
  return (linear * (points.colwise() - from)).colwise() + to;
}

AffineMap AffineMap::inverse() const {
  const Eigen::FullPivLU<Matrix> factors(linear);
  if (!factors.isInvertible()) throw DomainError("affine_map: the linear part is singular and has no inverse");
  return {factors.inverse(), to, from};
}

Gaussian AffineMap::push(const Gaussian& measure) const {
  return {(*this)(measure.mean()).col(0), symmetric(linear * measure.covariance() * linear.transpose())};
}

AffineMap optimal_map(const Gaussian& from, const Gaussian& to) {
  check_size("optimal_map", "the second measure's dimension", to.dimension(), from.dimension());
  if (from.dimension() == 1) return {Matrix::Constant(1, 1, std::sqrt(to.covariance()(0, 0) / from.covariance()(0, 0))), from.mean(), to.mean()};
  const Eigensystem a(from.covariance());
  const Vector deviations = a.eigenvalues().cwiseSqrt();
  const Matrix root = symmetric(a.eigenvectors() * deviations.asDiagonal() * a.eigenvectors().transpose());
  const Matrix inverse = symmetric(a.eigenvectors() * deviations.cwiseInverse().asDiagonal() * a.eigenvectors().transpose());
  const Eigensystem middle(symmetric(root * to.covariance() * root));
  const Matrix centre = middle.eigenvectors() * middle.eigenvalues().cwiseMax(0.0).cwiseSqrt().asDiagonal() * middle.eigenvectors().transpose();
  return {symmetric(inverse * symmetric(centre) * inverse), from.mean(), to.mean()};
}

}  // namespace jko
