#pragma once
/// A free energy learned from unpaired snapshots by the first-order conditions of the JKO step, in one dimension.
#include <jko/energies/free_energy.hpp>
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/estimators/hypothesis.hpp>

namespace jko::estimators {

struct FirstOrderOptions {
  int degree = 4;                 ///< test functions z, z^2/2, ..., z^degree/degree of the standardised coordinate; 1 to 8
  std::vector<bool> fixed{};      ///< by parameter in the order of FreeEnergy::parameters(); empty = none
  double tolerance = 1e-8;        ///< stops when every parameter moves by at most tolerance standard errors
  int max_iterations = 200;       ///< >= 1
  double identification = 1e-3;   ///< level of the rank test below which parameters count as identified
};

struct FirstOrderFit {
  Fit fit;                        ///< covariance and sandwich are the same: sampling error of all snapshots, optimal maps included
  Vector conditions;              ///< the residual moments, step after step, `degree` each
  Matrix condition_covariance;
  TestResult overidentification;  ///< Hansen's: do the steps agree on one energy? Small p: wrong family, or steps too large (error O(tau)); degrees of freedom 0: cannot tell
  TestResult rank;                ///< of the weakest direction's gradient; large p: not identified
};

/// A JKO step of length tau ends where its optimal map T back to the start obeys, at the points of arrival ([JKO1998]; [Terpin2024] use it to learn),
///   (T(x) - x)/tau = Psi'(x; theta) + beta^{-1} (log rho)'(x) + (W' * rho)(x).
/// Multiplied by phi'(x) and integrated over the arrival law, the density goes away by parts:
///   E phi' (T - x)/tau = E phi' Psi' - beta^{-1} E phi'' + E phi' (W' * rho).
/// T sorts, one sample against the next. With K steps and q test functions these are K q conditions, linear in (1/beta) and in whatever enters the energy
/// linearly; they are solved by iterated optimally weighted least squares ([Hansen1982]). Their covariance is exact to first order: the map's share
/// comes from the influence functions of sorted samples, and neighbouring steps share a snapshot.
///
/// The energy may have a potential, entropy and interaction. For data of the gradient flow itself (not of its JKO scheme) the estimate is off by O(tau), the error
/// of implicit Euler: for Psi = kappa/2 (x-mu)^2 the mean gives (e^{kappa tau} - 1)/tau. Leaving out the entropy of a diffusing population is no small
/// error (docs/methods/first_order_conditions.md). Within one step of Gaussian data a quadratic potential and beta are not identified: the rank test says
/// singular_information. Monomials need moments up to twice the degree: for heavy tails lower it. Cost O(K n q^2), with an interaction O(K n^2).
[[nodiscard]] FirstOrderFit fit_first_order(const Snapshots& snapshots, const FreeEnergy& start, const FirstOrderOptions& options = {});

}  // namespace jko::estimators
