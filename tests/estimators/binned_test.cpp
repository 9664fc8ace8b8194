#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/binned.hpp>
#include <jko/estimators/stationary.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/simulate.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

using namespace jko;
using namespace jko::estimators;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

BinnedCounts bin(const Vector& sample, Vector edges) {
  BinnedCounts out{std::move(edges), {}};
  out.counts.setZero(out.edges.size() - 1);
  for (const double x : sample) {
    const auto at = std::lower_bound(out.edges.begin(), out.edges.end(), x) - out.edges.begin();
    if (at > 0 && at < out.edges.size()) out.counts[at - 1] += 1;
  }
  return out;
}

Vector edges_of(double lower, double upper, Index inner) {
  Vector out(inner + 2);
  out[0] = -infinity;
  out.segment(1, inner) = Vector::LinSpaced(inner, lower, upper);
  out[inner + 1] = infinity;
  return out;
}

}  // namespace

TEST_CASE("probabilities of cells: normal distribution function, tails, and a truncated range") {
  const double kappa = 1.3, mu = 0.4, beta = 2, deviation = 1 / std::sqrt(kappa * beta);
  const Model model(ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta);
  const FitOptions all_fixed{.fixed = {true, true, true}};
  for (const Vector& edges : {Vector{{-infinity, -1.0, 0.3, 0.31, 2.5, infinity}}, Vector{{-1.0, 0.3, 0.31, 2.5}}}) {
    const Index m = edges.size() - 1;
    const BinnedFit f = fit_binned({edges, Vector::Ones(m)}, model, all_fixed);
    const auto cdf = [&](double x) { return normal_cdf((x - mu) / deviation); };
    const double range = cdf(edges[m]) - cdf(edges[0]);
    for (Index j = 0; j < m; ++j) {
      // Above the mean from the upper tail, so that the oracle keeps its digits.
      const double p = edges[j] > mu ? cdf(2 * mu - edges[j]) - cdf(2 * mu - edges[j + 1]) : cdf(edges[j + 1]) - cdf(edges[j]);
      CHECK(std::abs(f.probabilities[0][j] / (p / range) - 1) < 1e-11);  // 1e-12 in each log, erfc's own rounding
    }
  }
}

TEST_CASE("the gradient vanishes where the likelihood of raw draws has its maximum as cells shrink; errors too") {
  const Model well(double_well(), Vector{{1.0, 1.0, 0.1}}, 2);
  const Vector sample = sample_stationary(well, 4000, -5, 5, 8192, {.seed = 3}).row(0).transpose();
  const FitOptions held{.fixed = {false, false, false, true}};
  const Fit raw = fit_stationary(sample, well, held);
  const BinnedFit fine = fit_binned(bin(sample, edges_of(-2.5, 2.5, 2001)), Model(double_well(), Vector{{0.5, 0.5, 0.0}}, 2), held);
  REQUIRE(fine.fit.status == Status::converged);
  // Cells of width w lose information of relative order w^2/12 (w = 0.0025) and shift by O(w^2) at most: 1e-3 of an error.
  for (Index i = 0; i < 3; ++i) {
    CHECK(std::abs(fine.fit.estimate[i] - raw.estimate[i]) < 1e-2 * raw.standard_errors()[i]);
    CHECK(std::abs(fine.fit.standard_errors()[i] / raw.standard_errors()[i] - 1) < 1e-3);
  }
  // Coarse cells: consistent all the same, with larger errors.
  const BinnedFit coarse = fit_binned(bin(sample, edges_of(-1.5, 1.5, 9)), well, held);
  REQUIRE(coarse.fit.status == Status::converged);
  for (Index i = 0; i < 3; ++i) {
    CHECK(std::abs(coarse.fit.estimate[i] - well.theta()[i]) < 4.5 * coarse.fit.standard_errors()[i]);
    CHECK(coarse.fit.standard_errors()[i] > raw.standard_errors()[i]);
  }
  CHECK(coarse.pearson.degrees_of_freedom == 6);
  CHECK(coarse.pearson.p_value > 1e-4);
  // A wrong family is seen.
  const BinnedFit wrong = fit_binned(bin(sample, edges_of(-1.5, 1.5, 9)), Model(ornstein_uhlenbeck(), Vector{{1.0, 0.0}}, 2), {.fixed = {false, false, true}});
  CHECK(wrong.pearson.p_value < 1e-10);
}

