#pragma once
/// Grids and densities that several tests step from.
#include <jko/measures/grid_density.hpp>

#include <memory>
#include <utility>
#include <vector>

namespace jko::testing {

/// The cube [lower, upper]^d, d the number of cell counts.
inline std::shared_ptr<const Grid> box(std::vector<Index> cells, double lower, double upper) {
  const auto d = static_cast<Index>(cells.size());
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, lower), Vector::Constant(d, upper), std::move(cells)});
}

/// N(mean (1, ..., 1), variance I).
inline GridDensity normal(const std::shared_ptr<const Grid>& grid, double mean, double variance) {
  const Index d = grid->dimension();
  return GridDensity::gaussian(grid, Vector::Constant(d, mean), variance * Matrix::Identity(d, d));
}

}  // namespace jko::testing
