#pragma once
/// Profile-likelihood intervals.
#include <jko/estimators/fit.hpp>

#include <string_view>

namespace jko::estimators {

struct ProfileOptions {
  double level = 0.95;       ///< in (0, 1)
  double tolerance = 1e-6;   ///< an end psi is accepted when | sqrt(2 (l_max - l_profile(psi))) - z | <= tolerance, z^2 the chi-square quantile with one degree
  int max_refits = 100;      ///< a side, >= 2
  FitOptions fit{};          ///< of the fits inside
};

/// One end of the interval.
struct ProfileEnd {
  double value = 0;          ///< infinite where the likelihood never falls far enough
  Status status = Status::not_run;  ///< parameter_at_bound: the interval ends at the parameter's bound, where the likelihood has not fallen far enough
};

/// { psi : 2 (l_max - l_profile(psi)) <= chi2 }, l_profile the maximum over the other parameters ([BarndorffNielsenCox1994]). Unlike
/// estimate -+ z s.e. it does not depend on how the parameter is written, and it may be one-sided or infinite.
struct Profile {
  std::string name;
  double estimate = 0, level = 0;
  ProfileEnd lower, upper;
  Vector points, deviance;   ///< every point visited, sorted, with 2 (l_max - l_profile); the estimate with 0 included
  int refits = 0;
  bool higher_found = false; ///< a refit exceeded the fit's maximum by more than the tolerance: that fit was no maximum, and the interval is void
};

/// `fit` is what `refit` returned (its maximum, its covariance for the first guesses). Throws DomainError for an unknown or fixed parameter, and
/// where the fit has no standard error for it. About four to six refits an end.
[[nodiscard]] Profile profile(const Fit& fit, std::string_view parameter, const Refit& refit, const ProfileOptions& options = {});

}  // namespace jko::estimators