TEST_CASE("two cells, one parameter: the closed form and its variance") {
  // Two cells, one parameter: p-hat = c/n is solved for mu in closed form, Var mu = p (1-p)/(n density^2).
  const double deviation = 1 / std::sqrt(2.6);
  const BinnedFit f = fit_binned({Vector{{-infinity, 0.0, infinity}}, Vector{{300.0, 700.0}}}, Model(ornstein_uhlenbeck(), Vector{{1.3, 0.0}}, 2), {.fixed = {true, false, true}});
  REQUIRE(f.fit.status == Status::converged);
  const double z = -0.5244005127080407;  // the 30 % point of N(0, 1)
  CHECK(std::abs(f.fit.estimate[1] + z * deviation) < 1e-8);
  const double density = std::exp(-0.5 * z * z) / (deviation * std::sqrt(2 * M_PI));
  CHECK(std::abs(f.fit.covariance(1, 1) / (0.3 * 0.7 / (1000 * density * density)) - 1) < 1e-6);
  CHECK(std::abs(f.fit.sandwich(1, 1) / f.fit.covariance(1, 1) - 1) < 1e-6);  // saturated: the counts are the expected ones
  CHECK(f.pearson.degrees_of_freedom == 0);
}

TEST_CASE("counts along a flow from a known start: OU at two times, against the Gaussian law") {
  // Exact counts in place of random ones: n p rounded, of the law N(m_t, v_t), so that the estimate is the truth up to discretisation and rounding.
  const double kappa = 1.3, mu = 0.4, beta = 2;
  const QuantileFunction start = QuantileFunction::gaussian(2, 0.5, 400);
  const Vector times{{0.4, 1.0}};
  std::vector<BinnedCounts> counts;
  for (const double t : times) {
    const double mean = mu + std::exp(-kappa * t) * (2 - mu), variance = 1 / (beta * kappa) + std::exp(-2 * kappa * t) * (0.5 - 1 / (beta * kappa));
    BinnedCounts c{edges_of(mean - 1.5, mean + 1.5, 13), Vector(14)};
    for (Index j = 0; j < 14; ++j) c.counts[j] = std::round(1e6 * (normal_cdf((c.edges[j + 1] - mean) / std::sqrt(variance)) - normal_cdf((c.edges[j] - mean) / std::sqrt(variance))));
    counts.push_back(c);
  }
  const FreeEnergy from(Model(ornstein_uhlenbeck(), Vector{{0.8, 0.0}}, 1));
  const BinnedFit f = fit_binned_flow(times, counts, from, start, {.steps = 12});
  REQUIRE(f.fit.status == Status::converged);
  // Midpoint steps of 0.033 and 0.05: relative error (kappa h)^2/12 = 4e-4 of the rates; cells of the start leave about 1e-4.
  CHECK(std::abs(f.fit.estimate[0] / kappa - 1) < 2e-3);
  CHECK(std::abs(f.fit.estimate[1] - mu) < 2e-3);
  CHECK(std::abs(f.fit.estimate[2] / beta - 1) < 2e-3);
  // Half the steps: the difference is the scheme's, of second order.
  const BinnedFit coarse = fit_binned_flow(times, counts, from, start, {.steps = 6}), plain = fit_binned_flow(times, counts, from, start, {.steps = 12, .scheme = Scheme::jko});
  CHECK(std::abs(coarse.fit.estimate[0] - f.fit.estimate[0]) < 5e-3);
  CHECK(std::abs(plain.fit.estimate[0] / kappa - 1) > 1e-2);  // plain JKO is off by about kappa h/2
  // Expected information of mu by hand at the estimate: sum over times and cells of n (dp/dmu)^2/p, dp/dmu from the Gaussian law.
  double information = 0;
  for (std::size_t k = 0; k < 2; ++k) {
    const double t = times[static_cast<Index>(k)], mean = mu + std::exp(-kappa * t) * (2 - mu), deviation = std::sqrt(1 / (beta * kappa) + std::exp(-2 * kappa * t) * (0.5 - 1 / (beta * kappa)));
    const auto density = [&](double x) { return std::isinf(x) ? 0.0 : std::exp(-0.5 * (x - mean) * (x - mean) / (deviation * deviation)) / (deviation * std::sqrt(2 * M_PI)); };
    for (Index j = 0; j < 14; ++j) {
      const double dp = -(1 - std::exp(-kappa * t)) * (density(counts[k].edges[j + 1]) - density(counts[k].edges[j])), p = counts[k].counts[j] / 1e6;
      information += 1e6 * dp * dp / p;
    }
  }
  const BinnedFit only_mu = fit_binned_flow(times, counts, FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{kappa, 0.0}}, beta)), start, {.steps = 12, .fit = {.fixed = {true, false, true}}});
  REQUIRE(only_mu.fit.status == Status::converged);
  CHECK(std::abs(only_mu.fit.covariance(1, 1) * information - 1) < 0.01);
}

