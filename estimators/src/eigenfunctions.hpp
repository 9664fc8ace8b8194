#pragma once
/// Eigenfunctions of a one-dimensional diffusion's generator on a grid, and the martingale differences they give.
#include <jko/models/diffusion.hpp>

namespace jko::estimators {

/// h_k = phi_k(X') - e^{-lambda_k dt} phi_k(x), k = 1, ..., degree, L phi_k = -lambda_k phi_k, of unit norm under the stationary law: E[h | x] = 0 whatever dt.
struct EigenMartingale {
  bool ok = false;
  Matrix value;     ///< degree x n
  Matrix slope;     ///< -E[dh/dtheta | x] = (dP/dtheta phi)(x), degree P x n, k fastest: eigenfunctions need not be differentiated
  Matrix variance;  ///< E[h h' | x], degree^2 x n
};
[[nodiscard]] EigenMartingale eigen_martingale(const Diffusion& diffusion, const ConstVectorRef& x, const ConstVectorRef& next, const ConstVectorRef& dt, int degree);

}  // namespace jko::estimators
