#pragma once
/// The Fokker-Planck likelihood of a panel.
#include "transitions.hpp"

namespace jko::estimators {

/// Terms of all transitions; scores only where `with_gradient`. refinement as in FokkerPlanckDensity. `states`, if given, counts the eigenfunctions.
[[nodiscard]] Terms fokker_planck_terms(const Transitions& data, const Diffusion& diffusion, bool with_gradient, int refinement, Index* states = nullptr);

}  // namespace jko::estimators
