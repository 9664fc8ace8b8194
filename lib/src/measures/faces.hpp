#pragma once
/// The faces and neighbours of a grid's cells.
#include <jko/measures/grid_density.hpp>

namespace jko {

/// visit(i, j, width) for the two cells of each interior (or periodic) face, j one cell up the axis from i; axis after axis.
template <class Visit>
void for_each_face(const Grid& grid, const Visit& visit) {
  Index stride = 1;
  for (int a = 0; a < grid.dimension(); ++a) {
    const Index n = grid.cells[static_cast<std::size_t>(a)], outer = grid.size() / (n * stride);
    const double width = grid.width(a);
    for (Index o = 0; o < outer; ++o) {
      const Index line = o * n * stride;
      for (Index k = 0; k + 1 < n; ++k) {
        for (Index i = line + k * stride; i < line + (k + 1) * stride; ++i) visit(i, i + stride, width);
      }
      if (grid.boundary == Boundary::periodic && n > 1) {
        for (Index i = line; i < line + stride; ++i) visit(i + (n - 1) * stride, i, width);
      }
    }
    stride *= n;
  }
}

/// visit(j, width) for each cell j that shares a face with cell i.
template <class Visit>
void for_each_neighbour(const Grid& grid, Index i, const Visit& visit) {
  Index stride = 1;
  for (int a = 0; a < grid.dimension(); ++a) {
    const Index n = grid.cells[static_cast<std::size_t>(a)], k = i / stride % n;
    const bool around = grid.boundary == Boundary::periodic && n > 1;
    const double width = grid.width(a);
    if (k + 1 < n) visit(i + stride, width);
    else if (around) visit(i - k * stride, width);
    if (k > 0) visit(i - stride, width);
    else if (around) visit(i + (n - 1) * stride, width);
    stride *= n;
  }
}

}  // namespace jko
