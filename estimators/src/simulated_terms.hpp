#pragma once
/// Simulated densities of all transitions.
#include "transitions.hpp"

#include <jko/estimators/simulated_likelihood.hpp>

namespace jko::estimators {

[[nodiscard]] Terms simulated_terms(const Transitions& data, const Diffusion& diffusion, const SimulatedOptions& options);

}  // namespace jko::estimators
