#pragma once
/// Work along the lines of a grid, axis after axis: lines that are not contiguous are copied in blocks, so that every cache line is used whole.
#include <jko/core/parallel.hpp>
#include <jko/measures/grid_density.hpp>

#include <algorithm>
#include <vector>

namespace jko {

/// Lines along `axis`: line l = (inner, outer) has its cell k at inner + stride (k + cells outer), 0 <= inner < stride.
struct GridLines {
  Index cells = 1, stride = 1, outer = 1;
  GridLines(const Grid& grid, int axis) {
    cells = grid.cells[static_cast<std::size_t>(axis)];
    for (int a = 0; a < axis; ++a) stride *= grid.cells[static_cast<std::size_t>(a)];
    outer = grid.size() / (cells * stride);
  }
  static constexpr Index group = 16;  // lines copied together: two cache lines wide, so that power-of-two strides do not crowd one cache set
  [[nodiscard]] Index groups() const { return outer * ((stride + group - 1) / group); }
  /// Calls body(first cell, lines) for every group of neighbouring lines; cell k of line l of the group lies at first + l + stride k.
  template <class Body>
  void for_each_group(int threads, const Body& body) const {
    const Index per_outer = (stride + group - 1) / group;
    // About 32 000 cells a task: enough to hide its start.
    const Index block = std::max<Index>(1, 32768 / (cells * std::min(group, stride)));
    parallel_blocks(groups(), block, threads, [&](Index begin, Index end) {
      for (Index g = begin; g < end; ++g) {
        const Index inner = g % per_outer * group;
        body(inner + stride * cells * (g / per_outer), std::min(group, stride - inner));
      }
    });
  }
};

/// lines[l * pitch + k] = field[first + l + stride k].
template <class T>
void read_lines(const T* field, const GridLines& at, Index first, Index lines, Index pitch, T* out) {
  if (at.stride == 1) {
    std::copy(field + first, field + first + at.cells, out);
  } else {
    for (Index k = 0; k < at.cells; ++k) {
      for (Index l = 0; l < lines; ++l) out[l * pitch + k] = field[first + l + at.stride * k];
    }
  }
}

template <class T>
void write_lines(const T* lines_in, const GridLines& at, Index first, Index lines, Index pitch, T* field) {
  if (at.stride == 1) {
    std::copy(lines_in, lines_in + at.cells, field + first);
  } else {
    for (Index k = 0; k < at.cells; ++k) {
      for (Index l = 0; l < lines; ++l) field[first + l + at.stride * k] = lines_in[l * pitch + k];
    }
  }
}

}  // namespace jko
