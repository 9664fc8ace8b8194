#pragma once
/// How a numerical computation ended. A Status is data, never an exception; require() turns it into one.
#include <string_view>

namespace jko {

enum class Status {
  not_run,              ///< nothing was computed yet
  converged,            ///< the stopping inequality of the options holds
  stalled,              ///< rounding error keeps the residual above the tolerance; the residual says how far it got
  iteration_limit,      ///< the iteration limit came first
  step_not_convex,      ///< 1 + h kappa <= 0: the step's objective may have several minimisers
  no_minimiser,         ///< the objective is unbounded below or attained at infinity
  not_finite,           ///< the objective is infinite or NaN where it is needed
  order_lost,           ///< a scheme's extrapolation left the set of measures (quantiles crossed, covariance indefinite)
  parameter_at_bound,   ///< the optimum lies on a bound: standard errors there are not those of the theorem
  singular_information, ///< the information matrix is singular: the parameters are not identified
  cancelled,            ///< the user stopped it; what was finished is kept
};

/// True for converged only.
[[nodiscard]] constexpr bool is_success(Status status) { return status == Status::converged; }
/// The enumerator's name, as written in the JSON files.
[[nodiscard]] std::string_view name(Status status);
/// A sentence with the remedy.
[[nodiscard]] std::string_view describe(Status status);
/// The inverse of name(); throws DomainError on an unknown name.
[[nodiscard]] Status status_from_name(std::string_view name);
/// Throws NotConverged "where: sentence" unless is_success(status).
void require(Status status, std::string_view where);

}  // namespace jko
