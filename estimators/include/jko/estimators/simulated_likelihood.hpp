#pragma once
/// Simulated transition likelihoods: Pedersen, and the modified Brownian bridge of Durham and Gallant.
#include <jko/estimators/likelihood.hpp>
#include <jko/models/diffusion.hpp>

#include <cstdint>

namespace jko::estimators {

enum class Importance {
  pedersen,         ///< Euler paths to one substep before x', then the Euler density ([Pedersen1995]): the variance explodes with the number of substeps
  modified_bridge,  ///< paths drawn towards x' and weighted ([DurhamGallant2002]): a hundredth of that variance and less
};

struct SimulatedOptions {
  Importance importance = Importance::modified_bridge;
  int substeps = 8;        ///< Euler steps a transition, >= 2; the law simulated is that of these steps, whose error is O(1/substeps)
  int paths = 32;          ///< of a transition, even and >= 4: half of them mirrored
  std::uint64_t seed = 1;  ///< of the normal numbers: transition i of the panel has its own stream, the same for all parameters
  int threads = 1;         ///< >= 1; the bits do not depend on it
  void validate() const;
};

/// log of the mean weight, summed over transitions, with the exact gradient of that (pathwise: the normal numbers are common to all parameters), and what the simulation leaves uncertain: `variance` of value and
/// `score_variance` of the gradient, estimated from the weights of each transition. The logarithm is biased by -variance/2 to first order; value is not corrected for it.
/// A path that leaves the state space has weight zero; a transition all of whose paths do has density zero. Transition::pedersen and Transition::modified_bridge are these with the default options.
/// Cost: paths x substeps evaluations of b, b', sigma, sigma' and their derivatives a transition. Wrong choice in one dimension where the Fokker-Planck likelihood is accurate: that one is faster and has no noise.
[[nodiscard]] LikelihoodValue simulated_log_likelihood(const Panel& panel, const Diffusion& diffusion, const SimulatedOptions& options = {}, bool with_scores = false);

/// Maximises the simulated likelihood with common random numbers; Fit::monte_carlo_errors are the estimates' standard deviations over seeds.
[[nodiscard]] Fit fit_simulated(const Panel& panel, const Diffusion& start, const SimulatedOptions& options = {}, const FitOptions& fit_options = {});

}  // namespace jko::estimators
