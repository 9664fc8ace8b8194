#pragma once
/// The c-transform for the cost |x - y|^2/2 between the cell centres of a grid, exactly.
#include <jko/measures/grid_density.hpp>

#include <cstdint>

namespace jko {

/// phi^c(y) = min_x |x - y|^2/2 - phi(x), x and y over the cell centres (on a periodic grid |x - y| is the distance of the torus).
///
/// Weak duality makes any phi a certificate: for densities rho, mu on the grid, read as atoms at the cell centres,
///   W2^2(rho, mu)/2 >= sum_x phi(x) rho(x) V + sum_y phi^c(y) mu(y) V,
/// with equality at a Kantorovich potential. phi^cc >= phi always, and phi^ccc = phi^c: to rounding here.
///
/// The cost is separable, so one axis is transformed after the other: along a line the minimum is the lower envelope of parabolas, found from the
/// lower convex hull of i^2/2 - phi_i/width^2 (the fast Legendre transform, [Lucet1997], [FelzenszwalbHuttenlocher2012]). O(cells) time and memory.
class CTransform {
 public:
  explicit CTransform(std::shared_ptr<const Grid> grid, int threads = 1);  ///< the bits do not depend on threads >= 1
  /// `phi`: one number a cell; -inf cells are never chosen (a support), at least one must be finite; +inf and NaN throw DomainError.
  [[nodiscard]] Vector operator()(const ConstVectorRef& phi) const;
  /// Likewise with the minimising cell of every y (of equals, either one; cell numbers as in Grid).
  [[nodiscard]] Vector operator()(const ConstVectorRef& phi, std::vector<std::int32_t>& argmin) const;

 private:
  Vector run(const ConstVectorRef& phi, std::vector<std::int32_t>* argmin) const;
  std::shared_ptr<const Grid> grid_;
  int threads_;
};

/// One shot.
[[nodiscard]] Vector c_transform(std::shared_ptr<const Grid> grid, const ConstVectorRef& phi);
/// sum phi rho V + sum phi^c mu V: a lower bound of W2^2(rho, mu)/2 between the atoms at the cell centres, whatever phi is. The grids must be equal.
[[nodiscard]] double dual_transport_value(const GridDensity& rho, const GridDensity& mu, const ConstVectorRef& phi);

}  // namespace jko
