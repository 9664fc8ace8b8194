#pragma once
/// A linear system observed with noise, exactly.
#include <jko/core/random.hpp>
#include <jko/estimators/kalman_likelihood.hpp>

#include <Eigen/Cholesky>

namespace jko::testing {

/// n + 1 observations dt apart, from X = 0.
inline estimators::Path linear_path(const estimators::LinearSystem& system, double dt, Index n, RandomStream random) {
  const auto law = system.law(dt);
  const Index d = system.dimension();
  const Matrix root = law.covariance.llt().matrixL();
  estimators::Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(d, n + 1)};
  Vector x = Vector::Zero(d), z(d);
  for (Index i = 0; i <= n; ++i) {
    random.fill_normal(z);
    path.values.col(i) = x + system.noise * z;
    random.fill_normal(z);
    x = Vector(law.flow * x + law.shift + root * z);
  }
  return path;
}

}  // namespace jko::testing
