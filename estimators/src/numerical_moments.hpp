#pragma once
/// Conditional moments of any one-dimensional diffusion, by a Markov chain on a grid (diffusion_chain.hpp).
#include <jko/estimators/conditional_moments.hpp>

namespace jko::estimators {

/// As conditional_moments(), for checked arguments.
[[nodiscard]] ConditionalMoments numerical_moments(const Diffusion& diffusion, const ConstVectorRef& x, const ConstVectorRef& dt, int order);

}  // namespace jko::estimators
