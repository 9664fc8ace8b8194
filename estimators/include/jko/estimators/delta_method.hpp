#pragma once
/// Functions of the estimates with their standard errors.
#include <jko/estimators/fit.hpp>

#include <functional>
#include <string_view>

namespace jko::estimators {

/// g(theta^) with the covariances G C G', G = dg/dtheta, for the information's C and the sandwich's; errors O(1/n) relative where g is smooth.
/// Wrong where G vanishes at the estimate (the limit is then no Gaussian) and poor where g bends within a standard error: use profile.hpp or bootstrap.hpp.
struct DeltaMethod {
  std::vector<std::string> names;
  Vector value;
  Matrix gradient;                       ///< functions x parameters
  Matrix covariance, sandwich;
  [[nodiscard]] Vector standard_errors() const;
  [[nodiscard]] Vector sandwich_errors() const;
  [[nodiscard]] Matrix intervals(double level = 0.95, bool use_sandwich = false) const;  ///< functions x 2
};

/// Any function; its derivative by Richardson-extrapolated central differences over a twentieth of a standard error (error O(step^4)). Parameters without an error are held.
[[nodiscard]] DeltaMethod delta_method(const Fit& fit, const std::function<Vector(const Vector&)>& function, std::vector<std::string> names = {});

/// A formula in the fit's parameter names, such as "log(2)/kappa", differentiated symbolically. Throws ParseError for what cannot be parsed and
/// DomainError for a name that is no parameter of the fit.
[[nodiscard]] DeltaMethod delta_method(const Fit& fit, std::string_view formula);

}  // namespace jko::estimators
