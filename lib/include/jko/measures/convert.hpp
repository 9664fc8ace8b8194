#pragma once
/// One kind of measure into another, with what the conversion changed.
#include <jko/measures/gaussian.hpp>
#include <jko/measures/grid_density.hpp>
#include <jko/measures/particles.hpp>
#include <jko/measures/quantile_function.hpp>

#include <cstdint>

namespace jko {

template <class Measure>
struct Converted {
  Measure measure;
  double w2_bound = 0;  ///< W2(before, after) is at most this
};

/// One particle at the centre of each cell with mass at least `smallest_mass`, the weights scaled to sum 1. The uniform law of a cell lies
/// sqrt(sum width^2/12) from its centre; a left-out mass m may travel the box's diagonal D: bound sqrt((1 - m) sum width^2/12 + m D^2).
[[nodiscard]] Converted<Particles> to_particles(const GridDensity& density, double smallest_mass = 0);
/// One particle at the middle of each cell: W2^2 = sum mass width^2/12 exactly.
[[nodiscard]] Converted<Particles> to_particles(const QuantileFunction& quantiles);
/// n independent draws; their distance is random (E W2^2 of order n^{-2/d}, d >= 5; log n/n for d = 2), so there is no bound to state.
[[nodiscard]] Particles sample(const Gaussian& gaussian, Index n, std::uint64_t seed);

/// The Gaussian with the particles' mean and covariance (these are exact; no bound holds for W2). Throws DomainError where the covariance is singular.
[[nodiscard]] Gaussian to_gaussian(const Particles& particles);
/// One dimension: cells between neighbouring points with the mean of their weights, scaled to sum 1; the bound is the exact distance. At least two, distinct.
[[nodiscard]] Converted<QuantileFunction> to_quantiles(const Particles& particles);
/// One dimension: the same piecewise-constant density (distance 0). Throws DomainError where a cell between positive ones is empty: the quantile function jumps.
[[nodiscard]] Converted<QuantileFunction> to_quantiles(const GridDensity& density);

/// Each particle's mass spread evenly over its cell; no_flux boxes refuse particles outside (DomainError), periodic ones wrap them. Distance at most
/// sqrt(sum_i w_i sum_k (width_k^2/12 + offset_ik^2)), the cost of spreading each particle over its cell.
[[nodiscard]] Converted<GridDensity> to_grid(const Particles& particles, std::shared_ptr<const Grid> grid);
/// One dimension: cell averages from the distribution function; mass moves within cells only: at most the width. Mass outside the box throws DomainError.
[[nodiscard]] Converted<GridDensity> to_grid(const QuantileFunction& quantiles, std::shared_ptr<const Grid> grid);

/// The kernel density estimate sum_i w_i G(x - x_i) at the cell centres, scaled to mass 1 (no_flux boxes only). Adds s^2 I to the covariance, and its
/// W2 distance to the particles is at most s sqrt(d) before the truncation to the box; `outside` is the mass that the scaling restored.
struct DensityEstimate {
  GridDensity density;
  double outside = 0;
};
[[nodiscard]] DensityEstimate density_estimate(const Particles& particles, std::shared_ptr<const Grid> grid, double bandwidth, int threads = 1);

}  // namespace jko
