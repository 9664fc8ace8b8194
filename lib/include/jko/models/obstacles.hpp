#pragma once
/// Potentials with forbidden regions.
#include <jko/models/potential.hpp>

#include <vector>

namespace jko {

/// Psi where every g >= 0, +infinity where some g < 0: each `region` is a function g without parameters (a formula, say), of Psi's dimension.
///
/// The parameters and all derivatives are Psi's own, also inside the regions. A g that is NaN gives NaN, which the energies refuse with the place. quadratic() and
/// convexity() do not answer: what is left of the space need not be convex. On a grid a cell is forbidden when its centre is (energies/grid_energy.hpp),
/// so that a region's edge is placed to half a cell width. W2 is Euclidean and knows nothing of obstacles: a step of JKO may carry mass across a thin one.
/// Throws ShapeError for another dimension, DomainError for a null pointer or a region with parameters. Cost: that of Psi and of each g at every point.
[[nodiscard]] PotentialPtr with_obstacles(PotentialPtr psi, std::vector<PotentialPtr> regions);

}  // namespace jko
