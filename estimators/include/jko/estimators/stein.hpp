#pragma once
/// Minimum kernel Stein discrepancy: the drift from independent draws of the stationary law, without its normalising constant and robust to outliers.
#include <jko/estimators/fit.hpp>
#include <jko/models/model.hpp>

namespace jko::estimators {

enum class SteinKernel {
  inverse_multiquadric,  ///< (1 + |x - y|^2/l^2)^{-1/2}: the discrepancy controls weak convergence ([GorhamMackey2017])
  gaussian,              ///< exp(-|x - y|^2/(2 l^2)): blind to mass that escapes in the tails of higher dimensions
};

struct SteinOptions {
  SteinKernel kernel = SteinKernel::inverse_multiquadric;
  double bandwidth = 0;   ///< l > 0; 0: the median distance of the points (of the first 1000)
  FitOptions fit{};
};

/// With the score s(x) = -beta grad Psi(x; theta) and a kernel k, minimises ([BarpEtAl2019]; [LiuLeeJordan2016]) the V-statistic
///   KSD^2 = (1/n^2) sum_{i, j} s_i . s_j k_ij + s_i . grad_2 k_ij + s_j . grad_1 k_ij + tr grad_1 grad_2 k_ij,
/// a convex quadratic in s (the U-statistic, without the diagonal, is not convex, and biased by more than a standard deviation at n = 250 in a double well): for families whose score is linear in the parameters (exponential families in theta, beta fixed) a linear system, reached in one step. Any dimension, exact gradient. Both covariances are the sandwich H^{-1} J H^{-1}, J from the
/// projections on single points (n -> infinity; exact to O(1/n)): this is no likelihood. Only beta Psi is identified: fix beta or a scale.
///
/// For l -> infinity in the multiquadric the far points count as much as the near ones; for small l the variance grows. Memory 8 n^2 bytes, time O(n^2 d) an evaluation; n at most 16384. Cheaper and mostly more efficient for light tails: score_matching.hpp;
/// in one dimension stationary.hpp. Like score matching nearly blind to the weights of well-separated wells.
[[nodiscard]] Fit fit_stein(const ConstMatrixRef& sample, const Model& start, const SteinOptions& options = {});

}  // namespace jko::estimators
