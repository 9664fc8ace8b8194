#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/grid_filter.hpp>
#include <jko/estimators/kalman_likelihood.hpp>
#include <jko/estimators/particle_filter.hpp>
#include <jko/models/families.hpp>

#include <Eigen/Eigenvalues>
#include "linear_path.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

/// The linear system whose exact law over m steps of h is Euler's for dX = K (mu - X) dt + s dW: A = log(1 - K h)/h, and the noise that gives s^2 h a step. Kalman is then an exact oracle of what the particles simulate.
LinearSystem euler_system(const Matrix& k, const Vector& mu, double s, double h, double noise) {
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(k);
  const Vector a = (1 - h * eigen.eigenvalues().array()).log() / h;
  const Vector q = s * s * h * 2 * a.array() / ((2 * h * a.array()).exp() - 1);
  const Matrix u = eigen.eigenvectors(), matrix = u * a.asDiagonal() * u.transpose(), spread = u * q.asDiagonal() * u.transpose();
  return {matrix, -matrix * mu, spread.llt().matrixL(), noise};
}

Path simulate(const LinearSystem& system, double dt, Index n, std::uint64_t index) { return testing::linear_path(system, dt, n, RandomStream(31, "noisy path", index)); }

const Matrix curvature{{1.3, 0.4}, {0.4, 0.9}};
const Vector centre{{0.1, -0.2}};
constexpr double dt = 0.3, noise = 0.3;
constexpr int substeps = 4;
const Vector plane_values{{1.3, 0.4, 0.9, 0.1, -0.2}};
constexpr double beta = 2;
double exact(const Panel& panel, const ConstVectorRef& p) {  // k_1_1, k_2_1, k_2_2, mu_1, mu_2, beta, noise
  return log_likelihood(panel, euler_system(Matrix{{p[0], p[1]}, {p[1], p[2]}}, p.segment(3, 2), std::sqrt(2 / p[5]), dt / substeps, p[6])).value;
}

}  // namespace

TEST_CASE("two dimensions: the likelihood's estimate is unbiased for the Kalman likelihood of the Euler steps, by either proposal") {
  const Panel panel{simulate(euler_system(curvature, centre, 1, dt / substeps, noise), dt, 12, 0)};
  Vector all(7);
  all << plane_values, beta, noise;
  const double truth = exact(panel, all);
  const Model model(ornstein_uhlenbeck(2), plane_values, beta);
  double deviation[2] = {0, 0};
  for (const Proposal proposal : {Proposal::bootstrap, Proposal::guided}) {
    constexpr int runs = 80;
    double sum = 0, square = 0, spread = 0;
    for (int k = 0; k < runs; ++k) {
      const auto value = particle_log_likelihood(panel, model, noise, {.proposal = proposal, .particles = 150, .substeps = substeps, .replicates = 2, .lag = 1, .seed = static_cast<std::uint64_t>(100 + k)});
      sum += value.value, square += value.value * value.value, spread += value.variance;
    }
    const double mean = sum / runs, variance = square / runs - mean * mean;
    // An unbiased, nearly log-normal estimate has its logarithm low by half its variance, that of a replicate, twice that of the pair's mean. Four standard errors: false alarm 6e-5 each (fixed seed).
    CHECK(std::abs(mean + spread / runs - truth) < 4 * std::sqrt(variance / runs));
    // The reported variance, averaged, against that over seeds: relative deviations sqrt(2/80) = 0.16 each; four of the ratio's.
    CHECK(std::abs(std::log(spread / runs / variance)) < 4 * 0.22);
    deviation[proposal == Proposal::guided] = std::sqrt(variance);
  }
  CHECK(deviation[1] < 0.7 * deviation[0]);  // guidance pays where the noise is below the motion, 0.3 against 0.5
}

TEST_CASE("two dimensions: the scores are the Kalman gradient, within their reported Monte-Carlo error") {
  const Panel panel{simulate(euler_system(curvature, centre, 1, dt / substeps, noise), dt, 60, 1), simulate(euler_system(curvature, centre, 1, dt / substeps, noise), dt, 20, 2)};
  Vector all(7);
  all << plane_values, beta, noise;
  const auto value = particle_log_likelihood(panel, Model(ornstein_uhlenbeck(2), plane_values, beta), noise, {.particles = 250, .substeps = substeps, .replicates = 12, .lag = 15}, true);
  CHECK((value.scores.rowwise().sum() - value.gradient).cwiseAbs().maxCoeff() < 1e-10);
  // Five deviations estimated with 11 degrees of freedom, seven of them: P(|t_11| > 5) = 4e-4, false alarm 3e-3 (fixed seed). The lag's bias, exp(-15 dt/memory) with a memory of about a second, is a hundredth.
  for (Index i = 0; i < 7; ++i) {
    const auto at = [&](double s) {
      Vector moved = all;
      moved[i] += s;
      return exact(panel, moved);
    };
    const double d = 1e-3, gradient = (8 * (at(d) - at(-d)) - (at(2 * d) - at(-2 * d))) / (12 * d);
    const double error = std::sqrt(value.score_variance(i, i));
    CHECK(std::abs(value.gradient[i] - gradient) < 5 * error);
    CHECK(error < 0.35 * std::sqrt(value.expected(i, i)));  // and that error is small against the score's own deviation: the comparison means something
  }
}

