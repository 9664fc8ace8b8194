#pragma once
/// A proven upper bound of W2 between two near densities on a grid, sharp as they approach each other: the distance that step doubling needs.
#include <jko/core/status.hpp>
#include <jko/measures/grid_density.hpp>

namespace jko {

struct FluxBoundOptions {
  int max_iterations = 2000;  ///< of conjugate gradients, >= 1
  int threads = 1;            ///< >= 1; the bits do not depend on it
  void validate() const;
};

struct FluxBound {
  Status status = Status::not_run;  ///< converged; iteration_limit or stalled where the part left over is the larger share of the value (a bound all the same)
  double value = 0;      ///< >= W2(a, b), in x
  double carried = 0;    ///< what the flux costs
  double left_over = 0;  ///< diameter of the box times (half the L1 norm of what the flux leaves over)^{1/2}; value = carried + left_over
  int iterations = 0;
};

/// The curve (1 - t) a + t b with a flux m that does not depend on t, div m = a - b, costs int |m|^2 int_0^1 dt/((1 - t) a + t b) dx = int |m|^2/Lambda dx, Lambda = (b - a)/log(b/a) the
/// logarithmic mean; by the formula of [BenamouBrenier2000] this is at least W2^2 for every such m. Here m is linear along its axis in each cell between values on the faces
/// (which makes div m constant there, so that the bound is for the piecewise-constant densities themselves), the face values those of the potential that minimises the cost up to
/// a quadrature, -div(Lambda grad psi) = a - b, a weighted H^{-1} norm: equal to W2 to first order in the difference ([Peyre2018] has a factor of two between the two norms). Conjugate gradients leave a
/// residual, and cells where a density is (next to) zero are closed to the flux; what is left over there is moved at the cost of the box's diameter.
///
/// Wrong choice for densities that are far apart or have different supports: the value is a bound, but a poor one (grid_w2.hpp). A periodic box counts as one, its seam included.
/// Memory 15 numbers a cell; 15 to 100 iterations of 60 ns a cell. Grids must be equal (ShapeError).
[[nodiscard]] FluxBound flux_bound(const GridDensity& a, const GridDensity& b, const FluxBoundOptions& options = {});

}  // namespace jko
