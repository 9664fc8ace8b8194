#pragma once
/// Second order in time for every step on grids, by combining the densities of two flows.
#include <jko/flows/flow.hpp>
#include <jko/measures/grid_density.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/finite_volume_step.hpp>

#include <vector>

namespace jko {

struct DensityExtrapolation {
  Status status = Status::not_run;  ///< converged; order_lost where the extrapolated density was negative by more than the error estimate in L1
  GridDensity density;              ///< of order p + 1
  double error = 0;                 ///< L1 distance of `fine` from it: an estimate of fine's error, and a bound of density's where h is in the asymptotic range
  double clipped = 0;               ///< mass of the negative part that was set to zero
};

/// From the same time computed with step h (`coarse`) and h/2 (`fine`) by a scheme of order p (JKO: 1): (2^p fine - coarse)/(2^p - 1), negative parts set
/// to zero and mass one again. The errors of the two flows must be those of the step size: the bias of entropic steps below h^2, and the same epsilon
/// in both. Wrong where fronts move between the two densities by more than a few cells: densities are combined pointwise. The grids must be equal
/// (ShapeError).
[[nodiscard]] DensityExtrapolation extrapolate(const GridDensity& coarse, const GridDensity& fine, int order = 1);

struct ExtrapolatedFlow {
  FlowResult<GridDensity> result;  ///< as from Flow, but of the extrapolated densities; see extrapolated_flow()
  std::vector<double> error;       ///< of each of its states: DensityExtrapolation::error, 0 at the start
};

/// Richardson's scheme for a grid flow: JKO flows with h and h/2 side by side, extrapolated after every step of h; order two in time where the flow is smooth from its start
/// on. Neither flow sees the extrapolated densities. Where an entropic step's epsilon is 0 it is chosen once, from the start, for both flows. Records: k, t and h of the coarse
/// flow; energy, moments and smallest density of the extrapolated density; residual the largest and iterations the sum of the three steps; gap, w2_bound, w2_moved and objective NaN, since the
/// extrapolated sequence minimises nothing. Shared sensitivities are extrapolated likewise (the clipping of negative parts apart). Status: the flows', or order_lost
/// as at extrapolate(). Throws DomainError for another scheme than jko, adaptive steps and parameters of each step.
/// Defined for BackAndForthStep, EntropicStep and FiniteVolumeStep.
template <class Step>
[[nodiscard]] ExtrapolatedFlow extrapolated_flow(const Step& step, const GridDensity& start, const FlowOptions& options, Observer* observer = nullptr);

}  // namespace jko
