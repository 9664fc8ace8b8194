#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/snapshot_flow.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/reference/simulate.hpp>
#include <jko/steps/quantile_step.hpp>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

const Model truth(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
const Gaussian first(Vector{{2.0}}, Matrix{{0.09}});
const Gaussian wide(Vector{{2.0}}, Matrix{{1.5}});  // its sampling error outweighs that of the later snapshots
const Vector times{{0.0, 0.3, 0.7, 1.2}};

Snapshots drawn(const Model& model, const Gaussian& from, Index n, std::uint64_t index) {
  Snapshots s{times, {}};
  RandomStream random(23, "snapshot flow", index);
  for (const double t : times) {
    const Gaussian law = OrnsteinUhlenbeck(model).law(from, t);
    const Matrix root = law.covariance().llt().matrixL();
    Matrix x(law.dimension(), n);
    for (double& v : x.reshaped()) v = random.normal();
    s.samples.emplace_back((root * x).colwise() + law.mean());
  }
  return s;
}

/// The estimates' covariance over replications against the reported one, entry by entry in units of the reported errors: 4.5 s.e. each
/// (7e-6 a check, fixed seed) and `slack` for the finite sample size. Also the mean of the estimates, within 4.5 s.e.
template <class Estimate>
void check_covariance(const Estimate& estimate, int replications, double slack) {
  const Fit one = estimate(0);
  const Index p = one.estimate.size();
  Matrix estimates(p, replications), reported = Matrix::Zero(p, p);
  for (int r = 0; r < replications; ++r) {
    const Fit fit = estimate(static_cast<std::uint64_t>(r));
    REQUIRE(fit.status == Status::converged);
    estimates.col(r) = fit.estimate;
    reported += fit.sandwich / replications;
  }
  const Vector mean = estimates.rowwise().mean();
  const Matrix centred = estimates.colwise() - mean, empirical = centred * centred.transpose() / (replications - 1);
  for (Index i = 0; i < p; ++i) {
    CHECK(std::abs(mean[i] - truth.parameters()[i]) < 4.5 * std::sqrt(reported(i, i) / replications) + slack * std::sqrt(reported(i, i)));
    for (Index j = 0; j <= i; ++j) {
      const double unit = std::sqrt(reported(i, i) * reported(j, j)), correlation = reported(i, j) / unit;
      CHECK(std::abs(empirical(i, j) / unit - correlation) < 4.5 * std::sqrt((1 + correlation * correlation) / replications) + slack);
    }
  }
}

}  // namespace

TEST_CASE("fits to Gaussian snapshots: covariance with a known and with an estimated start") {
  // Five steps of the variational midpoint between snapshots: an error of a few 1e-3 of a standard error's size here; 10 % slack covers it and n = 400.
  const SnapshotFlowOptions options{.steps = 5};
  check_covariance([&](std::uint64_t r) { return fit_snapshot_gaussian(drawn(truth, first, 400, r), truth, first, options); }, 500, 0.1);
  check_covariance([&](std::uint64_t r) { return fit_snapshot_gaussian(drawn(truth, wide, 400, r), truth, {}, options); }, 500, 0.1);
}

TEST_CASE("minimum W2: covariance with a known and with an estimated start") {
  const SnapshotFlowOptions options{.steps = 3, .cells = 24, .tolerance = 1e-4};
  const auto known = QuantileFunction::gaussian(2, 0.09, 24);
  check_covariance([&](std::uint64_t r) { return fit_snapshot_flow(drawn(truth, first, 400, r), FreeEnergy(truth), known, options).fit; }, 600, 0.1);
  check_covariance([&](std::uint64_t r) { return fit_snapshot_flow(drawn(truth, wide, 400, r), FreeEnergy(truth), {}, options).fit; }, 600, 0.1);
}

TEST_CASE("the covariance of the Gaussian fit tends to the inverse information of the exact laws") {
  const Snapshots s = drawn(truth, first, 20000, 0);
  const Fit fit = fit_snapshot_gaussian(s, truth, first, {.steps = 20});
  REQUIRE(fit.status == Status::converged);
  Matrix information = Matrix::Zero(3, 3);
  for (Index k = 1; k < times.size(); ++k) {
    const OrnsteinUhlenbeck process(truth.with_parameters(fit.estimate));
    const Gaussian law = process.law(first, times[k]);
    const Matrix sensitivity = process.sensitivity(first, times[k]);
    const double v = law.covariance()(0, 0);
    information += 20000 * (sensitivity.row(0).transpose() * sensitivity.row(0) / v + sensitivity.row(1).transpose() * sensitivity.row(1) / (2 * v * v));
  }
  const Matrix covariance = information.inverse();
  for (Index i = 0; i < 3; ++i) {
    CHECK(std::abs(fit.covariance(i, i) / covariance(i, i) - 1) < 0.01);  // 20 midpoint steps an interval: relative error O(h^2) = 1e-3
    CHECK(std::abs(fit.estimate[i] - truth.parameters()[i]) < 4.5 * fit.standard_errors()[i]);
  }
  // Minimum W2 of the same data is consistent, and less efficient.
  const auto w2_fit = fit_snapshot_flow(s, FreeEnergy(truth), QuantileFunction::gaussian(2, 0.09, 100), {.steps = 10, .cells = 100});
  REQUIRE(w2_fit.fit.status == Status::converged);
  for (Index i = 0; i < 3; ++i) {
    CHECK(std::abs(w2_fit.fit.estimate[i] - truth.parameters()[i]) < 4.5 * w2_fit.fit.standard_errors()[i]);
    CHECK(w2_fit.fit.covariance(i, i) > 0.9 * covariance(i, i));  // both at their own estimates: a few per cent apart
  }
}

