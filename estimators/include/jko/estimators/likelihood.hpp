#pragma once
/// Transition likelihoods of Langevin models in any dimension, with exact gradients.
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/models/model.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace jko::estimators {

enum class Transition {
  exact,         ///< the model's own law; offered for quadratic potentials, and for diffusions that have one (DiffusionFamily::Law)
  euler,         ///< X' ~ N(x + b D, sigma^2 D)
  elerian,       ///< the Milstein scheme's own law, a shifted chi-squared ([Elerian1998]); equals Euler where sigma is constant
  kessler_1,     ///< Gaussian, with the first two moments expanded in D by the generator to this order ([Kessler1997]); the variance is the
  kessler_2,     ///<   difference of the expanded moments, as in [Iacus2008], and may be negative where D is coarse
  kessler_3,
  kessler_4,
  ozaki,         ///< [Iacus2008]: undefined where the mean changes sign, not translation invariant; offered for comparison only
  shoji_ozaki,   ///< local linearisation ([ShojiOzaki1998]): exact for linear drift and constant sigma; sigma(x) frozen otherwise
  hermite_1,     ///< [AitSahalia2002] with the Hermite sum carried to infinity, in the logarithm: the error of log p is O(D^2), O(D^3), O(D^4) for |X' - X| = O(sqrt D); never negative,
  hermite_2,     ///<   so there is no inadmissible term, but not normalised, and wild where D is coarse (compare the orders)
  hermite_3,
  strang,        ///< Strang splitting about a fixed point of the drift ([PilipovicSamsonDitlevsen2024]); any dimension, in one for any sigma(x) (in y = int dx/sigma); exact for linear drift and constant sigma; the backward flow of half a step may not exist where D
                 ///<   is coarse: density zero
  pedersen,      ///< simulated (simulated_likelihood.hpp, default options): plain Euler paths
  modified_bridge,  ///< simulated: paths drawn towards the end point
  jko,           ///< by JKO steps from a narrow law (jko_likelihood.hpp); one dimension
  fokker_planck, ///< numerical law to near rounding, any D (fokker_planck_density.hpp)
};
[[nodiscard]] std::vector<std::string> transition_names();
[[nodiscard]] std::string_view name(Transition transition);
[[nodiscard]] Transition transition_from_name(std::string_view name);  ///< throws DomainError

/// Log-likelihood sum_i log p(x_{i+1} | x_i; D_i) and its derivatives in (theta, beta). With b = -grad Psi, L = -Hess Psi (symmetric),
/// M = -grad(Lap Psi)/beta, phi_1(z) = (e^z - 1)/z, phi_2(z) = (e^z - 1 - z)/z^2, the local linearisation has
///   mean x + D phi_1(L D) b + D^2 phi_2(L D) M,   covariance (2D/beta) phi_1(2 L D).
/// An inadmissible term (a covariance that is not positive or not finite) makes the value -infinity; it is never dropped.
/// Schemes beyond exact, Euler and Shoji-Ozaki are those of the diffusion (diffusion_likelihood.hpp), d = 1. Cost: O(n) evaluations of Psi's derivatives; in d > 1 one symmetric eigenproblem a transition.
struct LikelihoodValue {
  double value = 0;
  Vector gradient;     ///< exact
  Matrix scores;       ///< P x n, one column a transition; only when asked for
  Matrix expected;     ///< the Fisher information summed over Gaussian transitions, else the sum of the scores' outer products; for scoring
  double variance = 0; ///< of value over the random numbers of a simulated likelihood; zero otherwise
  Matrix score_variance;  ///< of gradient, likewise; empty otherwise
  double error = 0;    ///< numerical error of value, estimated (Fokker-Planck); zero for formulas
};
[[nodiscard]] LikelihoodValue log_likelihood(const Panel& panel, const Model& model, Transition transition, bool with_scores = false);

/// Maximises the likelihood by Fisher scoring with step halving, from the model's parameters (beta from the quadratic variation, then an
/// Euler fit, before a Shoji-Ozaki one); where scoring fails, NLopt's Sbplx searches and scoring polishes. The observed information is a
/// Richardson-extrapolated difference of the exact gradient. A parameter held by a bound counts as known: its errors are zero, and the status is
/// parameter_at_bound. Warns when T is short for mean reversion.
[[nodiscard]] Fit fit(const Panel& panel, const Model& start, Transition transition, const FitOptions& options = {});

}  // namespace jko::estimators
