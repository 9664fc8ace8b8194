#pragma once
/// Langevin models in any dimension and one-dimensional diffusions, observed with measurement noise: the likelihood by particles.
#include <jko/estimators/likelihood.hpp>
#include <jko/models/diffusion.hpp>

#include <cstdint>

namespace jko::estimators {

enum class Proposal {
  bootstrap,  ///< particles move by the model and are weighted by the noise density ([GordonSalmondSmith1993])
  guided,     ///< each substep leans towards the next observation by as much as the noise lets it ([GolightlyWilkinson2008]); tends to the modified bridge as the noise vanishes
};

struct ParticleFilterOptions {
  Proposal proposal = Proposal::guided;
  int particles = 512;     ///< of a replicate, >= 16
  int substeps = 8;        ///< Euler steps a transition, >= 1; the law is that of these steps, whose error is O(1/substeps)
  int replicates = 4;      ///< independent filters, >= 2: their spread is the Monte-Carlo error
  int lag = 20;            ///< of the fixed-lag smoother behind the scores, in transitions, >= 1
  std::uint64_t seed = 1;  ///< of all random numbers, the same for all parameters
  int threads = 1;         ///< >= 1; the bits do not depend on it
  void validate() const;
};

/// Y_i = X_{t_i} + e_i, e_i ~ N(0, noise^2 I), noise > 0. Each path begins from N(y_0, noise^2 I) on the state space, as in kalman_likelihood.hpp and grid_filter.hpp. Derivatives are in (theta, beta, noise), or (theta, noise) of a diffusion.
///
/// Value: the mean over replicates of the filters' log-likelihoods; `variance` is that of this mean, estimated from the replicates. The likelihood itself is estimated without bias, so its logarithm lies low by half a
/// replicate's variance = replicates * variance/2 to first order; value is not corrected for it. Resampling is systematic, where the effective number of particles is below a half, along sorted particles in one dimension.
/// Scores: Fisher's identity, d log p = E[d log p(path, y) | y], for the Euler path, with each transition's term held for `lag` more observations ([KitagawaSato2001]): the bias falls geometrically in lag over the filter's memory, the
/// variance grows like lag/particles. `expected` is the sum of products of the scores of different replicates: the outer product of the predictive scores without their simulation noise.
/// Value and scores jump where a parameter moves a resampling; they are not each other's derivatives.
///
/// Cost: replicates x particles x substeps evaluations of the drift and its derivatives a transition. Wrong choice in one dimension (the grid filter has no simulation noise and is faster) and for linear drift (Kalman).
[[nodiscard]] LikelihoodValue particle_log_likelihood(const Panel& panel, const Model& model, double noise, const ParticleFilterOptions& options = {}, bool with_scores = false);
[[nodiscard]] LikelihoodValue particle_log_likelihood(const Panel& panel, const Diffusion& diffusion, double noise, const ParticleFilterOptions& options = {}, bool with_scores = false);

/// Where the expected score vanishes: scoring steps with fresh random numbers, cut where the log-likelihood falls by more than its noise, until a step is simulation noise; then `averaged` more with gains 1/k, which
/// average the noise away (Robbins-Monro; [Kushner2003]). Why not maximise: the simulated value is not continuous in the parameters. covariance and sandwich are both the inverse outer product of the predictive
/// scores: right where the model is. monte_carlo_errors: of the estimates over seeds. FitOptions::tolerance is not used: converged where the last score, in standard errors, is within four of its own Monte-Carlo deviations.
constexpr int averaged = 8;
[[nodiscard]] Fit fit_particle_filter(const Panel& panel, const Model& start, double noise, const ParticleFilterOptions& options = {}, const FitOptions& fit_options = {});
[[nodiscard]] Fit fit_particle_filter(const Panel& panel, const Diffusion& start, double noise, const ParticleFilterOptions& options = {}, const FitOptions& fit_options = {});

}  // namespace jko::estimators
