#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/bootstrap.hpp>
#include <jko/estimators/first_order_conditions.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/reference/simulate.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <boost/math/distributions/normal.hpp>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

const double kappa = 1.3, mu = 0.4, beta = 2;
const Model truth(ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta);
const Gaussian start(Vector{{2.0}}, Matrix{{0.09}});

/// n quantiles of N(mean, variance), scaled to have exactly these moments: optimal maps between such samples are linear, as between the laws.
Matrix gaussian_sample(const Gaussian& law, Index n) {
  Vector z(n);
  for (Index i = 0; i < n; ++i) z[i] = boost::math::quantile(boost::math::normal(), (static_cast<double>(i) + 0.5) / static_cast<double>(n));
  z /= std::sqrt(z.squaredNorm() / static_cast<double>(n));
  return (law.mean()[0] + std::sqrt(law.covariance()(0, 0)) * z.array()).matrix().transpose();
}

/// Snapshots of the exact OU law from `start`.
Snapshots exact_laws(double tau, int steps, Index n) {
  Snapshots s{Vector::LinSpaced(steps + 1, 0, tau * steps), {}};
  for (int k = 0; k <= steps; ++k) s.samples.push_back(gaussian_sample(OrnsteinUhlenbeck(truth).law(start, tau * k), n));
  return s;
}

/// Independent samples of the laws of the JKO scheme, for which the conditions hold.
Snapshots drawn(double tau, int steps, Index n, std::uint64_t index) {
  Snapshots s{Vector::LinSpaced(steps + 1, 0, tau * steps), {}};
  RandomStream random(17, "drawn snapshots", index);
  const auto flow = Flow<GaussianStep>(GaussianStep(FreeEnergy(truth)), start, {.h = tau, .steps = steps}).run();
  for (int k = 0; k <= steps; ++k) {
    const Gaussian& law = flow.states[static_cast<std::size_t>(k)].measure;
    Matrix x(1, n);
    for (double& v : x.reshaped()) v = law.mean()[0] + std::sqrt(law.covariance()(0, 0)) * random.normal();
    s.samples.push_back(x);
  }
  return s;
}

}  // namespace

TEST_CASE("snapshots of the JKO scheme itself give its energy back") {
  // The conditions hold exactly at every step; sizes differ from step to step only in what the quantiles' scaling repairs.
  const double tau = 0.2;
  const auto flow = Flow<GaussianStep>(GaussianStep(FreeEnergy(truth)), start, {.h = tau, .steps = 4}).run();
  Snapshots s{Vector::LinSpaced(5, 0, 4 * tau), {}};
  for (const auto& state : flow.states) s.samples.push_back(gaussian_sample(state.measure, 400));
  // Stein's identity E phi'' = E phi' (x - m)/v is exact for these samples up to degree 2 (two moments are those of the law).
  const auto r = fit_first_order(s, FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{0.7, 0.0}}, 1)), {.degree = 2});
  REQUIRE(r.fit.status == Status::converged);
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(r.fit.estimate[i] - truth.parameters()[i]) < 1e-6 * (1 + r.fit.standard_errors()[i]));
  CHECK(r.conditions.cwiseAbs().maxCoeff() < 1e-8);
  CHECK(r.fit.names == std::vector<std::string>{"kappa", "mu", "beta"});
}

