#pragma once
/// Second order in time for grid densities, which have no geodesics to extrapolate along.
#include <jko/flows/flow.hpp>
#include <jko/measures/grid_density.hpp>

namespace jko {

struct Richardson {
  Status status = Status::not_run;  ///< converged; order_lost where the extrapolated density was negative by more than the error estimate in L1
  GridDensity density;              ///< of order p + 1
  double error = 0;                 ///< L1 distance of `fine` from it: an estimate of fine's error, and a bound of density's where h is in the asymptotic range
  double clipped = 0;               ///< mass of the negative part that was set to zero
};

/// From the same time computed with step h (`coarse`) and h/2 (`fine`) by a scheme of order p (JKO: 1): (2^p fine - coarse)/(2^p - 1), negative parts set
/// to zero and mass one again. The errors of the two flows must be those of the step size: the bias of entropic steps below h^2, and the same epsilon
/// in both. Wrong where fronts move between the two densities by more than a few cells: densities are combined pointwise. The grids must be equal
/// (ShapeError).
[[nodiscard]] Richardson richardson(const GridDensity& coarse, const GridDensity& fine, int order = 1);

}  // namespace jko
