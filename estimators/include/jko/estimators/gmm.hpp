#pragma once
/// Generalised method of moments, with moments of one's own or those of a diffusion.
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/estimators/hypothesis.hpp>
#include <jko/models/diffusion.hpp>

#include <functional>

namespace jko::estimators {

/// f_i(theta) in columns, E f_i = 0 at the truth.
struct Moments {
  Matrix terms;             ///< q x n
  Matrix jacobian;          ///< q x P, d/dtheta of the mean of the terms
  std::vector<Index> first; ///< first columns of independent stretches (paths) after the first: no autocovariance reaches across; may be empty
};
using MomentFunction = std::function<Moments(const Vector& parameters)>;

enum class GmmWeighting {
  two_step,   ///< W from the fit with the moments' inverse variances at the start as weights
  iterated,   ///< W and theta in turn until theta stands still: does not depend on the start or on the units of the moments
};

constexpr int automatic_lags = -1;

struct GmmOptions {
  GmmWeighting weighting = GmmWeighting::iterated;
  int lags = automatic_lags;  ///< of Bartlett's kernel, >= 0: weights 1 - l/(lags + 1) ([NeweyWest1987]); automatic: floor(4 (n/100)^{2/9}) ([NeweyWest1994], its rule of thumb); 0 for martingale differences
  double tolerance = 1e-7;    ///< iterated weighting stops when every parameter moves by at most tolerance standard errors
  int max_rounds = 100;       ///< of it, >= 1
  FitOptions fit{};           ///< of the minimisations
};

struct GmmFit {
  Fit fit;                        ///< covariance (G'WG)^{-1}/n, W = Omega^{-1} of the last weighting; sandwich with Omega again at the estimate between
  Vector mean;                    ///< of the moments at the estimate
  Matrix long_run;                ///< Omega there, the long-run covariance of f
  int lags = 0;                   ///< that were used
  TestResult overidentification;  ///< Hansen's J = n mean' Omega^{-1} mean, chi-square with q - P degrees of freedom; none where they are 0
};

/// Minimises mean' W mean ([Hansen1982]) by Gauss-Newton with the exact Jacobian (search where that fails). Omega is of the centred moments. q may be at most n/2 and at least the number of free parameters.
/// A warning names a parameter that runs to the open end of its range: the moments then ask for a value beyond it.
/// Status singular_information where Omega or G'WG is singular (moments that are linearly dependent, parameters that they do not know). Less efficient than a likelihood where there is one: use it where only moments are trusted.
[[nodiscard]] GmmFit fit_gmm(const MomentFunction& moments, const std::vector<Parameter>& parameters, const ConstVectorRef& start, const GmmOptions& options = {});

enum class TransitionMoments {
  exact,  ///< conditional_moments.hpp: closed for Pearson diffusions, numerical for others. Martingale differences: lags 0
  euler,  ///< b dt and sigma^2 dt, the moments of [CKLS1992]: off by O(dt)
};

/// The transition's mean and variance against powers of the standardised x: f = (e z^k, (e^2 - phi) z^k), e = X' - F, k = 0, ..., degree, each over the time step's scale (e/dt, (e^2 - phi)/dt). Degree 1 has the four moments
/// of [CKLS1992]; a double well needs 3, since by its symmetry two of those four know nothing.
[[nodiscard]] MomentFunction transition_moments(const Panel& panel, const Diffusion& diffusion, TransitionMoments moments = TransitionMoments::exact, int degree = 1);

/// Stationary moments of the generator: f_k = L (z^k/k) = b z^{k-1}/s + (k - 1) sigma^2 z^{k-2}/(2 s^2), k = 1, ..., degree, z = (x - centre)/s standardised ([HansenScheinkman1995]). Mean zero for any dt, any spacing,
/// and for independent draws alike; they know (b, sigma^2) up to a common factor only: fix one scale. Serially correlated along a path: keep the lags.
[[nodiscard]] MomentFunction generator_moments(const Panel& panel, const Diffusion& diffusion, int degree);

}  // namespace jko::estimators