TEST_CASE("snapshots of the diffusion: an error of O(tau) with the constant of implicit Euler") {
  for (const double tau : {0.2, 0.1, 0.05}) {
    // The mean alone: (e^{kappa tau} - 1)/tau, at every step the same.
    const auto mean = fit_first_order(exact_laws(tau, 3, 200), FreeEnergy(truth), {.degree = 1, .fixed = {false, false, true}});
    REQUIRE(mean.fit.status == Status::converged);
    CHECK(std::abs(mean.fit.estimate[0] - std::expm1(kappa * tau) / tau) < 1e-6);
    CHECK(std::abs(mean.fit.estimate[1] - mu) < 1e-6);
    // One step and degree 2, kappa and mu free: the variance gives ((s0 - s1)/tau + 1/(beta s1))/s1.
    const auto one = fit_first_order(exact_laws(tau, 1, 200), FreeEnergy(truth), {.degree = 2, .fixed = {false, false, true}});
    const double s0 = std::sqrt(start.covariance()(0, 0)), s1 = std::sqrt(OrnsteinUhlenbeck(truth).law(start, tau).covariance()(0, 0));
    REQUIRE(one.fit.status == Status::converged);
    CHECK(std::abs(one.fit.estimate[0] - ((s0 - s1) / tau + 1 / (beta * s1)) / s1) < 1e-6);
    // Without the entropy the spreading is put down to the potential, whose curvature (s0 - s1)/(tau s1) is then negative.
    const auto without = fit_first_order(exact_laws(tau, 1, 200), FreeEnergy().add_potential(quartic(), Vector{{0.0, 1.0, 0.0, 0.0}}), {.degree = 2, .fixed = {false, false, true, true}});
    REQUIRE(without.fit.status == Status::converged);
    CHECK(std::abs(without.fit.estimate[1] - (s0 - s1) / (tau * s1)) < 1e-6);
    CHECK(without.fit.estimate[1] < 0);
    // With the centre held on the wrong side kappa would be negative, which its family excludes.
    const auto bound = fit_first_order(exact_laws(tau, 1, 200), FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{1.0, 5.0}}, beta)), {.degree = 2, .fixed = {false, true, true}});
    CHECK(bound.fit.status == Status::parameter_at_bound);
    CHECK(bound.fit.estimate[0] == 0);
  }
}

TEST_CASE("the reported covariance is that over replications") {
  // R = 1200: relative s.e. of a variance sqrt(2/R) = 4.1 %; 4.5 of them (7e-6 a check, six checks, fixed seed) and 5 % for n = 800 not being infinite.
  const int replications = 1200;
  const Index n = 800;
  Matrix estimates(3, replications), reported = Matrix::Zero(3, 3);
  double hansen = 0;
  for (int r = 0; r < replications; ++r) {
    const auto fit = fit_first_order(drawn(0.5, 3, n, static_cast<std::uint64_t>(r)), FreeEnergy(truth), {.degree = 2, .tolerance = 1e-4});
    REQUIRE(fit.fit.status == Status::converged);
    estimates.col(r) = fit.fit.estimate;
    reported += fit.fit.covariance / replications;
    hansen += fit.overidentification.statistic / replications;
    CHECK(fit.overidentification.degrees_of_freedom == 3);
  }
  const Matrix centred = estimates.colwise() - estimates.rowwise().mean();
  const Matrix empirical = centred * centred.transpose() / (replications - 1);
  for (Index i = 0; i < 3; ++i) {
    for (Index j = 0; j <= i; ++j) {
      const double unit = std::sqrt(reported(i, i) * reported(j, j)), correlation = reported(i, j) / unit;
      const double se = std::sqrt((1 + correlation * correlation) / replications);
      CHECK(std::abs(empirical(i, j) / unit - correlation) < 4.5 * se + 0.05);
    }
  }
  CHECK(std::abs(hansen - 3) < 4.5 * std::sqrt(6.0 / replications) + 0.1);  // chi-square with 3 degrees: variance 6; 0.1 for the tails at n = 800
}

TEST_CASE("what one Gaussian step cannot tell apart is said") {
  const auto r = fit_first_order(drawn(0.25, 1, 2000, 0), FreeEnergy(truth));
  CHECK(r.fit.status == Status::singular_information);
  CHECK(r.rank.p_value > 1e-3);
  const auto held = fit_first_order(drawn(0.25, 1, 2000, 0), FreeEnergy(truth), {.fixed = {false, false, true}});
  CHECK(held.fit.status == Status::converged);
  CHECK(held.rank.p_value < 1e-6);
  // The same parameter twice.
  const auto twice = fit_first_order(drawn(0.25, 3, 500, 0), FreeEnergy(Model(formula("(a+b)/2*x^2 - c*x"), Vector{{0.5, 0.5, 0.4}}, beta)));
  CHECK(twice.fit.status == Status::singular_information);
}

