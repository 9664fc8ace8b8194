#pragma once
/// Bands for grid densities: marginals, moments, expectations, and the density in every cell.
#include <jko/estimators/bands.hpp>
#include <jko/measures/grid_density.hpp>

namespace jko::estimators {

/// The marginal law of one coordinate as a density on a line, and its tangent (line cells x columns) from the measure's (cells x columns; may be empty). The functionals
/// of lines below then need gradients of line cells only.
[[nodiscard]] GridDensity marginal(const GridDensity& measure, int axis);
[[nodiscard]] Matrix marginal_tangent(const GridDensity& measure, const ConstMatrixRef& tangent, int axis);

/// In one dimension, of the piecewise-constant density; gradients in its values at fixed mass. Throw ShapeError in more dimensions: take a marginal.
[[nodiscard]] Functionals quantiles(const GridDensity& line, const ConstVectorRef& levels);       ///< levels in (0, 1)
[[nodiscard]] Functionals distribution(const GridDensity& line, const ConstVectorRef& points);    ///< P(X <= x)
/// Linear between the cell centres, constant beyond the outermost, 0 outside of the box.
[[nodiscard]] Functionals density(const GridDensity& line, const ConstVectorRef& points);

/// In any dimension. moments: the mean, then the lower triangle of the covariance by columns, as for Gaussians (width^2/12 included, as in GridDensity::covariance).
[[nodiscard]] Functionals moments(const GridDensity& measure);
/// E phi(X) by the midpoint rule; phi: d x n points -> n values.
[[nodiscard]] Functionals expectation(const GridDensity& measure, const std::function<Vector(const ConstMatrixRef&)>& phi);

/// The band of the density in every cell, abscissa the cell's number. The simultaneous critical value is that of at most 2^14 cells, evenly chosen: a slightly
/// smaller one on finer grids, by less than the standardised error changes from one such cell to the next. Cost: draws x 2^14 x columns at most.
[[nodiscard]] Band density_band(const GridDensity& measure, const ConstMatrixRef& tangent, const ConstMatrixRef& covariance, const BandOptions& options = {});

}  // namespace jko::estimators