TEST_CASE("the covariance and Pearson's test over replications of small stationary samples") {
  // R = 300, 8 cells, n = 300: 4.5 sqrt(2/R) = 37 % (7e-6 a check, fixed seed) and 5 % for n; rejections at 5 %: 4.5 binomial s.e. of 1.26 % and 1 %.
  const Model well(double_well(), Vector{{1.0, 1.0, 0.1}}, 2);
  const Vector pool = sample_stationary(well, 300 * 300, -5, 5, 8192, {.seed = 12}).row(0).transpose();
  Matrix estimates(3, 300);
  Vector reported = Vector::Zero(3);
  int rejected = 0;
  for (int r = 0; r < 300; ++r) {
    const BinnedFit f = fit_binned(bin(pool.segment(300 * r, 300), edges_of(-1.2, 1.2, 7)), well, {.fixed = {false, false, false, true}});
    REQUIRE(f.fit.status == Status::converged);
    estimates.col(r) = f.fit.estimate.head(3);
    reported += f.fit.covariance.diagonal().head(3) / 300;
    rejected += f.pearson.p_value < 0.05;
  }
  const Matrix centred = estimates.colwise() - estimates.rowwise().mean();
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(centred.row(i).squaredNorm() / 299 / reported[i] - 1) < 4.5 * std::sqrt(2.0 / 300) + 0.05);
  CHECK(std::abs(rejected / 300.0 - 0.05) < 4.5 * 0.0126 + 0.01);
}

TEST_CASE("misuse is one line, and what is not identified or not confining is said") {
  const Model model(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  const Vector edges{{-infinity, 0.0, 1.0, infinity}}, counts{{10.0, 20.0, 30.0}};
  CHECK_THROWS_AS((void)fit_binned({edges, Vector{{1.0, 2.0}}}, model), ShapeError);
  CHECK_THROWS_AS((void)fit_binned({Vector{{0.0, 0.0, 1.0, 2.0}}, counts}, model), DomainError);
  CHECK_THROWS_AS((void)fit_binned({edges, Vector{{1.0, 2.5, 3.0}}}, model), DomainError);
  CHECK_THROWS_AS((void)fit_binned({edges, Vector{{1.0, -2.0, 3.0}}}, model), DomainError);
  CHECK_THROWS_AS((void)fit_binned({edges, Vector::Zero(3)}, model), DomainError);
  CHECK_THROWS_AS((void)fit_binned({Vector{{-infinity, 0.0, infinity, infinity}}, counts}, model), DomainError);
  CHECK(fit_binned({edges, counts}, model).fit.status == Status::singular_information);
  CHECK(fit_binned({edges, counts}, {formula("a*x"), Vector{{1.0}}, 1}, {.fixed = {true, true}}).fit.status != Status::converged);
  CHECK_THROWS_AS((void)fit_binned_flow(Vector{{0.0}}, {{edges, counts}}, FreeEnergy(model), QuantileFunction::gaussian(0, 1, 20)), DomainError);
}
