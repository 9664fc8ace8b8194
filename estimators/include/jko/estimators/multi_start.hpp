#pragma once
/// Fits from many starts.
#include <jko/estimators/fit.hpp>

#include <cstdint>

namespace jko::estimators {

struct MultiStartOptions {
  int starts = 8;            ///< >= 1, the given one included
  double spread = 1;         ///< standard deviation of the scatter, see scattered_starts
  double agreement = 1e-4;   ///< starts agree whose log-likelihoods differ by at most this
  std::uint64_t seed = 1;
  int threads = 1;           ///< the result does not depend on it
  FitOptions fit{};
};

/// The given point, then points scattered about it: a parameter with one finite bound at a log-normal multiple of its distance to that bound, one with two
/// uniformly between them, any other at x + spread (1 + |x|) N(0, 1). Parameters marked fixed stay. One column a start.
[[nodiscard]] Matrix scattered_starts(const ConstVectorRef& centre, const ConstVectorRef& lower, const ConstVectorRef& upper, const std::vector<bool>& fixed,
                                      const MultiStartOptions& options = {});

/// The best of the fits from the columns of `starts` (the successful ones first), with Fit::starts and Fit::agreed set. Where few agree the likelihood has
/// several maxima, or the optimiser fails: a warning says how many failed. `refit` is called from several threads.
[[nodiscard]] Fit multi_start(const Refit& refit, const ConstMatrixRef& starts, const MultiStartOptions& options = {});

}  // namespace jko::estimators
