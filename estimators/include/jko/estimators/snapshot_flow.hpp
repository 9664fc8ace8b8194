#pragma once
/// A free energy learned by fitting its whole JKO flow to unpaired snapshots.
#include <jko/energies/free_energy.hpp>
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/flows/flow.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/measures/quantile_function.hpp>

#include <optional>

namespace jko::estimators {

struct SnapshotFlowOptions {
  int steps = 10;                  ///< JKO steps between two snapshots, >= 1
  Scheme scheme = Scheme::vim;     ///< jko (error O(h)) or vim (error O(h^2))
  Index cells = 60;                ///< of the quantile functions where the start is not given, >= 2; cells with fewer than eight points of the smallest snapshot are merged
  std::vector<bool> fixed{};       ///< by parameter in the order of FreeEnergy::parameters(); empty = none
  double tolerance = 1e-7;         ///< stops when every parameter moves by at most tolerance standard errors
  int max_iterations = 100;        ///< >= 1
};

struct SnapshotFlowFit {
  Fit fit;               ///< no likelihood; covariance and sandwich are the same
  Vector distance;       ///< W2 between the flow and each snapshot after the first, both on the cells
};

/// Minimises sum_{k >= 1} W2^2(rho_{t_k}(theta), snapshot k) in one dimension by Gauss-Newton steps. The flow starts at `start`, taken as known, or
/// at the first snapshot (projected on the cells in L2), whose sampling error is then carried through the flow. In the quantile functions' L2 geometry W2 is a norm with the
/// tridiagonal Gram matrix M of the hat functions, so that with the flow's exact tangent S_k = d nodes/d theta
///   A = sum S_k' M S_k,   Cov theta^ = A^{-1} [ sum S_k' C_k S_k + G C_0 G' ] A^{-1},   G = sum S_k' M D_k M^{-1},
/// C_k the covariance of int hat(u) Q^(u) du (an average over the sample, no density needed), D_k the derivative of the flow in its start.
/// Robust where densities are not: any samples do. Less efficient than a likelihood where the law has light tails. Unlike first_order_conditions.hpp the steps of
/// the flow may be as small as one likes, so that there is no O(tau) error; but the optimum is found from a start, and a far one may end in a local minimum.
[[nodiscard]] SnapshotFlowFit fit_snapshot_flow(const Snapshots& snapshots, const FreeEnergy& energy, const std::optional<QuantileFunction>& start = {},
                                                const SnapshotFlowOptions& options = {});

/// Maximises the Gaussian likelihood sum_k sum_i log N(x_ki; m_k(theta), Sigma_k(theta)) of all snapshots after the first, which is to minimise the relative
/// entropy of the snapshots' moments to the flow; any dimension, quadratic potentials. The start as above: known, or the first snapshot's moments with
/// their sampling error, which enters both covariances. Fit::sandwich holds where the snapshots are no Gaussians but have these moments. `cells` is not used.
[[nodiscard]] Fit fit_snapshot_gaussian(const Snapshots& snapshots, const Model& model, const std::optional<Gaussian>& start = {},
                                        const SnapshotFlowOptions& options = {});

}  // namespace jko::estimators
