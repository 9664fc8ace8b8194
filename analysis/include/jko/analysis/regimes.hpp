#pragma once
/// The joint regimes of online statistical JKO (theory.md 2.6): what the error looks like for every a = mh, centring and batch estimator.
#include <jko/analysis/limit_case.hpp>

#include <string_view>

namespace jko::analysis {

/// rho^{h,m} = rho_t + h eta_t + (h/m)^{1/2} U_t + b_t/m + smaller, so with a = mh
///   (m/h)^{1/2}(rho^{h,m} - rho_t) = U_t + sqrt(a) eta_t + b_t/sqrt(a) + smaller:
/// an unbiased batch estimator has the central limit theorem for a -> 0 only; a biased one for no a. What removes which term:
enum class Centring {
  law,        ///< at rho_t: both terms stay
  corrected,  ///< at rho_t + h eta_t: eta is removed
  scheme,     ///< at the JKO flow at the true parameters: eta is removed too, without its PDE
};
[[nodiscard]] std::string_view name(Centring centring);

/// A batch estimator to the order that matters here.
struct BatchEstimator {
  Matrix covariance;  ///< Sigma = lim m Cov(theta_m), P x P
  Vector bias;        ///< lim m (E theta_m - theta), P
};

struct RegimeTerms {
  Vector corrector;   ///< <phi_i, eta_t>
  Vector bias;        ///< <phi_i, b_t>
  Matrix covariance;  ///< of <phi_i, U_t>
};

/// d_t b = L* b + div(rho_t grad Psi_b) + c_b Lap rho_t, b_0 = 0, Psi_b = d_theta Psi . bias + tr(d_theta^2 Psi Sigma)/2 (Sigma's block of theta) and
/// c_b = -bias_beta/beta^2 + Sigma_beta,beta/beta^3, the expansion of E 1/beta_m. Each part second order in the grid.
[[nodiscard]] RegimeTerms regime_terms(const LimitCase& c, const BatchEstimator& estimator, const std::vector<Functional>& phi);

/// The mean of (m/h)^{1/2}(<phi_i, rho^{h,m}> - centre) to this order: sqrt(a) eta + b/sqrt(a), eta left out unless the centring is at the law. a > 0.
[[nodiscard]] Vector regime_shift(const RegimeTerms& terms, Centring centring, double a);
/// The largest |shift_i| over its standard deviation: below 0.1, intervals at 95 % cover at least 94.88 %.
[[nodiscard]] double regime_bias_ratio(const RegimeTerms& terms, Centring centring, double a);

}  // namespace jko::analysis
