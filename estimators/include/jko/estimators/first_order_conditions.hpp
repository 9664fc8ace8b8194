#pragma once
/// A free energy learned from unpaired snapshots by the first-order conditions of the JKO step.
#include <jko/energies/free_energy.hpp>
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/estimators/hypothesis.hpp>

#include <cstdint>
#include <optional>

namespace jko::estimators {

struct FirstOrderOptions {
  std::optional<int> degree{};    ///< test functions: the monomials of degree 1 to this of the standardised coordinates; 1 to 8; default 4 in one dimension, 2 in more
  std::vector<bool> fixed{};      ///< by parameter in the order of FreeEnergy::parameters(); empty = none
  double tolerance = 1e-8;        ///< stops when every parameter moves by at most tolerance standard errors
  int max_iterations = 200;       ///< >= 1
  double identification = 1e-3;   ///< level of the rank test below which parameters count as identified
  int splits = 4;                 ///< d > 1: random halvings of the snapshots, from which the empirical map's bias is estimated and taken off; 0 = left in
  std::uint64_t seed = 1;         ///< of the halvings
  int threads = 1;                ///< of the transport problems; the numbers do not depend on it
};

struct FirstOrderFit {
  Fit fit;                        ///< covariance and sandwich are the same: sampling error of all snapshots, optimal maps included
  Vector conditions;              ///< the residual moments, step after step, `degree` each
  Matrix condition_covariance;
  Vector correction;              ///< how far taking off the maps' bias moved each estimate (d > 1, splits > 0), to first order; compare with the standard errors
  TestResult overidentification;  ///< Hansen's: do the steps agree on one energy? Small p: wrong family, or steps too large (error O(tau)); degrees of freedom 0: cannot tell
  TestResult rank;                ///< of the weakest direction's gradient; large p: not identified
};

/// A JKO step of length tau ends where its optimal map T back to the start obeys, at the points of arrival ([JKO1998]; [Terpin2024] use it to learn),
///   (T(x) - x)/tau = grad Psi(x; theta) + beta^{-1} grad log rho(x) + (grad W * rho)(x).
/// Multiplied by grad phi(x) and integrated over the arrival law, the density goes away by parts:
///   E grad phi . (T - x)/tau = E grad phi . grad Psi - beta^{-1} E Lap phi + E grad phi . (grad W * rho).
/// T sorts, one sample against the next; in d > 1 dimensions it is the optimal coupling of the two samples (transport/exact.hpp), and
/// the condition a sum over it. With K steps and q test functions these are K q conditions, linear in (1/beta) and in whatever enters the energy
/// linearly; they are solved by least squares whose optimal weights are updated continuously ([Hansen1982], [HansenHeatonYaron1996]): with the
/// weights of the last iterate the estimate has a bias of half a standard error at 500 points. The covariance contains the map's sampling error: in one dimension by the influence
/// functions of sorted samples; in more by those of the linearised Monge-Ampere equation among the test functions (docs/methods/first_order_conditions.md), exact for
/// Gaussian laws and otherwise to O(tau). Neighbouring steps share a snapshot.
///
/// In d > 1 the empirical coupling is biased, log(n)/n in the plane and n^{-2/d} beyond, against a standard error n^{-1/2}: the moments over pairs of random half
/// samples show the bias, which is taken off to leading order; `correction` says what that did, and a warning where it is more than half a standard error.
///
/// The energy may have a potential, entropy and interaction. For data of the gradient flow itself (not of its JKO scheme) the estimate is off by O(tau), the error
/// of implicit Euler: for Psi = kappa/2 (x-mu)^2 the mean gives (e^{kappa tau} - 1)/tau. Leaving out the entropy of a diffusing population is no small
/// error (docs/methods/first_order_conditions.md). Within one step of Gaussian data a quadratic potential and beta are not identified: the rank test says
/// singular_information. Monomials need moments up to twice the degree: for heavy tails lower it. Throws DomainError for a porous-medium part, constant
/// snapshots, fewer conditions than parameters, or d > 1, splits > 0 and fewer than 16 points. Cost O(K n q^2), with an interaction that is not quadratic O(K n^2) evaluations of
/// its kernel an iteration; for d > 1 also 1 + 2 splits transport problems a step, n^2.5 (2000 points: half a second for the whole sample).
[[nodiscard]] FirstOrderFit fit_first_order(const Snapshots& snapshots, const FreeEnergy& start, const FirstOrderOptions& options = {});

}  // namespace jko::estimators
