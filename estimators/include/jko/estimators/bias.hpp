#pragma once
/// Bias of estimates from short paths, and its correction.
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>

#include <functional>
#include <optional>

namespace jko::estimators {

/// Expected error of the exact maximum-likelihood estimate of (kappa, mu, beta) from n transitions of a stationary Ornstein-Uhlenbeck path at spacing dt,
/// to order 1/n. With phi = e^{-kappa dt}: E phi^ - phi = -(1 + 3 phi)/n (Kendall), Var phi^ = (1 - phi^2)/n, the residual variance has
/// relative bias -2/n and relative variance 2/n, independent; then a second-order Taylor expansion. For kappa this is
/// (5 + 2 e^{kappa dt} + e^{2 kappa dt})/(2T), which tends to 4/T ([TangChen2009]); mu has none by symmetry.
[[nodiscard]] Vector exact_ou_bias(double kappa, double beta, double dt, Index n);

/// Jackknife over m >= 2 consecutive stretches ([PhillipsYu2005]): m/(m-1) theta^ - sum_j theta^_j/(m (m-1)), which removes a bias c/T exactly; the
/// variance grows a little. Answers nothing where an estimate is missing.
using VectorEstimator = std::function<std::optional<Vector>(const Panel&)>;
[[nodiscard]] std::optional<Vector> jackknife(const Path& path, int stretches, const VectorEstimator& estimator);

}  // namespace jko::estimators
