#pragma once
/// The faces and neighbours of a grid's cells.
#include <jko/measures/grid_density.hpp>

namespace jko {

/// visit(i, j, width) for the two cells of each interior (or periodic) face, j one cell up the axis from i; axis after axis.
template <class Visit>
void for_each_face(const Grid& grid, const Visit& visit) {
  Index stride = 1;
  for (int a = 0; a < grid.dimension(); ++a) {
    const Index n = grid.cells[static_cast<std::size_t>(a)];
    const double width = grid.width(a);
    for (Index begin = 0; begin < grid.size(); begin += n * stride) {
      const Index last = begin + (n - 1) * stride;
      for (Index i = begin; i < last; ++i) visit(i, i + stride, width);
      for (Index i = last; i < last + stride && grid.boundary == Boundary::periodic && n > 1; ++i) visit(i, i - (n - 1) * stride, width);
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
