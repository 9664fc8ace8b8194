#pragma once
/// Functions of symmetric matrices with their derivatives.
#include <jko/core/types.hpp>

#include <Eigen/Eigenvalues>

#include <cmath>

namespace jko::estimators {

/// f(A) and its derivative in the direction dA for symmetric A = Q diag(a) Q', by divided differences.
struct SpectralFunction {
  const Matrix& q;
  Vector value;       // f(a)
  Matrix difference;  // (f(a_i) - f(a_j))/(a_i - a_j), f' on the diagonal and for close eigenvalues
  [[nodiscard]] Matrix matrix() const { return q * value.asDiagonal() * q.transpose(); }
  /// rotated: Q' dA Q.
  [[nodiscard]] Matrix derivative(const Matrix& rotated) const { return q * difference.cwiseProduct(rotated) * q.transpose(); }
};

template <class F, class G>
SpectralFunction spectral(const Matrix& q, const Vector& a, const F& f, const G& slope) {
  const Index d = a.size();
  SpectralFunction out{q, a.unaryExpr(f), Matrix(d, d)};
  for (Index i = 0; i < d; ++i) {
    for (Index j = 0; j < d; ++j) {
      const double gap = a[i] - a[j];
      // Close eigenvalues: the slope at the middle is off by gap^2 f'''/24, the quotient by epsilon/gap; they cross near 1e-5.
      out.difference(i, j) = std::abs(gap) < 1e-5 ? slope(0.5 * (a[i] + a[j])) : (out.value[i] - out.value[j]) / gap;
    }
  }
  return out;
}

}  // namespace jko::estimators
