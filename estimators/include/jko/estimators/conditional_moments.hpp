#pragma once
/// Moments of the transition law: in closed form for Pearson diffusions, by a grid for all others.
#include <jko/models/diffusion.hpp>

#include <vector>

namespace jko::estimators {

/// m_k(x) = E[(X_dt - x)^k | X_0 = x], k = 1, ..., order, and the derivatives in theta.
struct ConditionalMoments {
  Matrix value;                   ///< order x n
  std::vector<Matrix> by_theta;   ///< a parameter each, order x n
  double error = 0;               ///< largest |m_k (extrapolated) - m_k (fine grid)|/m_2^{k/2}: the fine grid's error; 0 for closed forms
};

/// Is b affine and sigma^2 quadratic in x? Then polynomials of degree k stay of degree k under the semigroup (a Pearson diffusion [FormanSorensen2008]: Vasicek, CIR, GBM, Jacobi, Student, OU). Judged
/// numerically at up to 32 of the points: b'' and (sigma^2)''' below 1e-9 of their largest summand, at the parameters and at others near them, so that it holds for the family.
[[nodiscard]] bool has_closed_moments(const Diffusion& diffusion, const ConstVectorRef& points);

/// With b(x + z) = b_0 + b_1 z and sigma^2(x + z) = s_0 + s_1 z + s_2 z^2 the generator maps z^k to k (b_0 + b_1 z) z^{k-1} + k(k-1)/2 (s_0 + s_1 z + s_2 z^2) z^{k-2}, a triangular matrix A on the monomials, and
/// m_k = (exp(dt A))_{0k}: a Taylor series about x in steps over which the diagonal of A moves by at most one. Being about x it has no cancellation: relative accuracy about 1e-14 at any dt. Exact
/// derivatives (forward mode in the five coefficients). Points that share a dt (to 1e-7, with the first order in the difference) take the series at order + 1 Chebyshev points of their range and a
/// polynomial interpolation, which is exact; rounding is then relative to the largest m_k of the range.
///
/// Other diffusions: the backward equation for all starting points at once, as rows of exp(dt Q) of the finite-volume generator Q on a grid of step sqrt(dt)/6 in y = int dx/sigma (Il'in's fitting, exponential exact to 1e-12) that
/// reaches 10 sqrt(dt) beyond the points, and the same on half the step, extrapolated (order two); eight-point interpolation between nodes, twelve Chebyshev points in dt where there are more distinct ones. Measured against
/// closed forms (Vasicek, CIR, Student, GBM; dt from 0.004 to 3): m_1 to 2e-8, m_2 and the derivatives of both to 1e-4, m_4 to 2e-4 m_2^2 (but 0.2 m_2^2 for GBM at sigma^2 dt = 0.3, whose fourth moment lives in the tail), m_8 to
/// 0.1 m_2^4, 1e-3 of a Gaussian's. Near the parameters the grid moves with them: differences of the moments see its error. Both ends of the grid reflect. NaN where a coefficient is not finite. Cost: some 20 ms a patch of 20 sqrt(dt) of y, distinct dt and evaluation.
/// Throws DomainError for order outside 1..8.
[[nodiscard]] ConditionalMoments conditional_moments(const Diffusion& diffusion, const ConstVectorRef& x, const ConstVectorRef& dt, int order);

}  // namespace jko::estimators
