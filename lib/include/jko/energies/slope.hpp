#pragma once
/// The metric slope |dF| of the free energy, the gradient it is the norm of, and the first-order error of a step.
#include <jko/energies/free_energy.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/measures/quantile_function.hpp>

namespace jko {

/// The L2 gradient of the discrete energy F of QuantileStep in the nodes: G with M G = dF/dx, M the tridiagonal mass matrix. -G is the velocity of
/// the nodes under the gradient flow of F in that space. Throws DomainError where the nodes do not increase. Cost O(cells), with an interaction O(cells^2).
[[nodiscard]] Vector wasserstein_gradient(const FreeEnergy& energy, const QuantileFunction& measure);
/// |dF| = sqrt(G' M G), the slope of the discrete energy; it tends to sqrt(int |grad mu|^2 rho) with second order in the cells.
[[nodiscard]] double slope(const FreeEnergy& energy, const QuantileFunction& measure);
/// sqrt(|K(m - mu)|^2 + tr(B Sigma B)), B = K - Sigma^{-1}/beta. Throws DomainError unless the energy is a quadratic potential plus entropy.
[[nodiscard]] double slope(const FreeEnergy& energy, const Gaussian& measure);

/// How far `to` is from optimal for min F + W2^2(., from)/(2h): the norm in L2(to) of xi = grad mu[to] + (Id - T)/h, T the optimal map from `to` to
/// `from` (theory.md (c), the per-step error of inexact JKO). Zero exactly for the JKO step; h > 0. The quantile functions must share their masses.
[[nodiscard]] double first_order_error(const FreeEnergy& energy, const QuantileFunction& from, const QuantileFunction& to, double h);
[[nodiscard]] double first_order_error(const FreeEnergy& energy, const Gaussian& from, const Gaussian& to, double h);

}  // namespace jko
