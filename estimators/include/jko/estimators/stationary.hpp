#pragma once
/// Maximum likelihood from independent draws of the stationary law.
#include <jko/estimators/fit.hpp>
#include <jko/models/model.hpp>

namespace jko::estimators {

/// log L = sum_i [-beta Psi(x_i) - log Z], Z = int exp(-beta Psi) dx, in one dimension, with exact derivatives: those of log Z are moments
/// under the model, by the trapezoidal rule in t with x = c + s sinh(t), doubled until log Z moves by less than 1e-12 (algebraic tails included).
/// The value is -infinity where the potential is not confining (exp(-beta Psi) does not decay) or infinite at a sample.
///
/// Only beta Psi is identified: a family whose parameters can absorb a factor (Ornstein-Uhlenbeck, double well, quartic) needs beta fixed
/// (FitOptions::fixed), else the status is singular_information. The draws must be independent: for a path, whose points are correlated, the
/// standard errors are too small; use likelihood.hpp.
[[nodiscard]] Fit fit_stationary(const ConstVectorRef& sample, const Model& start, const FitOptions& options = {});

/// log Z of exp(-beta Psi); +infinity where the potential is not confining.
[[nodiscard]] double log_partition(const Model& model);

}  // namespace jko::estimators
