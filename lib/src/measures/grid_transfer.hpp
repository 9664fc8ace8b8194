#pragma once
/// Fields carried between two grids of the same box.
#include <jko/measures/grid_density.hpp>

namespace jko {

/// Averages over the cells of `to`, of a field that is constant on the cells of `from`; any two numbers of cells. Infinite values are left out of the average,
/// and a cell that holds nothing else keeps them.
[[nodiscard]] Vector averaged(const Grid& from, const Grid& to, const Vector& field);

/// Averages over the cells of `from`, about the centres of the coarser cells of `to`: those over the coarser cells less the second differences that they add,
/// -(w_to^2 - w_from^2)/24 of the second derivatives; interpolated and cut at 0 where `to` does not divide `from`. Of the same sum times cell volume, fourth order where smooth.
[[nodiscard]] Vector sampled(const Grid& from, const Grid& to, const Vector& density);

/// Values at the cell centres of `to`, of a field given at those of `from`: cubic polynomials through the four nearest along each axis, even continuation at walls.
/// Fourth order. Beside -infinity the nearer of the finite neighbours; -infinity where both are.
[[nodiscard]] Vector interpolated(const Grid& from, const Grid& to, const Vector& field);

}  // namespace jko
