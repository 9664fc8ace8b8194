#pragma once
#include <jko/estimators/bands.hpp>

namespace jko::estimators {

/// The band of estimates whose errors are response * N(0, I); the critical value is that of the rows 0, stride, 2 stride, ...
[[nodiscard]] Band response_band(Vector estimate, Vector abscissa, const Matrix& response, Index stride, const BandOptions& options);
/// C^{1/2} of a covariance, eigenvalues below zero by rounding cut.
[[nodiscard]] Matrix covariance_root(const ConstMatrixRef& covariance);
void validate(const BandOptions& options);

}  // namespace jko::estimators