TEST_CASE("one dimension: particles and grid agree on a double well and on a square-root diffusion that comes close to zero") {
  struct Case {
    const char* family;
    Vector theta;
    double x0, noise;
  };
  for (const Case& c : {Case{"cubic", Vector{{2, 2, 1}}, 0.8, 0.3}, Case{"cir", Vector{{1, 0.5, 0.6}}, 0.3, 0.1}}) {
    const Diffusion diffusion(diffusion_family(c.family), c.theta);
    Path path{Vector::LinSpaced(31, 0, 6), Matrix(1, 31)};
    RandomStream random(37, "noisy path", 0);
    double x = c.x0;
    for (Index i = 0; i < 31; ++i) {
      path.values(0, i) = x + c.noise * random.normal();
      for (int k = 0; k < 50; ++k) x = std::abs(x + 0.004 * diffusion.drift(x) + std::sqrt(0.004) * diffusion.diffusion(x) * random.normal());
    }
    const auto grid = grid_filter_log_likelihood({path}, diffusion, c.noise, {.cells_per_noise = 4});
    // Euler's error is of order one in the substep: extrapolated from 16 and 32; what the second order leaves is below (0.2/16)^2 a transition, 0.005.
    const auto coarse = particle_log_likelihood({path}, diffusion, c.noise, {.particles = 500, .substeps = 16, .replicates = 8, .lag = 1}), fine = particle_log_likelihood({path}, diffusion, c.noise, {.particles = 500, .substeps = 32, .replicates = 8, .lag = 1});
    const double value = 2 * (fine.value + 4 * fine.variance) - (coarse.value + 4 * coarse.variance), error = std::sqrt(4 * fine.variance + coarse.variance);
    // Five deviations with about seven degrees of freedom: P(|t_7| > 5) = 1.6e-3 each (fixed seed).
    CHECK(std::abs(value - grid.value) < 5 * error + 0.005 + grid.error);
    CHECK(error < 0.2);
  }
}

TEST_CASE("the fit in two dimensions is the maximum of the Kalman likelihood, within its Monte-Carlo error") {
  // Half a unit of noise, as much as the motion: the data know it.
  const Panel panel{simulate(euler_system(curvature, centre, 1, dt / substeps, 0.5), dt, 200, 3)};
  const Model start(ornstein_uhlenbeck(2), Vector{{1, 0, 1, 0, 0}}, 1.5);
  FitOptions options;
  options.fixed = {false, true, false, true, true, false, false};
  const Model from = start.with_parameters(Vector{{1, 0.4, 1, 0.1, -0.2, 1.5}});
  const Fit fit = fit_particle_filter(panel, from, 0.4, {.particles = 150, .substeps = substeps, .replicates = 4, .lag = 10}, options);
  REQUIRE(fit.status == Status::converged);
  // The exact maximum, by Newton from the estimate with differences of the exact value in units of the standard errors: the quadratic model is good to third order in a step of a fraction of them.
  const std::vector<Index> free{0, 2, 5, 6};
  const Vector errors = fit.standard_errors();
  Vector gradient(4);
  Matrix hessian(4, 4);
  const auto at = [&](Index a, double s, Index b, double t) {
    Vector moved = fit.estimate;
    moved[free[static_cast<std::size_t>(a)]] += s * errors[free[static_cast<std::size_t>(a)]];
    moved[free[static_cast<std::size_t>(b)]] += t * errors[free[static_cast<std::size_t>(b)]];
    return exact(panel, moved);
  };
  const double d = 0.1;
  for (Index a = 0; a < 4; ++a) {
    gradient[a] = (at(a, d, a, 0) - at(a, -d, a, 0)) / (2 * d);
    for (Index b = 0; b < 4; ++b) hessian(a, b) = (at(a, d, b, d) - at(a, d, b, -d) - at(a, -d, b, d) + at(a, -d, b, -d)) / (4 * d * d);
  }
  const Vector step = -hessian.inverse() * gradient;  // in standard errors
  const Matrix exact_covariance = (-hessian).inverse();
  for (Index a = 0; a < 4; ++a) {
    const Index i = free[static_cast<std::size_t>(a)];
    // Three Monte-Carlo deviations (false alarm 1 % for four parameters; fixed seed), and the lag's bias and the curvature's error: a twentieth of a standard error.
    CHECK(std::abs(step[a]) < 3 * fit.monte_carlo_errors[i] / errors[i] + 0.05);
    CHECK(fit.monte_carlo_errors[i] < 0.4 * errors[i]);
    // The outer product of 200 scores against the observed information: each information has a relative deviation of about sqrt(2/200) = 0.1; the noise's variance is the inverse of a matrix whose correlations of
    // up to 0.9 (noise and beta) amplify that by 1/(1 - 0.9^2) = 5 at most. One deviation so amplified.
    CHECK(std::abs(std::log(exact_covariance(a, a))) < 0.5);
  }
}

TEST_CASE("misuse of the particle filter is one line; the bits do not depend on threads") {
  const Panel panel{simulate(euler_system(curvature, centre, 1, dt / substeps, noise), dt, 5, 4), simulate(euler_system(curvature, centre, 1, dt / substeps, noise), dt, 4, 5)};
  const Model model(ornstein_uhlenbeck(2), plane_values, beta);
  CHECK_THROWS_AS((void)particle_log_likelihood(panel, model, 0), DomainError);
  CHECK_THROWS_AS((void)particle_log_likelihood(panel, model, 1, {.particles = 3}), DomainError);
  CHECK_THROWS_AS((void)particle_log_likelihood(panel, model, 1, {.replicates = 1}), DomainError);
  CHECK_THROWS_AS((void)particle_log_likelihood({}, model, 1), ShapeError);
  CHECK_THROWS_AS((void)particle_log_likelihood(panel, Diffusion(diffusion_family("cir"), Vector{{1, 1, 1}}), 1), ShapeError);
  const auto one = particle_log_likelihood(panel, model, noise, {.particles = 64}), three = particle_log_likelihood(panel, model, noise, {.particles = 64, .threads = 3});
  CHECK(one.value == three.value);
  CHECK((one.gradient.array() == three.gradient.array()).all());
}
