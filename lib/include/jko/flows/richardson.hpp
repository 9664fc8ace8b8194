#pragma once
/// Richardson extrapolation of a flow in the step size: higher order in time from the schemes that exist, with an error estimate.
#include <jko/flows/flow.hpp>

namespace jko {

struct RichardsonOptions {
  int levels = 3;  ///< flows at h, h/2, ..., h/2^(levels-1); 2 to 6
};

template <class Measure>
struct RichardsonState {
  double t = 0;
  Measure measure;
  double error = 0;         ///< W2 between the last two columns of the table: an estimate, usually pessimistic, of the extrapolated measure's error in time
  double finest_error = 0;  ///< W2 of the finest flow to the extrapolated measure: an estimate of the finest flow's error in time
};

template <class Measure>
struct RichardsonResult {
  Status status = Status::not_run;  ///< that of the flows; order_lost where an extrapolated point is no measure (take a smaller h)
  std::vector<RichardsonState<Measure>> states;  ///< at the kept times of the coarsest flow, the start left out
};

/// The error of a scheme of order p has an expansion c_1 h^p + c_2 h^(p+1) + ... (implicit midpoint: c_1 h^2 + c_2 h^4 + ..., as the scheme is symmetric) in
/// coordinates in which the flow is smooth: the nodes of a quantile function (a Hilbert space), mean and covariance of a Gaussian. The table
///
///   T_{j,0} = rho^{h/2^j},  T_{j,m} = (2^{p_m} T_{j,m-1} - T_{j-1,m-1})/(2^{p_m} - 1)
///
/// removes one term a column; its last entry is returned, at the cost of 2^levels - 1 steps a coarse step. Only the error in time: that of the spatial
/// discretisation stays. Wrong choice where the start is rough (the expansion needs a smooth flow from t = 0 on) and where the scheme's dissipation of energy is
/// wanted step by step: the extrapolated sequence minimises nothing. Throws DomainError for adaptive steps, sensitivities and parameters of each step.
template <class Step>
[[nodiscard]] RichardsonResult<typename Step::Measure> richardson(const Step& step, const typename Step::Measure& start, FlowOptions flow,
                                                                  const RichardsonOptions& options = {}, Observer* observer = nullptr);

}  // namespace jko