TEST_CASE("double well and interaction from flows of the quantile step") {
  // Snapshots are 2000 quantiles of a JKO flow's nodes: their error is O(1/n) in the tails; the conditions hold to about 1e-3 of a drift of order one.
  const auto sample = [](const QuantileFunction& q, Index n) {
    Matrix x(1, n);
    for (Index i = 0; i < n; ++i) x(0, i) = q.quantile((static_cast<double>(i) + 0.5) / static_cast<double>(n));
    return x;
  };
  FreeEnergy well;
  well.add_potential(double_well(), Vector{{1.0, 1.5, 0.2}}).add_entropy(3);
  const auto run = [&](const FreeEnergy& energy, double m, double v, Index cells) {
    return Flow<QuantileStep>(QuantileStep(energy), QuantileFunction::gaussian(m, v, cells), {.h = 0.1, .steps = 5}).run();
  };
  const auto flow = run(well, 0.3, 0.6, 1000);
  Snapshots s{Vector::LinSpaced(6, 0, 0.5), {}};
  for (const auto& state : flow.states) s.samples.push_back(sample(state.measure, 2000));
  FreeEnergy guess;
  guess.add_potential(double_well(), Vector{{0.5, 0.5, 0.0}}).add_entropy(1);
  const auto r = fit_first_order(s, guess);
  REQUIRE(r.fit.status == Status::converged);
  const Vector expected{{1.0, 1.5, 0.2, 3.0}};
  for (Index i = 0; i < 4; ++i) CHECK(std::abs(r.fit.estimate[i] - expected[i]) < 0.02 * (1 + std::abs(expected[i])));

  FreeEnergy pulled;
  pulled.add_potential(ornstein_uhlenbeck(), Vector{{0.8, 0.3}}).add_entropy(2).add_interaction(formula("w/2*x^2"), Vector{{1.1}});
  const auto crowd = run(pulled, 2, 0.5, 300);
  for (std::size_t k = 0; k < 6; ++k) s.samples[k] = sample(crowd.states[k].measure, 300);
  FreeEnergy blank;
  blank.add_potential(ornstein_uhlenbeck(), Vector{{0.5, 0.0}}).add_entropy(1).add_interaction(formula("w/2*x^2"), Vector{{0.1}});
  const auto found = fit_first_order(s, blank, {.degree = 2});
  REQUIRE(found.fit.status == Status::converged);
  const Vector all{{0.8, 0.3, 2.0, 1.1}};
  // 300 quantiles miss the tail mass 1/600 a side: the variance is short by about 1 %, and so is what it decides.
  for (Index i = 0; i < 4; ++i) CHECK(std::abs(found.fit.estimate[i] - all[i]) < 0.05 * (1 + std::abs(all[i])));
}

namespace {

/// Snapshots in the plane that obey the conditions exactly: from the last law back, the departure of a step is the image of its arrival under
/// T(x) = x + tau [K (x - mu) - Sigma^{-1} (x - m)/beta + w (x - m)], the gradient of a convex function: every optimal coupling pairs the points as listed.
Snapshots exact_steps(const Matrix& z, const Matrix& k, const Vector& centre, double inverse_temperature, double w, double tau, int steps) {
  Snapshots s{Vector::LinSpaced(steps + 1, 0, tau * steps), {}};
  s.samples.push_back((Matrix{{0.9, 0.2}, {0.0, 0.7}} * z).colwise() + Vector{{0.9, -0.5}});
  for (int i = 0; i < steps; ++i) {
    const Matrix& x = s.samples.front();
    const Vector m = x.rowwise().mean();
    const Matrix centred = x.colwise() - m, sigma = centred * centred.transpose() / static_cast<double>(x.cols());
    const Matrix force = k * (x.colwise() - centre) - sigma.inverse() * centred / inverse_temperature + w * centred;
    s.samples.insert(s.samples.begin(), x + tau * force);
  }
  return s;
}

Matrix normal_points(Index n, std::uint64_t index) {
  RandomStream random(23, "plane snapshots", index);
  Matrix z(2, n);
  for (double& v : z.reshaped()) v = random.normal();
  return z;
}

const Matrix plane_curvature{{1.3, 0.4}, {0.4, 0.8}};  // does not commute with the laws' covariances
const Vector plane_centre{{0.5, -0.2}};
const Vector plane_theta{{1.3, 0.4, 0.8, 0.5, -0.2}};

/// Independent samples of the laws of the JKO scheme in the plane.
Snapshots plane_drawn(double tau, int steps, Index n, std::uint64_t index) {
  Snapshots s{Vector::LinSpaced(steps + 1, 0, tau * steps), {}};
  const auto flow = Flow<GaussianStep>(GaussianStep(FreeEnergy(Model(ornstein_uhlenbeck(2), plane_theta, 2))), Gaussian(Vector{{2.0, -1.0}}, Matrix{{0.3, -0.15}, {-0.15, 0.9}}), {.h = tau, .steps = steps}).run();
  for (std::size_t k = 0; k < flow.states.size(); ++k) {
    const Gaussian& law = flow.states[k].measure;
    const Matrix root = law.covariance().llt().matrixL();
    s.samples.push_back((root * normal_points(n, index * 16 + k)).colwise() + law.mean());
  }
  return s;
}

}  // namespace

