#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/kalman_likelihood.hpp>
#include <jko/models/families.hpp>

#include <Eigen/Cholesky>
#include "linear_path.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;
using namespace jko::estimators;

namespace {

Path simulate(const LinearSystem& system, double dt, Index n, std::uint64_t index) { return testing::linear_path(system, dt, n, RandomStream(17, "linear path", index)); }

const LinearSystem rotating{Matrix{{-0.8, 1.1}, {-1.3, -0.5}}, Vector{{0.2, -0.1}}, Matrix{{0.6, 0}, {0.2, 0.9}}, 0.3};

}  // namespace

TEST_CASE("without noise: Vasicek in one dimension, the Langevin Ornstein-Uhlenbeck in two") {
  const LinearSystem one{Matrix{{-2.0}}, Vector{{1.0}}, Matrix{{0.7}}, 0};
  const Path path = simulate(one, 0.3, 50, 0);
  const auto kalman = log_likelihood({path}, one), exact = log_likelihood({path}, Diffusion(diffusion_family("vasicek"), Vector{{2, 0.5, 0.7}}), Transition::exact);
  CHECK(std::abs(kalman.value - exact.value) < 1e-11);  // 50 terms of order one
  // d/dc at fixed A is d/dmu / kappa.
  CHECK(std::abs(kalman.gradient[1] - exact.gradient[1] / 2) < 1e-9);
  CHECK(std::abs(kalman.gradient[2] - exact.gradient[2]) < 1e-9);
  const Matrix k{{1.3, 0.4}, {0.4, 0.9}};
  const Vector mu{{0.1, -0.2}};
  const LinearSystem two{-k, k * mu, Matrix::Identity(2, 2), 0};
  const Path plane = simulate(two, 0.3, 50, 1);
  CHECK(std::abs(log_likelihood({plane}, two).value - log_likelihood({plane}, Model(ornstein_uhlenbeck(2), Vector{{1.3, 0.4, 0.9, 0.1, -0.2}}, 2), Transition::exact).value) < 1e-11);
}

TEST_CASE("with noise: the filter's value is the joint Gaussian density of the observations given the first") {
  // Y_1..Y_m given X_0 ~ N(y_0, R^2 I): mean and covariance by summing the laws, m = 4.
  Path path = simulate(rotating, 0.4, 4, 2);
  path.times.tail(2).array() += 0.3;
  const Index m = 4, d = 2;
  Vector mean(m * d);
  Matrix covariance = Matrix::Zero(m * d, m * d);
  Vector x = path.values.col(0);
  Matrix p = 0.09 * Matrix::Identity(2, 2);
  for (Index i = 0; i < m; ++i) {
    const auto law = rotating.law(path.times[i + 1] - path.times[i]);
    x = Vector(law.flow * x + law.shift);
    p = Matrix(law.flow * p * law.flow.transpose() + law.covariance);
    mean.segment(i * d, d) = x;
    Matrix cross = p;
    covariance.block(i * d, i * d, d, d) = p;
    for (Index j = i + 1; j < m; ++j) {
      cross = Matrix(rotating.law(path.times[j + 1] - path.times[j]).flow * cross);
      covariance.block(j * d, i * d, d, d) = cross;
      covariance.block(i * d, j * d, d, d) = cross.transpose();
    }
  }
  covariance.diagonal().array() += 0.09;
  const Vector residual = path.values.rightCols(m).reshaped() - mean;
  const Eigen::LLT<Matrix> factor(covariance);
  const Matrix lower = factor.matrixL();
  const double joint = -0.5 * residual.dot(factor.solve(residual)) - lower.diagonal().array().log().sum() - 0.5 * static_cast<double>(m * d) * std::log(2 * std::numbers::pi);
  CHECK(std::abs(log_likelihood({path}, rotating).value - joint) < 1e-12);
}

TEST_CASE("the tangent filter's gradient is exact") {
  Path path = simulate(rotating, 0.2, 40, 3);
  path.times.tail(15).array() += 0.07;
  const auto value = log_likelihood({path}, rotating, true);
  CHECK((value.scores.rowwise().sum() - value.gradient).cwiseAbs().maxCoeff() < 1e-10);
  const Vector centre = rotating.parameters();
  for (Index i = 0; i < centre.size(); ++i) {
    const auto at = [&](double s) {
      Vector moved = centre;
      moved[i] += s;
      return log_likelihood({path}, rotating.with_parameters(moved)).value;
    };
    // Fourth-order difference: truncation 1e-12 of the fifth derivative, rounding 1e-13/1e-3.
    const double d = 1e-3, difference = (8 * (at(d) - at(-d)) - (at(2 * d) - at(-2 * d))) / (12 * d);
    CHECK(std::abs(difference - value.gradient[i]) < 1e-7 * (1 + value.scores.row(i).cwiseAbs().sum()));
  }
}

TEST_CASE("drift, diffusion and noise are recovered together") {
  // Four standard errors for each of ten parameters: false alarm 6e-4 in all (fixed seed); n = 2000 leaves a bias of A of about 4/T = 0.02, a quarter of its standard error.
  const Path path = simulate(rotating, 0.1, 2000, 4);
  LinearSystem start = rotating;
  start.matrix = -Matrix::Identity(2, 2), start.constant.setZero(), start.diffusion = Matrix::Identity(2, 2), start.noise = 0.2;
  const Fit fit = jko::estimators::fit({path}, start);
  REQUIRE(fit.status == Status::converged);
  const Vector truth = rotating.parameters();
  for (Index i = 0; i < truth.size(); ++i) CHECK(std::abs(fit.estimate[i] - truth[i]) < 4 * fit.standard_errors()[i]);
  // Ignoring the noise is wrong by many standard errors: sigma takes it up.
  FitOptions options;
  options.fixed.assign(static_cast<std::size_t>(truth.size()), false);
  options.fixed.back() = true;
  start.noise = 0;
  const Fit blind = jko::estimators::fit({path}, start, options);
  CHECK(blind.estimate[6] - truth[6] > 10 * blind.standard_errors()[6]);
  CHECK(fit.log_likelihood > blind.log_likelihood + 50);
}

TEST_CASE("misuse of linear systems is one line") {
  LinearSystem bad = rotating;
  bad.diffusion(0, 1) = 1;
  CHECK_THROWS_AS(bad.validate(), DomainError);
  bad = rotating;
  bad.noise = -1;
  CHECK_THROWS_AS(bad.validate(), DomainError);
  bad = rotating;
  bad.constant.resize(3);
  CHECK_THROWS_AS(bad.validate(), ShapeError);
  CHECK_THROWS_AS((void)fit({}, rotating), ShapeError);
  CHECK_THROWS_AS((void)log_likelihood({{Vector{{0, 1}}, Matrix{{1, 2}}}}, rotating), ShapeError);
}
