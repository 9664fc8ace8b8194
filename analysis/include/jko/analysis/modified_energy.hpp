#pragma once
/// The modified energy that a JKO flow descends (theory.md b6; [HalmosHanin2025]).
#include <jko/measures/gaussian.hpp>
#include <jko/models/model.hpp>

namespace jko::analysis {

/// The exact gradient flow at time t of F_h(rho) = F(rho) - (h/4)|dF|^2(rho) for a quadratic potential: JKO with step h follows it with an error O(h^2) at fixed t, F itself
/// only with O(h). Its velocity v + (h/2)(D_t v) is affine on Gaussians:
///   m' = -K(m - mu) + (h/2) K^2 (m - mu),   S' = B S + S B + (h/2)(C S + S C),   B = -K + S^{-1}/beta,   C = B^2 - (S^{-1} B + B S^{-1})/beta.
/// Classical Runge-Kutta steps, doubled in number until the coordinates change by less than 1e-12 of their size; throws DomainError where 2^16 steps do not reach that.
/// Offered for Gaussians only: on densities F_h is not convex and its flow, of fourth order with the wrong sign, is ill posed; use the
/// corrector (corrector.hpp) there.
[[nodiscard]] Gaussian modified_flow(const Model& model, const Gaussian& start, double h, double t);

}  // namespace jko::analysis
