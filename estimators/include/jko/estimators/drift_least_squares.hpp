#pragma once
/// Least squares on the drift, and quadratic variation for beta: the two-stage estimator of a Langevin model in any dimension.
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/models/model.hpp>

namespace jko::estimators {

/// theta minimises sum_i |dX_i - b(X_i; theta) dt_i|^2/dt_i, b = -grad Psi, and 2/beta = (1/(n d)) sum_i |dX_i|^2/dt_i: the drift's equation does not know beta, beta's not
/// theta. Gauss-Newton with the exact gradient; where b is linear in theta it is the closed form, reached in one step.
///
/// As T -> infinity, n dt^2 -> 0 (theory.md 3(e)): covariance((theta, beta)) = [(beta/2) sum_i dt_i (d b/d theta)(d b/d theta)']^{-1} (+) 2 beta^2/(n d), with the observed in place of
/// the expected second derivative; the sandwich is that of the two equations together, cross terms included. theta^ is the Euler pseudo-likelihood's (any beta gives the same maximum);
/// beta^ is not: the Euler maximum takes the drift's square off the quadratic variation. In stationarity E|dX|^2 = 2 d dt/beta - dt^2 E|b|^2 + O(dt^3), so that beta^ is too large by the
/// relative amount (beta dt/(2d)) E|b|^2, and the joint Euler beta by twice that.
/// A fixed beta stays, and scales the covariance. Cost: one evaluation of b and its derivatives an iteration. Wrong where dt is coarse (inconsistent at fixed dt): use likelihood.hpp.
/// Throws for data that do not fit the model; constant data have no quadratic variation and are refused.
[[nodiscard]] Fit fit_drift_least_squares(const Panel& panel, const Model& start, const FitOptions& options = {});

}  // namespace jko::estimators