TEST_CASE("in the plane: exact JKO steps of a non-commuting quadratic with interaction give the energy back") {
  // Quadratic tests see moments only, and Stein's identity for them is exact in the sample's own covariance.
  const Matrix z = normal_points(60, 0);
  FreeEnergy blank;
  blank.add_potential(ornstein_uhlenbeck(2), Vector{{1, 0, 1, 0, 0}}).add_entropy(1).add_interaction(formula("w/2*(x1^2+x2^2)", 2), Vector{{0.1}});
  Snapshots s = exact_steps(z, plane_curvature, plane_centre, 2, 0.6, 0.2, 4);
  const auto r = fit_first_order(s, blank, {.splits = 0});
  REQUIRE(r.fit.status == Status::converged);
  const Vector expected{{1.3, 0.4, 0.8, 0.5, -0.2, 2.0, 0.6}};
  for (Index i = 0; i < 7; ++i) CHECK(std::abs(r.fit.estimate[i] - expected[i]) < 1e-6 * (1 + r.fit.standard_errors()[i]));
  CHECK(r.conditions.cwiseAbs().maxCoeff() < 1e-8);
  CHECK(r.correction.isZero());
  // A snapshot of twice as many points, each listed twice, is the same law: couplings between samples of different sizes.
  Matrix twice(2, 120);
  twice << s.samples[2], s.samples[2];
  s.samples[2] = twice;
  const auto again = fit_first_order(s, blank, {.splits = 0});
  REQUIRE(again.fit.status == Status::converged);
  for (Index i = 0; i < 7; ++i) CHECK(std::abs(again.fit.estimate[i] - expected[i]) < 1e-6 * (1 + again.fit.standard_errors()[i]));
  // A kernel that is not known to be quadratic goes pair by pair: here one with a quartic part whose coefficient is held at 0.
  FreeEnergy pairs;
  pairs.add_potential(ornstein_uhlenbeck(2), Vector{{1, 0, 1, 0, 0}}).add_entropy(1).add_interaction(formula("w/2*(x1^2+x2^2) + v*(x1^2+x2^2)^2", 2), Vector{{0.1, 0.0}});
  std::vector<bool> fixed(8, false);
  fixed[7] = true;
  const auto slow = fit_first_order(s, pairs, {.fixed = fixed, .splits = 0});
  REQUIRE(slow.fit.status == Status::converged);
  for (Index i = 0; i < 7; ++i) {
    CHECK(std::abs(slow.fit.estimate[i] - again.fit.estimate[i]) < 1e-7 * (1 + std::abs(again.fit.estimate[i])));
    CHECK(std::abs(slow.fit.standard_errors()[i] / again.fit.standard_errors()[i] - 1) < 1e-6);
  }
}

