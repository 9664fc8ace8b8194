#pragma once
/// An upper bound of W2 between two densities on one grid, from a flux between them.
#include <jko/measures/grid_density.hpp>

namespace jko {

struct FluxBoundOptions {
  int iterations = 40;    ///< of the solve for the flux, >= 0; more make the bound sharper, none makes it wrong
  double floor = 1e-14;   ///< in (0, 1): cells where a density is below floor times the largest one are left to `far`
};

struct FluxBound {
  double w2 = 0;          ///< W2(a, b) <= w2
  double far = 0;         ///< mass that was charged the diameter of the box
  int iterations = 0;
};

/// Benamou and Brenier's formula on the segment between the densities, which are constant on cells: for any flux J without normal part at walls and div J = a - b,
///
///   W2^2(a, b) <= int_0^1 int |J|^2/((1-t) a + t b) dx dt = sum over cells (int |J|^2 dx)/Lambda(a, b),  Lambda the logarithmic mean.
///
/// J has a number a face, linear between opposite faces, so that div J = a - b holds exactly. The best one is a Poisson problem weighted by Lambda: preconditioned conjugate gradients, and what
/// they leave is carried along a tree of cells towards the largest density (maximum spanning tree), which makes any number of iterations valid. Mass in cells below `floor`
/// and the difference of the two masses of the others are charged diameter^2 each. Linear in a - b where the densities are near each other (W2 by L1 bounds is a root).
/// Exact to rounding in one dimension only up to the densities' change along the way: the bound is W2 times 1 + O(sup |a - b|/a).
/// Boxes with no-flux walls (else DomainError), equal grids (ShapeError). Cost: O(N log N) and per iteration that of one implicit diffusion step. Wrong choice for densities far from each other:
/// grid_w2.hpp, transport/exact.hpp. [BenamouBrenier2000]
[[nodiscard]] FluxBound w2_flux_bound(const GridDensity& a, const GridDensity& b, FluxBoundOptions options = {});

}  // namespace jko
