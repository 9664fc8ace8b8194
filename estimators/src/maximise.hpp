#pragma once
/// Maximum likelihood for any log-likelihood with an exact gradient: what the fits share.
#include <jko/estimators/fit.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/models/model.hpp>

#include <functional>

namespace jko::estimators {

/// parameters -> value, gradient, expected information, and scores when asked for.
using Objective = std::function<LikelihoodValue(const Vector& parameters, bool with_scores)>;

/// Names, fixed parameters and bounds of a model with these parameters; throws where the options do not fit it.
[[nodiscard]] Fit prepared_fit(const std::string& model, const std::vector<Parameter>& list, const FitOptions& options);
/// Maximises from x (changed in place): Fisher scoring, NLopt where that fails. Sets status, gradient_norm, iterations.
LikelihoodValue maximise(const Objective& objective, const std::vector<Parameter>& list, const FitOptions& options, Vector& x, Fit& fit);
/// Estimate, log-likelihood, covariance and sandwich at the maximum.
void complete(const Objective& objective, const std::vector<Parameter>& list, const FitOptions& options, const Vector& x, const LikelihoodValue& best, Fit& fit);

/// A minimum-distance estimate, `objective` minus the distance: from the model's parameters to the completed fit. It has no likelihood, and both covariances are the sandwich.
void minimise_distance(const Objective& objective, const Model& start, const FitOptions& options, Fit& fit);

// The same for a Langevin model.
[[nodiscard]] inline Fit prepared_fit(const Model& model, const FitOptions& options) { return prepared_fit(model.potential().describe(), model.parameter_list(), options); }
inline LikelihoodValue maximise(const Objective& objective, const Model& model, const FitOptions& options, Vector& x, Fit& fit) {
  return maximise(objective, model.parameter_list(), options, x, fit);
}
inline void complete(const Objective& objective, const Model& model, const FitOptions& options, const Vector& x, const LikelihoodValue& best, Fit& fit) {
  complete(objective, model.parameter_list(), options, x, best, fit);
}

}  // namespace jko::estimators