TEST_CASE("in the plane: a linear basis") {
  // The same data under Psi = a x1^2/2 + b x1 x2 + c x2^2/2 - d x1 - e x2: its coefficients are K's and K mu, in one least-squares step from any start.
  const Snapshots s = exact_steps(normal_points(60, 1), plane_curvature, plane_centre, 2, 0, 0.2, 4);
  FreeEnergy basis;
  basis.add_potential(formula("a/2*x1^2 + b*x1*x2 + c/2*x2^2 - d*x1 - e*x2", 2), Vector::Zero(5)).add_entropy(7);
  const auto r = fit_first_order(s, basis, {.splits = 0});
  REQUIRE(r.fit.status == Status::converged);
  const Vector k_mu = plane_curvature * plane_centre, expected{{1.3, 0.4, 0.8, k_mu[0], k_mu[1], 2.0}};
  for (Index i = 0; i < 6; ++i) CHECK(std::abs(r.fit.estimate[i] - expected[i]) < 1e-6 * (1 + r.fit.standard_errors()[i]));
  CHECK(fit_first_order(s, basis, {.degree = 3, .splits = 0}).conditions.size() == 4 * 9);
}

TEST_CASE("in the plane: the reported covariance is that over replications, the map's error included") {
  // R = 250: relative s.e. of a variance sqrt(2/R) = 8.9 %; 4 of them (6e-5 a check, five checks, fixed seed) and 10 % for n = 150. Without the map's influence functions the variances would be a fraction.
  const int replications = 250;
  const std::vector<bool> fixed{false, false, false, false, false, true};
  Matrix estimates(5, replications);
  Vector reported = Vector::Zero(5);
  double hansen = 0;
  for (int r = 0; r < replications; ++r) {
    const auto fit = fit_first_order(plane_drawn(0.5, 2, 150, static_cast<std::uint64_t>(r)), FreeEnergy(Model(ornstein_uhlenbeck(2), plane_theta, 2)), {.fixed = fixed, .tolerance = 1e-4, .splits = 0});
    REQUIRE(fit.fit.status == Status::converged);
    estimates.col(r) = fit.fit.estimate.head(5);
    reported += fit.fit.covariance.diagonal().head(5) / replications;
    hansen += fit.overidentification.statistic / replications;
    CHECK(fit.overidentification.degrees_of_freedom == 5);
  }
  const Vector empirical = (estimates.colwise() - estimates.rowwise().mean()).rowwise().squaredNorm() / (replications - 1);
  for (Index i = 0; i < 5; ++i) CHECK(std::abs(empirical[i] / reported[i] - 1) < 4 * std::sqrt(2.0 / replications) + 0.1);
  CHECK(std::abs(hansen - 5) < 4 * std::sqrt(10.0 / replications) + 0.25);  // chi-square with 5 degrees: variance 10; 5 % for n = 150
}

