#pragma once
/// Transition densities of any one-dimensional diffusion from its Fokker-Planck equation, to near rounding.
#include <jko/models/diffusion.hpp>

namespace jko::estimators {

/// p(x' | x; dt) by a spectral expansion. In the Lamperti coordinate y = int dx/sigma the generator is similar to -H, H = -1/2 d^2/dy^2 + V,
/// V = (mu^2 + mu')/2 with mu = b/sigma - sigma'/2, and
///   p(x' | x) = exp(S(x') - S(x))/sigma(x') sum_k e^{-lambda_k dt} psi_k(y) psi_k(y'),  S' = mu.
/// H is diagonalised on a window about the data in the sine basis (collocation: exponentially accurate for smooth coefficients); states with
/// e^{-(lambda_k - lambda_0) dt} < 1e-15 are dropped, which also fixes the basis; psi_k at a point is read from a table by eight-point interpolation.
/// Where dt is small against the width of the window, the window is covered by overlapping patches whose edges no path reaches between two observations
/// (probability below e^{-50}). One diagonalisation serves every dt of the same size (factor 4).
///
/// The derivatives in theta are those of the semigroup, dP = int_0^dt P_{dt-s} dL P_s ds, in the same basis: exact to the same accuracy.
///
/// Accuracy of the series: absolute, below 4e-14 e^{-lambda_0 dt}/sqrt(dt) exp(S(x') - S(x))/sigma(x'). Where that leaves less than 1e-8 of log p (from about five deviations of the model on), log p is the third-order
/// short-time expansion l_3 ([AitSahalia2002], `hermite_3`: relatively accurate at any distance) if max(|l_3 - l_2|, |l_2 - l_1|^{3/2}), taken for its error, is the smaller of the two. A
/// transition of which neither knows log p to within one counts as inadmissible (density zero): more than some eight deviations over a dt too coarse for the expansion. Sharper than finite volumes by ten digits at a tenth of the size for smooth coefficients. Wrong choice: a boundary of
/// the state space that the process reaches or comes close to (V is singular there; use the exact law, where there is one), coefficients with kinks.
/// The error says which.
struct FokkerPlanckDensity {
  Vector log_density;  ///< -infinity where no digits are left
  Vector log_error;    ///< estimate of its rounding and truncation, infinite there; what the basis leaves unresolved is in `error` alone
  double error = 0;    ///< largest |p - p'| over the pairs, p' from the next finer basis
  Index states = 0;    ///< eigenfunctions kept, over all patches
};

/// At pairs (x[i], next[i]); `refinement` r >= 0 makes the basis 1.25^r times finer and the margins 1 + 0.15 r times wider. Throws DomainError for points outside the state space.
[[nodiscard]] FokkerPlanckDensity fokker_planck_density(const Diffusion& diffusion, const ConstVectorRef& x, const ConstVectorRef& next, double dt, int refinement = 0);

}  // namespace jko::estimators
