#include <jko/core/error.hpp>
#include <jko/flows/grid_refinement.hpp>

#include "../measures/grid_transfer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko {
namespace {

void check_divides(Index cells, Index by, const std::string& what) {
  if (cells % by != 0) throw ShapeError(fmt::format("grid_refinement: {} is {}, but must be a multiple of {}", what, cells, by));
}

void check_cells(const Grid& grid, Index by) {
  for (std::size_t axis = 0; axis < grid.cells.size(); ++axis) {
    if (grid.cells[axis] > 1) check_divides(grid.cells[axis], by, fmt::format("cells of axis {}", axis + 1));
  }
}

double distance(const GridDensity& a, const GridDensity& b) { return l1_distance(a, b); }
double distance(const QuantileFunction& a, const QuantileFunction& b) { return w2(a, b); }

}  // namespace

GridDensity coarsened(const GridDensity& density) {
  check_cells(density.grid(), 2);
  auto half = std::make_shared<Grid>(density.grid());
  for (Index& n : half->cells) n = std::max<Index>(1, n / 2);
  Vector values = averaged(density.grid(), *half, density.values());
  return {std::move(half), std::move(values)};
}

QuantileFunction coarsened(const QuantileFunction& measure) {
  check_divides(measure.cells(), 2, "cells");
  const Index n = measure.cells() / 2;
  Vector masses = measure.masses().reshaped(2, n).colwise().sum().transpose();
  masses /= masses.sum();
  return {std::make_shared<const Vector>(std::move(masses)), Vector(measure.nodes()(Eigen::seqN(0, n + 1, 2)))};
}

void check_refinable(const GridDensity& start) { check_cells(start.grid(), 4); }
void check_refinable(const QuantileFunction& start) { check_divides(start.cells(), 4, "cells"); }

template <class Measure>
GridRefinement grid_refinement(const Measure& start, const Measure& result, const std::function<FlowResult<Measure>(const Measure&)>& run) {
  check_refinable(start);
  GridRefinement out;
  const Measure half = coarsened(start);
  const FlowResult<Measure> medium = run(half);
  if (!is_success(out.status = medium.status)) return out;
  const FlowResult<Measure> coarse = run(coarsened(half));
  if (!is_success(out.status = coarse.status)) return out;
  const auto between = [](const Measure& finer, const Measure& coarser) {
    const Measure averages = coarsened(finer);
    return distance(averages, averages.with_coordinates(coarser.coordinates()));
  };
  out.fine = between(result, medium.final_state().measure);
  out.coarse = between(medium.final_state().measure, coarse.final_state().measure);
  out.order = std::log2(out.coarse / out.fine);
  if (out.fine == 0) out.error = 0;
  else if (out.fine < out.coarse) out.error = out.fine / (std::exp2(std::min(out.order, 2.0)) - 1);
  else out.status = Status::order_lost;
  return out;
}

template GridRefinement grid_refinement<GridDensity>(const GridDensity&, const GridDensity&, const std::function<FlowResult<GridDensity>(const GridDensity&)>&);
template GridRefinement grid_refinement<QuantileFunction>(const QuantileFunction&, const QuantileFunction&, const std::function<FlowResult<QuantileFunction>(const QuantileFunction&)>&);

}  // namespace jko
