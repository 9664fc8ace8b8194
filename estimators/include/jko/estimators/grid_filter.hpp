#pragma once
/// One-dimensional diffusions observed with measurement noise: the likelihood by a filter on a grid.
#include <jko/estimators/likelihood.hpp>
#include <jko/models/diffusion.hpp>

namespace jko::estimators {

struct GridFilterOptions {
  double cells_per_noise = 2;    ///< coarse cells in one noise deviation, >= 1.5, where sigma is largest among the data
  double tolerance = 1e-2;       ///< a fit refines its grid until |log L - log L on a grid 1.5 times finer| <= tolerance, three times at most
  Index most_cells = 400;        ///< of the coarse grid, >= 64
  void validate() const;
};

/// Y_i = X_{t_i} + e_i, e_i ~ N(0, noise^2) independent, noise > 0; X is the diffusion. Value and derivatives in (theta, noise). Each path begins from N(y_0, noise^2) on the state space, the flat prior's posterior given its first
/// observation (as in kalman_likelihood.hpp), so that n is the number of transitions. Observations may lie outside the state space; gaps in time are longer transitions.
///
/// X is a Markov chain on a finite-volume grid (cells of equal length in y = int dx/sigma, both ends reflecting), whose transition matrices exp(dt Q) are exact to 1e-12, and the noise density multiplies node by node: a filter for
/// finitely many states, exact for the chain, without noise of its own, and differentiable: the scores are those of the discrete filter. The same on half the cell; log p is extrapolated from both
/// (Richardson, order two). The value is that of cells 1.5 times finer than asked for, and `error` what it moved by from those asked for, plus rounding. Observations some seven deviations from their forecast have no digits: density zero.
///
/// Cost: 24 n^2 operations for each distinct dt and parameter, and about (10 noise/h)^2 for each transition and parameter, n = range/h nodes. The grid must resolve the noise: where noise is far below the data's range (n above
/// most_cells), or zero, this is the wrong method, and a transition likelihood without noise nearly right. Linear drift and constant sigma: Kalman is exact and faster.
[[nodiscard]] LikelihoodValue grid_filter_log_likelihood(const Panel& panel, const Diffusion& diffusion, double noise, const GridFilterOptions& options = {}, bool with_scores = false);

/// Maximum likelihood in (theta, noise) from the start; fix the last parameter where the noise is known. The grid follows the estimate: it is made again where the noise has moved, or where `tolerance` asks for more cells.
/// sigma and the noise are told apart only by the correlation of successive increments (kalman_likelihood.hpp).
[[nodiscard]] Fit fit_grid_filter(const Panel& panel, const Diffusion& start, double noise, const GridFilterOptions& options = {}, const FitOptions& fit_options = {});

}  // namespace jko::estimators
