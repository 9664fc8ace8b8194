#pragma once
/// Sums of a Gaussian kernel over pairs of points by gridding, to a stated accuracy.
#include <jko/core/types.hpp>

#include <vector>

namespace jko {

/// With A and C the normal densities of variances a^2 = s^2/10 and c^2 = s^2 - 2 a^2, per axis,
///
///   G_s(x - y) = int int A(x - g) C(g - g') A(g' - y) dg dg',
///
/// and both integrals are sums over a grid of width w: the sources' charges are spread to the grid by A, convolved along each axis by C, and gathered by A (its
/// derivative for gradients). The products under the integrals are Gaussians in g of variances v = a^2 c^2/(a^2 + c^2) and v' = a^2 (a^2 + c^2)/s^2, for which the sum errs
/// by a relative 2 exp(-2 pi^2 v/w^2) (Poisson's formula), whatever x and y; A is cut at r a, C at r c, which leaves out e^{-r^2/2} of their peaks. w and r are chosen so that
///
///   |sum - exact| <= tail G(0) sum|q| for values,   tail G(0)/s sum|q| for each component of a gradient,
///
/// beside rounding (about 1e-15 of the same). Cost: (2r a/w)^d grid cells a point, twice; 2r c/w taps a cell and axis.
class GriddedSums {
 public:
  /// The grid for points in the box [low, high], in 1 to 3 dimensions; 0 < tail < 1.
  struct Plan {
    double width = 0;       ///< w
    Index reach = 0;        ///< cells of A to each side of a point
    Index taps = 0;         ///< cells of C to each side
    std::vector<Index> cells;
    Vector lower;           ///< centre of cell 0
    [[nodiscard]] double size() const;  ///< cells in all, as a number: it may be huge
    /// Estimated nanoseconds of one sum for this many points, sources and targets together.
    [[nodiscard]] double nanoseconds(double points, bool gradient) const;
  };
  [[nodiscard]] static Plan plan(const ConstVectorRef& low, const ConstVectorRef& high, double bandwidth, double tail);

  GriddedSums(Plan plan, const ConstMatrixRef& targets, const ConstMatrixRef& sources, double bandwidth, int threads);
  /// Row 0: sum_j q_j G(x_i - y_j); with `gradient` rows 1 to d: its gradient in x_i.
  [[nodiscard]] Matrix sum(const ConstVectorRef& charges, bool gradient) const;

 private:
  struct Points {
    Matrix at;                       // d x n, ordered along the grid's memory
    std::vector<Index> original;
    std::vector<Index> base;         // d numbers a point: the cell at or below it
  };
  [[nodiscard]] Points ordered(const ConstMatrixRef& points) const;
  void weights(const Points& points, Index i, double* w, double* slope) const;
  void spread(const Vector& charges, Vector& field) const;
  void convolve(Vector& field) const;

  Plan plan_;
  Points targets_, sources_;
  double a_;
  int threads_, d_;
  Vector kernel_;                    // taps + 1 weights of C, times w
};

}  // namespace jko
