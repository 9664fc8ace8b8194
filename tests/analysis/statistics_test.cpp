#include <jko/analysis/statistics.hpp>
#include <jko/core/error.hpp>
#include <jko/core/random.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <functional>

using namespace jko;
using namespace jko::analysis;

namespace {

Matrix normals(std::uint64_t index, Index d, Index n) {
  Matrix x(d, n);
  RandomStream(11, "statistics_test", index).fill_normal(x.reshaped());
  return x;
}

/// |observed rate - level| within 4.4 binomial standard errors: a correct program fails one such check with probability 1e-5. The seed is fixed.
void calibrated(const std::function<double(std::uint64_t)>& p_value, int replications, double level, double approximation) {
  int alarms = 0;
  for (int r = 0; r < replications; ++r) alarms += p_value(static_cast<std::uint64_t>(r)) <= level ? 1 : 0;
  const double rate = static_cast<double>(alarms) / replications;
  INFO("rate " << rate << " at level " << level);
  CHECK(std::abs(rate - level) <= 4.4 * std::sqrt(level * (1 - level) / replications) + approximation);
}

}  // namespace

TEST_CASE("false-alarm rates of the formulas") {
  // The published formulas are rounded fits: their own error, from simulation in the sources, is below 0.003 at these levels.
  for (const double level : {0.01, 0.05}) {
    calibrated([](std::uint64_t r) { return anderson_darling(normals(r, 1, 60).row(0).transpose()).p_value; }, 4000, level, 0.003);
    calibrated([](std::uint64_t r) { return lilliefors(normals(r, 1, 60).row(0).transpose()).p_value; }, 4000, level, 0.003);
    calibrated([](std::uint64_t r) { return lilliefors(normals(r, 1, 300).row(0).transpose()).p_value; }, 1500, level, 0.003);
    // Bartlett-corrected chi^2: error O(n^-2).
    const Matrix expected{{2, 0.5}, {0.5, 1}};
    const Matrix root = Matrix{{std::sqrt(2.0), 0}, {0.5 / std::sqrt(2.0), std::sqrt(1 - 0.125)}};
    calibrated([&](std::uint64_t r) { return covariance_test(root * normals(r, 2, 30), expected).p_value; }, 4000, level, 2.0 / 900);
  }
  // The skewness is corrected to small samples; the kurtosis's normal limit is slow, which the header says (its rate is only bounded here).
  calibrated([](std::uint64_t r) { return mardia(normals(r, 2, 200)).skewness.p_value; }, 2000, 0.05, 0.01);
  calibrated([](std::uint64_t r) { return mardia(normals(r, 2, 200)).kurtosis.p_value; }, 2000, 0.05, 0.02);
}

TEST_CASE("simulated p-values are exact at any sample size") {
  const TestOptions options{.p_value = PValue::simulation, .replications = 99, .seed = 3};
  // With R = 99 the level 0.05 is attained exactly; the same simulated samples serve all replications, which correlates them: the rate's variance given
  // the table of 99 draws has a part Var(Beta(5, 95)) = 4.7e-4 that does not average out, hence the allowance 4.4 * 0.022.
  calibrated([&](std::uint64_t r) { return mardia(normals(r, 2, 12), options).kurtosis.p_value; }, 300, 0.05, 0.095);
  const Matrix x = normals(5, 1, 40);
  const auto formula = anderson_darling(x.row(0).transpose());
  const auto simulated = anderson_darling(x.row(0).transpose(), {.p_value = PValue::simulation, .replications = 4999, .seed = 3});
  CHECK(std::abs(formula.p_value - simulated.p_value) <= 4.4 * std::sqrt(0.25 / 5000) + 0.01);
}

