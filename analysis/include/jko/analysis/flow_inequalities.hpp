#pragma once
/// The inequalities that a JKO flow satisfies from its first to its n-th step (theory.md a1, a2, b3, b4, b5, d5, d6), as checks.
///
/// q = 1 + kappa h. The computed steps satisfy the optimality condition up to a residual eps_k, or their objective is within gap_k of the minimum and they within w_k of the exact
/// step; each tolerance is the smaller of what the two can add to the inequality (propagated through the n steps), the certificate of the minimiser where one enters, and the errors of
/// the numbers themselves: rounding, for densities on grids also what refinement shows. Nothing is fitted. Where a tolerance exceeds both sides the instance decides nothing.
///
/// On quantile functions every inequality holds exactly for the discrete problem, not only in the limit of many cells: with fixed masses the measures are a
/// closed convex cone of a Hilbert space (norm x' M x, which is W2), the discrete energy is kappa-convex there (two-point Gauss quadrature is exact on squares), the
/// step is its proximal map, and the proofs use nothing else. The minimiser is then the discrete one.
///
/// Verdict inconclusive, with the reason: no convexity constant is known, it has the wrong sign, the minimiser is not certified, or a step did not converge.
#include <jko/analysis/flow_trace.hpp>
#include <jko/analysis/verdict.hpp>

namespace jko::analysis {

/// Twelve checks, each the worst over the steps (the step is named in the tolerance's derivation). `prefix` starts their ids.
///   descent        W2^2(rho_{k-1}, rho_k)/(2h) <= F(rho_{k-1}) - F(rho_k)                  a1; without kappa: pass where it holds without allowance for the solver
///   descent-sum    sum_k W2^2(rho_{k-1}, rho_k) <= 2h (F(rho_0) - min F)                    a1
///   descent-kappa  F(rho_{k-1}) - F(rho_k) >= (1/h + kappa/2) W2^2                           a2
///   slope-after    |dF|(rho_k) <= W2/h                                                       b4
///   slope-before   W2/h <= |dF|(rho_{k-1})/q                                                 b4
///   envelope       F(rho_{k-1}) - min J <= h |dF|^2(rho_{k-1})/(2q)                          b4
///   contraction    W2(rho_k, pi) <= q^{-k} W2(rho_0, pi)                                     b5, d5; kappa > 0
///   slope-decay    |dF|(rho_k) <= q^{-k} |dF|(rho_0)                                         d5; 1 + kappa h > 0
///   energy-decay   F(rho_k) - min F <= q^{-2k} (F(rho_0) - min F)                            d5; kappa > 0
///   regularisation F(rho_k) - min F <= W2^2(rho_0, pi)/(2kh)                                 d6; kappa > 0 (for the minimiser's certificate)
///   regularisation-kappa, regularisation-sharp: kappa W2^2/(2(q^k - 1)) and kappa W2^2/(2 q^{k-1}(q^k - 1))   d6
[[nodiscard]] std::vector<Check> flow_inequalities(const FlowTrace& trace, const std::string& prefix);

/// b3, kappa >= 0: `distance` = W2(rho_n, rho_t) to the exact flow at t = nh, known up to `distance_error`:
///   W2^2 <= h (F(rho_0) - min J) <= (h^2/2) |dF|^2(rho_0).
[[nodiscard]] std::vector<Check> a_priori_error(const FlowTrace& trace, double distance, double distance_error, const std::string& prefix);

/// b9, the Lipschitz estimate ([FerrariSantambrogio2021] on bounded convex domains), 1 + kappa h > 0:
///   (1 + kappa h) sup|grad dF/drho[rho_k]| <= sup|grad dF/drho[rho_{k-1}]|.
/// For labelled particles in one dimension with the spacing entropy (and convex interactions, or without entropy and interaction in any dimension) it holds exactly for the
/// discrete energy: at the particle that moves farthest the two neighbouring gaps change in the direction that helps, which is the maximum principle of the proof. Gaussians:
/// translates of pi only, the constant is infinite otherwise. Inconclusive, with the reason, for quantile functions (no maximum principle) and blobs.
[[nodiscard]] Check lipschitz_estimate(const FlowTrace& trace, const std::string& prefix);

/// b5, one dimension only: W2(rho_k, nu_k) <= q^{-k} W2(rho_0, nu_0) between two flows with the same h; `distances` are those of rho_k and nu_k, k = 0, ..., n.
/// In two dimensions or more the check is inconclusive: no theorem says so there.
[[nodiscard]] Check contraction_between(const FlowTrace& a, const FlowTrace& b, const ConstVectorRef& distances, const std::string& prefix);

}  // namespace jko::analysis