TEST_CASE("in the plane: halving the samples takes the maps' bias off") {
  // Psi = a/2 |x|^2 without entropy: T = (1 + a tau) x at the arrival N(0, I). The empirical coupling's E x.T is too small, and with it the curvature. Five conditions for
  // the five coefficients of a quadratic, so that no weighting comes between.
  const double a = 0.6, tau = 0.5;
  const int replications = 120;
  Vector raw(replications), corrected(replications), moved(replications);
  FreeEnergy energy;
  energy.add_potential(formula("a/2*x1^2 + b*x1*x2 + c/2*x2^2 - d*x1 - e*x2", 2), Vector::Zero(5));
  const auto curvature = [](const Vector& v) { return 0.5 * (v[0] + v[2]); };
  for (int r = 0; r < replications; ++r) {
    const auto index = static_cast<std::uint64_t>(2 * r + 100'000);
    const Snapshots s{Vector{{0.0, tau}}, {(1 + a * tau) * normal_points(100, index), normal_points(100, index + 1)}};
    const auto whole = fit_first_order(s, energy, {.splits = 0}), halves = fit_first_order(s, energy, {.splits = 2});
    REQUIRE(halves.fit.status == Status::converged);
    raw[r] = curvature(whole.fit.estimate);
    corrected[r] = curvature(halves.fit.estimate);
    moved[r] = curvature(halves.correction);
    CHECK(std::abs(corrected[r] - raw[r] - moved[r]) < 1e-9);  // linear and exactly identified: first order is all
  }
  const auto error = [&](const Vector& v) { return std::sqrt((v.array() - v.mean()).square().sum() / (replications * (replications - 1.0))); };
  // log(n)/n with a constant near 1/6 is 0.08 in the moment, 0.15 in a; 4 Monte-Carlo errors are 0.065 (6e-5 a check, fixed seed). Halves know the leading order: a fifth of it is allowed to remain.
  CHECK(raw.mean() - a < -4 * error(raw));
  CHECK(std::abs(corrected.mean() - a) < 4 * error(corrected) + 0.2 * std::abs(raw.mean() - a));
}

TEST_CASE("in the plane: what cannot be told apart is said, and misuse is one line") {
  const FreeEnergy energy(Model(ornstein_uhlenbeck(2), plane_theta, 2));
  const Snapshots one = plane_drawn(0.25, 1, 300, 0);
  CHECK_THROWS_AS((void)fit_first_order(one, energy), DomainError);  // 5 conditions, 6 parameters
  CHECK(fit_first_order(one, energy, {.degree = 3, .splits = 0}).fit.status == Status::singular_information);
  const auto held = fit_first_order(one, energy, {.fixed = {false, false, false, false, false, true}, .splits = 0});
  CHECK(held.fit.status == Status::converged);
  const FreeEnergy twice = FreeEnergy(Model(formula("(a+b)/2*(x1^2+x2^2)", 2), Vector{{0.5, 0.5}}, 2));
  CHECK(fit_first_order(plane_drawn(0.25, 2, 100, 0), twice, {.splits = 0}).fit.status == Status::singular_information);
  CHECK_THROWS_AS((void)fit_first_order(plane_drawn(0.25, 2, 15, 0), twice), DomainError);  // too few to halve
  CHECK_NOTHROW((void)fit_first_order(plane_drawn(0.25, 2, 15, 0), twice, {.splits = 0}));
  Snapshots flat = plane_drawn(0.25, 2, 50, 0);
  flat.samples[1].row(1).setConstant(3);
  CHECK_THROWS_AS((void)fit_first_order(flat, twice), DomainError);
  // The numbers do not depend on the number of threads.
  const Snapshots s = plane_drawn(0.25, 2, 50, 3);
  CHECK(fit_first_order(s, energy, {.threads = 3}).fit.estimate == fit_first_order(s, energy).fit.estimate);
}

TEST_CASE("the bootstrap of snapshots draws points within each") {
  // The mean of the first sample: its bootstrap variance is the sample's own over n. B = 2000: 4.5 standard errors of a standard deviation are 4.5/sqrt(2B) = 7 %.
  const Snapshots s = plane_drawn(0.25, 1, 80, 5);
  const auto b = snapshot_bootstrap(s, [&](const Snapshots& drawn) -> std::optional<Vector> {
    CHECK(drawn.samples[1].cols() == 80);
    return Vector(drawn.samples[0].rowwise().mean() - drawn.samples[1].rowwise().mean());
  }, {.replications = 2000});
  for (Index c = 0; c < 2; ++c) {
    double variance = 0;
    for (const Matrix& x : s.samples) variance += (x.row(c).array() - x.row(c).mean()).square().mean() / 80;
    CHECK(std::abs(b.standard_error()[c] / std::sqrt(variance) - 1) < 0.07);
  }
}

TEST_CASE("snapshot misuse is one line") {
  Snapshots s = exact_laws(0.1, 2, 50);
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(Model(ornstein_uhlenbeck(2), Vector{{1, 0, 1, 0, 0}}, 1))), ShapeError);
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(truth), {.degree = 9}), DomainError);
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(truth), {.degree = 1}), DomainError);  // 2 conditions, 3 parameters
  s.samples[1].setConstant(1);
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(truth)), DomainError);
  s.times[1] = 5;
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(truth)), DomainError);
}
