#pragma once
/// Gaussian measures N(mean, covariance) on R^d.
#include <jko/core/types.hpp>

namespace jko {

/// A value. Coordinates: (mean, vec covariance), d + d^2 numbers, column-major.
class Gaussian {
 public:
  Gaussian() = default;                      ///< empty, dimension 0
  Gaussian(Vector mean, Matrix covariance);  ///< throws unless finite, symmetric and positive definite

  [[nodiscard]] int dimension() const { return static_cast<int>(mean_.size()); }
  [[nodiscard]] const Vector& mean() const { return mean_; }
  [[nodiscard]] const Matrix& covariance() const { return covariance_; }
  [[nodiscard]] Vector coordinates() const;
  [[nodiscard]] Gaussian with_coordinates(const ConstVectorRef& coordinates) const;
  [[nodiscard]] double entropy() const;      ///< int rho log rho = -(d/2) log(2 pi e) - (1/2) log det covariance
  [[nodiscard]] double log_density(const ConstVectorRef& x) const;

 private:
  Vector mean_;
  Matrix covariance_;
};

/// Bures-Wasserstein distance. Cost O(d^3).
[[nodiscard]] double w2(const Gaussian& a, const Gaussian& b);
/// KL(a | b).
[[nodiscard]] double relative_entropy(const Gaussian& a, const Gaussian& b);
/// E_s(a, b) = ((1-s) Id + s T)#a with T the optimal map from a to b; s outside [0, 1] extrapolates and throws DomainError where
/// (1-s) I + s T is not positive definite.
[[nodiscard]] Gaussian geodesic(const Gaussian& a, const Gaussian& b, double s);
/// Derivative of the coordinates of geodesic(a, b, s) along columns da, db (coordinates of a and b).
[[nodiscard]] Matrix geodesic_tangent(const Gaussian& a, const Gaussian& b, double s, const ConstMatrixRef& da, const ConstMatrixRef& db);

}  // namespace jko
