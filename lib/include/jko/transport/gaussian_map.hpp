#pragma once
/// The optimal map between two Gaussians.
#include <jko/measures/gaussian.hpp>

namespace jko {

/// x -> linear (x - from) + to.
struct AffineMap {
  Matrix linear;     ///< d x d; symmetric and positive definite for an optimal map
  Vector from, to;

  [[nodiscard]] Matrix operator()(const ConstMatrixRef& points) const;  ///< each column of points (d x n)
  [[nodiscard]] AffineMap inverse() const;                              ///< throws DomainError where `linear` is singular
  [[nodiscard]] Gaussian push(const Gaussian& measure) const;           ///< the image measure
};

/// T#from = to with T the gradient of a convex function: linear = A^{-1/2} (A^{1/2} B A^{1/2})^{1/2} A^{-1/2}, A and B the covariances. Cost: two
/// symmetric eigenproblems; relative accuracy about machine epsilon times the condition number of A.
[[nodiscard]] AffineMap optimal_map(const Gaussian& from, const Gaussian& to);

}  // namespace jko
