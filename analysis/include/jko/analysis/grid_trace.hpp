#pragma once
/// JKO flows of densities on grids as numbers with errors, for the inequalities of flow_inequalities.hpp.
#include <jko/analysis/flow_trace.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/measures/grid_density.hpp>

namespace jko::analysis {

/// Runs `steps` steps of h (EntropicStep, BackAndForthStep) and records F, |dF| and sup|grad dF/drho| of the grid (energies/grid_energy.hpp), and the steps' own residual, gap, certificate
/// and W2 moved. Numbers of the discretised flow: their errors are unknown until trace_refined(). sup|grad dF/drho| is the largest at vertices between cells, and is left out unless the
/// density is positive in all cells. Residuals are kept where the step reports them in L2 (back-and-forth). `states` receives rho_0, ..., rho_n.
template <class Step>
[[nodiscard]] FlowTrace trace_grid_flow(Step step, const GridDensity& start, double h, int steps, std::vector<GridDensity>* states = nullptr);

/// Where the solver's own error is found in a refined trace.
enum class SolverErrors {
  reported,  ///< residual, gap and certificate of each step as reported
  compared,  ///< in the comparison: one of the others has the larger solver error (twice the epsilon, say). The trace then stands for the exact flow, whose residuals are zero
};

/// `fine` with the errors of its numbers bounded by comparison: an error is the sum over `others` of the largest change of that number along the flow. An
/// other is the same flow discretised more coarsely in one respect (half the cells, twice the epsilon, ...); its difference bounds the error of `fine` when the discretisation is in its
/// asymptotic range and converges with order one at least (of order two it is three times the error). Distances to the minimiser and the minimum are compared where both have
/// them. Throws ShapeError unless the traces have equally many points.
[[nodiscard]] FlowTrace trace_refined(FlowTrace fine, const std::vector<FlowTrace>& others, SolverErrors solver = SolverErrors::reported);

/// The Gaussian with a grid density's mean and covariance (the values read as a smooth density at the centres, integrals by the midpoint rule) and Talagrand's bound of its distance,
/// W2^2(rho, gamma) <= 2 lambda_max(covariance) KL(rho | gamma). For nearly Gaussian densities it is small, and W2 between two of them is Bures' up to both bounds.
struct GaussianProxy {
  Gaussian gaussian;
  double bound = 0;
};
[[nodiscard]] GaussianProxy gaussian_proxy(const GridDensity& density);

}  // namespace jko::analysis
