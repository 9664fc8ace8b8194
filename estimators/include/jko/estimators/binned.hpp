#pragma once
/// Binned counts as data: multinomial likelihoods of the stationary law, and of a JKO flow at several times.
#include <jko/energies/free_energy.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/estimators/hypothesis.hpp>
#include <jko/flows/flow.hpp>
#include <jko/measures/quantile_function.hpp>

#include <vector>

namespace jko::estimators {

/// counts[j] independent draws fell into (edges[j], edges[j+1]]; the first edge may be -infinity and the last +infinity. Where they are finite, draws outside were not recorded: the likelihood is conditional on the range.
struct BinnedCounts {
  Vector edges;   ///< m + 1 >= 3, strictly increasing
  Vector counts;  ///< m, whole numbers >= 0, not all zero
  void validate() const;  ///< throws one line naming the first bad index
  [[nodiscard]] double total() const { return counts.sum(); }
};

struct BinnedFit {
  Fit fit;
  std::vector<Vector> probabilities;  ///< of the cells at the estimate, a vector a time
  TestResult pearson;                 ///< sum (count - n p)^2/(n p), chi-square with (cells - 1) times - P degrees of freedom; none where that is not positive
  double smallest_expected = 0;       ///< of the counts: below about 5 the tests' chi-square law is poor
};

/// log L = sum_j c_j log p_j, p_j = int_cell exp(-beta Psi)/int_range exp(-beta Psi), in one dimension, with exact derivatives: those of log p_j are means of d(beta Psi) over the cell less over the range. Cells by
/// 20-point Gauss-Legendre panels, doubled until log of the integral moves by less than 1e-12; infinite cells in t with x = edge +- s sinh(t). As with draws (stationary.hpp) only beta Psi is identified. As cells shrink it becomes fit_stationary.
[[nodiscard]] BinnedFit fit_binned(const BinnedCounts& counts, const Model& start, const FitOptions& options = {});

struct BinnedFlowOptions {
  int steps = 10;                ///< JKO steps between two times, >= 1
  Scheme scheme = Scheme::vim;   ///< jko (error O(h)) or vim (error O(h^2))
  FitOptions fit{};              ///< by parameter in the order of FreeEnergy::parameters()
};

/// Counts at times[k] > 0 (increasing; independent draws of the law then) under the JKO flow from `start` at time 0, taken as known: p_j = F(edge_{j+1}) - F(edge_j), F the flow's distribution function with its exact sensitivity.
/// covariance is the inverse expected information, sandwich with the counts' own squares between. The discretisation's error is that of the start's cells (the distribution function is linear on them) and of the steps: refine both and compare. Status as the flow's where it does not exist.
[[nodiscard]] BinnedFit fit_binned_flow(const ConstVectorRef& times, const std::vector<BinnedCounts>& counts, const FreeEnergy& energy, const QuantileFunction& start, const BinnedFlowOptions& options = {});

}  // namespace jko::estimators
