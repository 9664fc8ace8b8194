#pragma once
/// Fits as JSON files.
#include <jko/estimators/fit.hpp>
#include <jko/models/model.hpp>

#include <nlohmann/json.hpp>

#include <string>

namespace jko::cli {

using Json = nlohmann::ordered_json;

[[nodiscard]] Json number(double x);  ///< null where it is not finite
[[nodiscard]] Json numbers(const ConstVectorRef& values);
[[nodiscard]] Json fit_json(const estimators::Fit& fit, const std::string& family);

/// What a flow needs of a fit, in the model's parameter order.
struct FittedParameters {
  Vector estimate;
  Matrix sandwich, information;  ///< covariances
  std::string estimator;
};
/// Throws ParseError where the file is no fit of a model with these parameters.
[[nodiscard]] FittedParameters read_fit(const std::string& file, const std::vector<Parameter>& list);

}  // namespace jko::cli
