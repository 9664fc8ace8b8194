#pragma once
/// What the filters share: observations with measurement noise.
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/models/model.hpp>

#include <string>
#include <vector>

namespace jko::estimators {

/// Checks the paths: at least one, each valid, of this dimension, and not all constant.
void check_observations(const char* where, const Panel& panel, Index dimension);

/// The model's parameters and the noise's standard deviation.
[[nodiscard]] std::vector<Parameter> with_noise(std::vector<Parameter> list);

/// (theta, noise).
[[nodiscard]] Vector with_noise(const ConstVectorRef& theta, double noise);

/// Labels of a fit of these data.
void describe(const Panel& panel, std::string estimator, Fit& fit);

}  // namespace jko::estimators
