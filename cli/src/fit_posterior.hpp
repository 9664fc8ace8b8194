#pragma once
/// Posterior sampling of `jko fit --posterior`.
#include "fit_json.hpp"
#include "fit_problem.hpp"

#include <string>

namespace jko::cli {

struct PosteriorArguments {
  std::string proposal;   ///< random-walk or langevin; empty: none is asked for
  std::string priors;     ///< "kappa=gamma:2:0.5,mu=normal:0:1": normal, log-normal (location, deviation) and gamma (shape, scale); flat where none is given
  std::string file;       ///< CSV of all kept draws; empty: none
  int chains = 4, warm_up = 1000, draws = 2000;
};

struct PosteriorSummary {
  std::string text;
  Json json;
};

/// Samples the free parameters from the fit's estimate with its covariance, between the problem's bounds. Throws where the estimator has no likelihood or a prior is none of a parameter's.
[[nodiscard]] PosteriorSummary sample_posterior(const Problem& problem, const estimators::Fit& fit, const PosteriorArguments& arguments, double level, std::uint64_t seed, int threads);

}  // namespace jko::cli
