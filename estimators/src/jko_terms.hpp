#pragma once
/// Densities of all transitions by JKO steps.
#include "transitions.hpp"

#include <jko/estimators/jko_likelihood.hpp>

namespace jko::estimators {

[[nodiscard]] Terms jko_terms(const Transitions& data, const Diffusion& diffusion, const JkoLikelihoodOptions& options);

}  // namespace jko::estimators
