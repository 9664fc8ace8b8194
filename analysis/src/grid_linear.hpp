#pragma once
/// Internal: the linear Fokker-Planck equation on boxes applied to functions of any sign.
#include <jko/reference/fokker_planck_grid.hpp>

namespace jko::analysis {

/// Calls body(cell, neighbour above) for every pair of neighbours along an axis.
template <class Body>
void for_neighbours(const Grid& grid, int axis, const Body& body) {
  Index stride = 1;
  for (int a = 0; a < axis; ++a) stride *= grid.cells[static_cast<std::size_t>(a)];
  const Index n = grid.cells[static_cast<std::size_t>(axis)];
  for (Index cell = 0; cell < grid.size(); ++cell) {
    if ((cell / stride) % n + 1 < n) body(cell, cell + stride);
  }
}

/// One implicit Euler step of any vector: the equation is linear, so positive and negative parts are advanced as densities of mass one.
inline Vector advance_signed(FokkerPlanckGrid& solver, const GridDensity& like, const Vector& value, double dt) {
  Vector out = Vector::Zero(value.size());
  for (const double sign : {1.0, -1.0}) {
    Vector part = (sign * value).cwiseMax(0.0);
    const double mass = part.sum() * like.grid().cell_volume();
    if (!(mass > 0)) continue;
    part /= mass;
    out += sign * mass * solver.advance(like.with_coordinates(std::move(part)), dt, 1, GridStepping::implicit_euler).measure.values();
  }
  return out;
}

}  // namespace jko::analysis
