#pragma once
/// Which combination of parameters the data do not determine.
#include <jko/core/types.hpp>

#include <string>
#include <vector>

namespace jko::estimators {

/// The information matrix of the free parameters scaled to a unit diagonal (so that units do not matter) has eigenvalues in [0, P]; 1 each for
/// uncorrelated estimates. The smallest is 1/(1 - r^2)-like small where a combination is poorly determined.
struct Identifiability {
  double smallest = 1;        ///< eigenvalue
  Vector direction;           ///< its eigenvector in units of 1/sqrt(I_ii), all parameters (0 for fixed ones), largest entry positive
  std::string combination;    ///< "kappa + 0.71 beta", in those units, entries below a tenth left out
  bool identified = true;     ///< smallest > 1e-12, the threshold below which fits say singular_information
  bool weak = false;          ///< smallest < 1e-4: standard errors are a hundredfold those with the others known
};

[[nodiscard]] Identifiability identifiability(const ConstMatrixRef& information, const std::vector<std::string>& names, const std::vector<bool>& fixed);

}  // namespace jko::estimators
