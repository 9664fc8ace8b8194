#pragma once
/// Inequalities of single JKO steps against arbitrary measures and test functions (theory.md a3, b1), as checks.
#include <jko/analysis/flow_trace.hpp>
#include <jko/analysis/verdict.hpp>

namespace jko::analysis {

/// The discrete evolution variational inequality for every nu and every step rho -> rho' of size h (AGS 4.1.2(ii), theory.md b1):
///
///   [W2^2(rho', nu) - W2^2(rho, nu) + W2^2(rho, rho')]/(2h) + (kappa/2) W2^2(rho', nu) + F(rho') <= F(nu).
///
/// With a residual eps the right side gains eps D, D = |T_rho^nu - T_rho^rho'| in L2(rho) <= W2(rho, nu) + W2(rho, rho'): that, and rounding, is the tolerance.
/// kappa may be negative as long as 1 + kappa h > 0. On quantile functions it is exact for the discrete problem and D is the distance itself
/// (flow_inequalities.hpp); the nu must then share the masses of `from`. Inconclusive without a convexity constant.
///
/// It is checked with all squares of the left on one side, so that both sides are of the size of the effect.
template <class Step>
[[nodiscard]] Check evolution_variational_inequality(Step step, const std::vector<typename Step::Measure>& from, double h,
                                                     const std::vector<typename Step::Measure>& nu, const std::string& prefix);

/// One step rho -> rho' and one nu as numbers, whatever they came from.
struct EviInstance {
  double energy = 0, energy_nu = 0;               ///< F(rho'), F(nu)
  double moved = 0, from_nu = 0, to_nu = 0;       ///< W2(rho, rho'), W2(rho, nu), W2(rho', nu)
  double solver = 0;                              ///< what the solver's error adds: a residual times |T_rho^nu - T_rho^rho'|, or gap + (1/h + kappa) W2(rho', exact) W2(rho', nu)
  double energy_error = 0;                        ///< of the two energies together
  double distance_error = 0;                      ///< of each distance
};
/// `errors` says where the instances' errors come from.
[[nodiscard]] Check evolution_variational_inequality(const std::optional<Convexity>& convexity, double h, const std::vector<EviInstance>& instances, const std::string& prefix,
                                                     const std::string& errors);

/// The Euler-Lagrange estimate (JKO 1998, theory.md a3) with test functions zeta(x) = cos(a . x + b), one column (a, b) a function:
///
///   |int zeta d(rho' - rho)/h + int (grad Psi . grad zeta - Lap zeta/beta) d rho'| <= sup|Hess zeta| W2^2(rho, rho')/(2h).
///
/// Gaussians: closed forms; tolerance eps |grad zeta| + rounding. Quantile functions: the second integral is taken in the discrete
/// form phi' dF(x'), phi_i = zeta'(x'_i) at the nodes (for the entropy it equals -int zeta'' d rho'/beta exactly, for the potential up to O(cells^-2)); then
/// the inequality is exact up to eps |phi| and the interpolation error (W2/h) sup|zeta'''| sqrt(sum w_i dx_i^4)/8, which are the tolerance. Needs no convexity.
/// Labelled particles: the second integral as sum w_i grad zeta(x'_i) . (1/w_i) dF/dx_i; then it is exact up to eps |grad zeta| for every particle energy, the blob included.
/// Energies: potential and entropy for Gaussians, any for quantile functions and particles.
template <class Step>
[[nodiscard]] Check euler_lagrange(Step step, const std::vector<typename Step::Measure>& from, double h, const ConstMatrixRef& functions, const std::string& prefix);

}  // namespace jko::analysis