TEST_CASE("two dimensions, coupled: the Gaussian fit recovers K, mu and beta") {
  const Model plane(ornstein_uhlenbeck(2), Vector{{1.3, 0.4, 0.9, 0.1, -0.2}}, 2);
  const Gaussian from(Vector{{2.0, -1.0}}, Matrix{{0.5, 0.1}, {0.1, 0.2}});
  const Snapshots s = drawn(plane, from, 4000, 1);
  const Fit fit = fit_snapshot_gaussian(s, Model(ornstein_uhlenbeck(2), Vector{{1.0, 0, 1.0, 0, 0}}, 1), from, {.steps = 10});
  REQUIRE(fit.status == Status::converged);
  // Six checks at 4.5 standard errors: false alarm 4e-5 (fixed seed); the scheme's error is below a twentieth of one.
  for (Index i = 0; i < 6; ++i) CHECK(std::abs(fit.estimate[i] - plane.parameters()[i]) < 4.5 * fit.standard_errors()[i]);
  for (Index i = 0; i < 6; ++i) CHECK(std::abs(fit.sandwich_errors()[i] / fit.standard_errors()[i] - 1) < 0.1);
}

TEST_CASE("minimum W2 learns a double well from samples, and its error in h is that of the scheme") {
  const Model well(double_well(), Vector{{1.0, 1.5, 0.2}}, 3);
  const auto start = QuantileFunction::gaussian(0.3, 0.6, 40, 4);  // wider tails would be carried past each other by the midpoint scheme
  // Snapshots that are the flow itself, as 4000 quantiles: no sampling error.
  const auto flow = Flow<QuantileStep>(QuantileStep(FreeEnergy(well)), start, {.scheme = Scheme::vim, .h = 0.05, .steps = 16, .keep_every = 4}).run();
  REQUIRE(flow.status == Status::converged);
  Snapshots s{Vector::LinSpaced(5, 0, 0.8), {}};
  for (const auto& state : flow.states) {
    Matrix x(1, 4000);
    for (Index i = 0; i < 4000; ++i) x(0, i) = state.measure.quantile((static_cast<double>(i) + 0.5) / 4000);
    s.samples.push_back(x);
  }
  const Model guess(double_well(), Vector{{0.6, 0.8, 0.0}}, 2);
  const auto same = fit_snapshot_flow(s, FreeEnergy(guess), start, {.steps = 4});
  REQUIRE(same.fit.status == Status::converged);
  // 4000 quantiles give the nodes to about 1e-4 in L2; the weakest direction of the four parameters costs a factor of a hundred.
  for (Index i = 0; i < 4; ++i) CHECK(std::abs(same.fit.estimate[i] - well.parameters()[i]) < 1e-2);
  CHECK(same.distance.maxCoeff() < 1e-3);
  const auto coarse = fit_snapshot_flow(s, FreeEnergy(guess), start, {.steps = 4, .scheme = Scheme::jko});
  REQUIRE(coarse.fit.status == Status::converged);
  CHECK(std::abs(coarse.fit.estimate[1] - 1.5) > 0.05);  // the O(h) error of plain JKO steps shows
}

TEST_CASE("snapshot flow misuse is one line") {
  const Snapshots s = drawn(truth, first, 30, 0);
  CHECK_THROWS_AS((void)fit_snapshot_flow(s, FreeEnergy(truth), {}, {.cells = 1}), DomainError);
  CHECK_THROWS_AS((void)fit_snapshot_flow(s, FreeEnergy(truth), {}, {.scheme = Scheme::bdf2}), DomainError);
  CHECK_THROWS_AS((void)fit_snapshot_gaussian(s, Model(double_well(), Vector{{1.0, 1.5, 0.2}}, 3)), DomainError);
  CHECK_THROWS_AS((void)fit_snapshot_gaussian(s, Model(ornstein_uhlenbeck(2), Vector{{1.0, 0, 1.0, 0, 0}}, 1)), ShapeError);
}
