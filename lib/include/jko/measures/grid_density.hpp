#pragma once
/// Densities on regular grids of boxes in one, two or three dimensions.
#include <jko/core/types.hpp>

#include <functional>
#include <memory>
#include <vector>

namespace jko {

/// What happens at the faces of the box, the same on all of them.
enum class Boundary { no_flux, periodic };

/// The box [lower, upper] cut into equal cells. Cells are numbered with axis 0 fastest: cell (i, j, k) is i + cells[0] (j + cells[1] k).
struct Grid {
  Vector lower, upper;        ///< d of each, lower < upper
  std::vector<Index> cells;   ///< d numbers, >= 1
  Boundary boundary = Boundary::no_flux;

  void validate() const;      ///< throws naming the field; at most 3 dimensions and 2^31 cells (the message says what memory that would take)
  [[nodiscard]] int dimension() const { return static_cast<int>(lower.size()); }
  [[nodiscard]] Index size() const;                       ///< number of cells
  [[nodiscard]] double width(int axis) const;
  [[nodiscard]] double cell_volume() const;
  [[nodiscard]] Vector centres(int axis) const;
  [[nodiscard]] Matrix points() const;                    ///< d x size(): all cell centres
  [[nodiscard]] bool operator==(const Grid& other) const;
};

/// A value: the density's average over each cell, >= 0, with mass sum(values) * cell_volume = 1 to 1e-10. Coordinates: the values.
class GridDensity {
 public:
  GridDensity() = default;  ///< empty, dimension 0
  /// Throws unless the sizes fit, the values are finite and >= 0, and the mass is 1 to 1e-10.
  GridDensity(std::shared_ptr<const Grid> grid, Vector values);
  /// The function's values at the cell centres (d x n points in, n values out), scaled to mass 1; it must be finite, >= 0, and positive somewhere.
  /// The midpoint value differs from the cell average by O(width^2).
  static GridDensity from_density(std::shared_ptr<const Grid> grid, const std::function<Vector(const ConstMatrixRef&)>& density);
  /// N(mean, covariance) restricted to the box. Cell averages by products of distribution functions where the covariance is diagonal, else at the centres.
  static GridDensity gaussian(std::shared_ptr<const Grid> grid, const ConstVectorRef& mean, const ConstMatrixRef& covariance);

  [[nodiscard]] int dimension() const { return grid_ ? grid_->dimension() : 0; }
  [[nodiscard]] const Grid& grid() const { return *grid_; }
  [[nodiscard]] const std::shared_ptr<const Grid>& grid_ptr() const { return grid_; }
  [[nodiscard]] const Vector& values() const { return values_; }
  [[nodiscard]] const Vector& coordinates() const { return values_; }
  [[nodiscard]] GridDensity with_coordinates(Vector values) const;
  [[nodiscard]] double mass() const;
  [[nodiscard]] Vector mean() const;        ///< of the piecewise-constant density
  [[nodiscard]] Matrix covariance() const;  ///< likewise: width^2/12 of each axis included

 private:
  std::shared_ptr<const Grid> grid_;
  Vector values_;
};

/// int |a - b| dx of the piecewise-constant densities; the grids must be equal (ShapeError).
[[nodiscard]] double l1_distance(const GridDensity& a, const GridDensity& b);

}  // namespace jko
