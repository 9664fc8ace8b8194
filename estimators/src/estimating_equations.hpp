#pragma once
/// Solving an unbiased estimating equation g(theta) = sum_i g_i(theta) = 0 with as many components as parameters.
#include <jko/estimators/fit.hpp>
#include <jko/models/model.hpp>

#include <functional>

namespace jko::estimators {

struct EquationValue {
  Vector value;          ///< g, component j belonging to parameter j; not finite where theta is inadmissible
  Matrix sensitivity;    ///< S = -E dg/dtheta
  Matrix variance;       ///< sum of the conditional covariances of g_i under the model
  Matrix terms;          ///< P x n, one column an observation; only when asked for
};
using Equation = std::function<EquationValue(const Vector& parameters, bool with_terms)>;

/// Damped scoring theta += S^{-1} g from x, the step halved until |S^{-1} g(trial)|, in units of the standard errors, has fallen (the natural monotonicity test [Deuflhard2004], which no change of
/// units or of the equations' basis moves). Bounds as in maximise.hpp: a parameter that its step would carry over a closed bound is held there, with its equation. Sets everything of the fit but its labels:
/// covariance S^{-1} V S^{-T} with the model's V, sandwich S^{-1} (sum g_i g_i') S^{-T}.
void solve_equations(const Equation& equation, const std::vector<Parameter>& list, const FitOptions& options, Vector& x, Fit& fit);

}  // namespace jko::estimators
