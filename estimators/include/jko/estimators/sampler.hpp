#pragma once
/// Bayes: Metropolis samplers over a log-likelihood and priors.
#include <jko/core/progress.hpp>
#include <jko/core/types.hpp>

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

namespace jko::estimators {

/// A log-density in the parameters and its gradient; -infinity (with any gradient) outside the support.
struct LogDensity {
  double value = 0;
  Vector gradient;
};
using LogDensityFunction = std::function<LogDensity(const Vector& parameters)>;

/// Prior of one parameter.
struct Prior {
  enum class Kind {
    flat,        ///< on (lower, upper)
    normal,      ///< mean location, deviation scale
    log_normal,  ///< log has mean location and deviation scale; positive parameters
    gamma,       ///< shape location, scale scale; positive parameters
  };
  Kind kind = Kind::flat;
  double location = 0, scale = 1;
  double lower = -std::numeric_limits<double>::infinity(), upper = std::numeric_limits<double>::infinity();  ///< the prior is cut there (its constant is not)
};

/// log prior + log likelihood, with its gradient; the likelihood is not called where the prior is zero. Throws DomainError for a prior that is none.
[[nodiscard]] LogDensityFunction posterior(const std::vector<Prior>& priors, LogDensityFunction log_likelihood);

enum class Proposal {
  random_walk,  ///< N(x, s^2 C): needs no gradient
  langevin,     ///< N(x + s^2 C grad/2, s^2 C), Metropolis-adjusted (MALA; [RobertsTweedie1996]): fewer steps for smooth posteriors
};

struct SamplerOptions {
  Proposal proposal = Proposal::random_walk;
  int chains = 4;              ///< >= 2, from starts scattered by the preconditioner
  int warm_up = 1000;          ///< steps a chain in which s and C adapt; none of them is kept
  int draws = 2000;            ///< kept steps a chain, >= 4
  std::uint64_t seed = 1;
  int threads = 1;             ///< chains in parallel; the draws do not depend on it
  Observer* observer = nullptr;
};

struct Posterior {
  std::vector<Matrix> chains;   ///< parameters x draws each
  std::vector<Vector> log_density;
  Vector acceptance;            ///< of the kept steps, a chain each; random walk aims at 0.25, Langevin at 0.57
  Vector mean, deviation;       ///< over all chains
  Matrix covariance;
  Vector effective_size;        ///< of all draws together, by Geyer's initial monotone sequence ([Geyer1992]) with the between-chain variance
  Vector split_rhat;            ///< each chain halved ([Gelman2013]); above 1.01 the chains have not mixed
  bool cancelled = false;       ///< the observer stopped it between chains; nothing is kept
  [[nodiscard]] Vector quantile(double probability) const;
  [[nodiscard]] Vector monte_carlo_error() const;  ///< of the means: deviation/sqrt(effective size)
};

/// Metropolis from `start` with C = `scale` (a covariance: a fit's) at first. In the warm-up s follows the acceptance rate by stochastic approximation
/// ([AndrieuThoms2008]), and C becomes the chain's own covariance at its half; afterwards both are frozen, so that the kept draws are of a Markov chain that leaves the
/// posterior invariant. Throws DomainError where the density is zero at the start. Wrong for several well-separated modes: split_rhat says so only if the starts find them.
[[nodiscard]] Posterior sample(const LogDensityFunction& log_density, const ConstVectorRef& start, const ConstMatrixRef& scale, const SamplerOptions& options = {});

/// Effective size and split R^ of one quantity: a column of draws a chain.
struct Mixing {
  double effective_size = 0, split_rhat = 0;
};
[[nodiscard]] Mixing mixing(const ConstMatrixRef& chains);

}  // namespace jko::estimators
