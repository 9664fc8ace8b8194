#pragma once
/// Transition likelihoods of one-dimensional Langevin models, with exact gradients.
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/models/model.hpp>

#include <optional>
#include <string_view>

namespace jko::estimators {

enum class Transition {
  exact,         ///< the model's own law; offered for the Ornstein-Uhlenbeck family
  euler,         ///< X' ~ N(x + b D, 2D/beta)
  shoji_ozaki,   ///< local linearisation ([ShojiOzaki1998]): exact for linear drift
};
[[nodiscard]] std::string_view name(Transition transition);
[[nodiscard]] Transition transition_from_name(std::string_view name);  ///< throws DomainError

/// Log-likelihood sum_i log p(x_{i+1} | x_i; D_i) and its derivatives in (theta, beta). With b = -Psi', L = b', M = b''/beta,
/// phi_1(z) = (e^z - 1)/z, phi_2(z) = (e^z - 1 - z)/z^2, the local linearisation has
///   mean x + b D phi_1(L D) + M D^2 phi_2(L D),   variance (2D/beta) phi_1(2 L D).
/// An inadmissible term (a variance that is not positive or not finite) makes the value -infinity; it is never dropped.
struct LikelihoodValue {
  double value = 0;
  Vector gradient;     ///< exact
  Matrix scores;       ///< P x n, one column a transition; only when asked for
  Matrix expected;     ///< sum of the Gaussian transitions' Fisher information, for scoring
};
[[nodiscard]] LikelihoodValue log_likelihood(const Panel& panel, const Model& model, Transition transition, bool with_scores = false);

struct FitOptions {
  std::vector<bool> fixed{};      ///< by parameter in the order (theta, beta); empty = none
  std::vector<double> lower{};    ///< empty = the model's bounds
  std::vector<double> upper{};
  double tolerance = 1e-9;        ///< stops when max_i |d log L/d theta_i| se_i <= tolerance
  int max_iterations = 500;       ///< scoring steps, >= 1
};

/// Maximises the likelihood by Fisher scoring with step halving, from the model's parameters (beta from the quadratic
/// variation, then an Euler fit, when those fail to be a better start). The observed information is a Richardson-extrapolated
/// difference of the exact gradient. One dimension. Warns when T is short for mean reversion.
[[nodiscard]] Fit fit(const Panel& panel, const Model& start, Transition transition, const FitOptions& options = {});

/// Exact maximum likelihood of the 1-D Ornstein-Uhlenbeck process on an even grid in closed form (AR(1) regression); O(n) time, no
/// allocation, for Monte-Carlo loops. ok = false where the fitted autocorrelation is not in (0, 1): no OU process has it.
struct OuEstimate {
  double kappa = 0, mu = 0, beta = 0;
  bool ok = false;
};
[[nodiscard]] OuEstimate exact_ou_estimate(const ConstVectorRef& values, double dt);

/// Covariance of sqrt(n) (kappa, mu, beta) for the exact likelihood at fixed spacing dt (theory.md 3(e)).
[[nodiscard]] Matrix exact_ou_covariance(double kappa, double mu, double beta, double dt);

}  // namespace jko::estimators
