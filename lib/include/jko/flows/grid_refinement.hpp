#pragma once
/// How far a flow on a grid is from the flow on the continuum, estimated by the same flow on half and on a quarter of the cells of each axis.
#include <jko/flows/flow.hpp>
#include <jko/measures/grid_density.hpp>
#include <jko/measures/quantile_function.hpp>

#include <functional>
#include <limits>

namespace jko {

/// The same measure on half of the cells of each axis: averages over the finer cells (GridDensity; axes of one cell stay), every second node (QuantileFunction).
/// Throws ShapeError for odd numbers of cells.
[[nodiscard]] GridDensity coarsened(const GridDensity& density);
[[nodiscard]] QuantileFunction coarsened(const QuantileFunction& measure);

/// Distances in L1 between cell averages (GridDensity) or in W2 (QuantileFunction), of results at the same time on n, n/2 and n/4 cells an axis.
struct GridRefinement {
  /// converged; order_lost where the distances do not fall: the grids are too coarse for an estimate, or other errors (epsilon, tolerances) are larger; the status of the coarser
  /// flow that failed.
  Status status = Status::not_run;
  double fine = std::numeric_limits<double>::quiet_NaN();    ///< between n and n/2 cells
  double coarse = std::numeric_limits<double>::quiet_NaN();  ///< between n/2 and n/4 cells
  double order = std::numeric_limits<double>::quiet_NaN();   ///< p = log2(coarse/fine)
  double error = std::numeric_limits<double>::quiet_NaN();   ///< fine/(2^min(p, 2) - 1), of the result on n cells: an asymptotic estimate, not a bound
};

/// `result` is what `run` gives from `start` at its last time. Methods are of order two in the width at best, so a higher observed order is put down to chance. Steps that choose
/// epsilon from the grid choose it anew on each, and its bias is then part of the error. Costs 2^-d + 4^-d of the flow for a step of O(cells). Throws ShapeError unless
/// the numbers of cells are multiples of four.
template <class Measure>
[[nodiscard]] GridRefinement grid_refinement(const Measure& start, const Measure& result, const std::function<FlowResult<Measure>(const Measure& start)>& run);

/// Throws ShapeError as grid_refinement() would.
void check_refinable(const GridDensity& start);
void check_refinable(const QuantileFunction& start);

}  // namespace jko