TEST_CASE("statistics are invariant under affine maps and agree with their definitions") {
  const Matrix x = normals(1, 2, 25), map{{2, 0.3}, {-1, 0.7}};
  const Matrix y = (map * x).colwise() + Vector{{3, -1}};
  CHECK(std::abs(mardia(x).skewness.statistic - mardia(y).skewness.statistic) < 1e-11);
  CHECK(std::abs(mardia(x).kurtosis.statistic - mardia(y).kurtosis.statistic) < 1e-11);
  CHECK(std::abs(anderson_darling(x.row(0).transpose()).statistic - anderson_darling((5 * x.row(0).array() - 2).matrix().transpose()).statistic) < 1e-11);
  // Definition of b1 by the double sum over pairs.
  const Matrix c = x.colwise() - x.rowwise().mean(), s = c * c.transpose() / 25;
  const Matrix inverse = Matrix{{s(1, 1), -s(0, 1)}, {-s(0, 1), s(0, 0)}} / (s(0, 0) * s(1, 1) - s(0, 1) * s(0, 1));
  const double b1 = (c.transpose() * inverse * c).array().cube().sum() / 625;
  CHECK(std::abs(mardia(x).skewness.effect - b1) < 1e-11);
  // One dimension: the likelihood ratio is nu (s - log s - 1) with s the ratio of the variances.
  const double variance = (x.row(0).array() - x.row(0).mean()).square().sum() / 24;
  CHECK(std::abs(covariance_test(x.topRows(1), Matrix{{1.0}}).statistic - 24 * (variance - std::log(variance) - 1) * (1 - 2.0 / (6 * 24))) < 1e-12);
}

TEST_CASE("the tests have power where they should") {
  Vector exponential(300);
  RandomStream random(2, "power");
  for (double& x : exponential) x = random.exponential();
  CHECK(anderson_darling(exponential).p_value < 1e-6);
  CHECK(lilliefors(exponential).p_value < 1e-4);
  CHECK(mardia(exponential.transpose()).skewness.p_value < 1e-6);
  const Matrix x = normals(1, 2, 400);
  CHECK(covariance_test(x, Matrix{{1.5, 0}, {0, 1}}).p_value < 1e-3);
  CHECK(covariance_test(x, Matrix{{1.5, 0}, {0, 1}}).effect > 0.25);  // log 1.5 = 0.405 less four standard errors sqrt(2/400)
}

TEST_CASE("Holm's step-down: worked by hand") {
  const Vector p{{0.01, 0.04, 0.03, 0.005}};
  const Vector adjusted = holm(p);
  CHECK(std::abs(adjusted[3] - 0.02) < 1e-15);
  CHECK(std::abs(adjusted[0] - 0.03) < 1e-15);
  CHECK(std::abs(adjusted[2] - 0.06) < 1e-15);
  CHECK(std::abs(adjusted[1] - 0.06) < 1e-15);  // 0.04, raised to its predecessor
  const Vector with_nan{{std::nan(""), 0.5}};
  CHECK(std::isnan(holm(with_nan)[0]));
  CHECK(holm(with_nan)[1] == 0.5);
  CHECK_THROWS_AS((void)holm(Vector{{1.5}}), DomainError);
}

TEST_CASE("a family is decided together and keeps its level") {
  std::vector<Check> checks{check_equal("other", "", "", 1, 1, 0, "")};
  for (const double p : {0.02, 0.3, 0.012}) checks.push_back(check_test("t", "", "", {0, p, 0.1, "made up"}));
  CHECK(checks[1].verdict == Verdict::inconclusive);
  decide_family(checks, 0.04);
  CHECK(checks[0].verdict == Verdict::pass);
  CHECK(checks[3].verdict == Verdict::fail);  // 3 * 0.012
  CHECK(checks[1].verdict == Verdict::fail);  // 2 * 0.02 = 0.04 <= level
  CHECK(checks[2].verdict == Verdict::pass);
  // Family-wise error: 20 independent uniform p-values, level 0.05; the chance of a false alarm is 1 - (1 - 0.05/20)^20 = 0.0488. 4.4 standard errors as above.
  int families = 0;
  for (std::uint64_t r = 0; r < 4000; ++r) {
    RandomStream random(5, "family", r);
    Vector p(20);
    for (double& x : p) x = random.uniform();
    families += holm(p).minCoeff() <= 0.05 ? 1 : 0;
  }
  CHECK(std::abs(families / 4000.0 - (1 - std::pow(1 - 0.05 / 20, 20))) <= 4.4 * std::sqrt(0.05 * 0.95 / 4000));
}
