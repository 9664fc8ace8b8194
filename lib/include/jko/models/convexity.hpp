#pragma once
/// A numerical convexity constant, for potentials that state none.
#include <jko/models/potential.hpp>

namespace jko {

/// A lower estimate of the smallest eigenvalue of Hess Psi on the box [lower, upper]: the smallest over a regular grid, less half a cell's
/// diagonal times the largest Frobenius norm of the third derivative found there (first-order remainder). Not a proof: the third
/// derivative may be larger between the points, and nothing is known outside the box; `proven` is false. 1-D: 10001 points by default.
/// Throws DomainError where Psi or a derivative is not finite in the box, or the grid has more than 10^7 points.
[[nodiscard]] Convexity convexity_on(const Potential& potential, const ConstVectorRef& theta, const ConstVectorRef& lower, const ConstVectorRef& upper,
                                     Index points_per_axis = 10001);

}  // namespace jko
