#include <jko/core/error.hpp>
#include <jko/measures/quantile_function.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;

namespace {
double normal_density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi); }
}  // namespace

TEST_CASE("a Gaussian's moments, distribution and quantiles converge with second order, its density with third") {
  double before[4]{};
  for (const Index cells : {200, 400, 800}) {
    const auto q = QuantileFunction::gaussian(0, 1, cells);
    CHECK(std::abs(q.masses().sum() - 1) < 1e-14);
    double density = 0;
    for (double x = -3; x <= 3; x += 0.01) density = std::max(density, std::abs(q.density(x) - normal_density(x)));
    double cdf = 0;
    for (double x = -3; x <= 3; x += 0.01) cdf = std::max(cdf, std::abs(q.cdf(x) - 0.5 * std::erfc(-x / std::numbers::sqrt2)));
    const double errors[] = {std::abs(q.covariance()(0, 0) - 1), std::abs(q.quantile(0.975) - 1.959963984540054), cdf, density};
    for (int k = 0; k < 4; ++k) {
      // Pointwise errors also vary with the place of x in its cell: half an order of slack; the quantile (k = 1) only shrinks.
      if (before[k] > 0 && k != 1) CHECK(std::log2(before[k] / errors[k]) > (k == 3 ? 2.5 : k == 2 ? 1.5 : 1.9));
      before[k] = errors[k];
    }
    // Within a cell of width d the quantile is off by d^2 |rho'|/(8 rho) = d^2 x/8, and d = 9.1/cells at x = 1.96: 20.4/cells^2.
    CHECK(errors[1] < 22.0 / static_cast<double>(cells * cells));
  }
}

TEST_CASE("W2 of translations and dilations is exact") {
  const auto q = QuantileFunction::gaussian(0.3, 2, 100);
  const auto moved = q.with_coordinates((q.nodes().array() + 1.5).matrix());
  CHECK(std::abs(w2(q, moved) - 1.5) < 1e-14);
  const auto wide = q.with_coordinates((0.3 + 2 * (q.nodes().array() - 0.3)).matrix());
  CHECK(std::abs(w2(q, wide) - std::sqrt(q.covariance()(0, 0))) < 1e-13);
  CHECK(w2(q, geodesic(q, wide, 0.25)) == doctest::Approx(0.25 * w2(q, wide)).epsilon(1e-13));
}

TEST_CASE("the local density's gradient agrees with differences, in the smooth and in the rough case") {
  const auto smooth = QuantileFunction::gaussian(0, 1, 60);
  const auto rough = QuantileFunction(std::make_shared<const Vector>(Vector{{0.1, 0.5, 0.1, 0.3}}), Vector{{0, 1, 1.3, 3, 3.2}});
  for (const auto* q : {&smooth, &rough}) {
    for (const double x : {0.37, 1.21, 2.9}) {
      const auto local = q->local_density(x);
      for (Index j = 0; j < 4; ++j) {
        if (local.first + j > q->cells()) continue;
        const double d = 1e-6;  // truncation 1e-12 times third derivatives below 1e3, rounding 1e-10
        Vector up = q->nodes(), down = q->nodes();
        up[local.first + j] += d;
        down[local.first + j] -= d;
        const double difference = (q->with_coordinates(up).density(x) - q->with_coordinates(down).density(x)) / (2 * d);
        CHECK(std::abs(difference - local.gradient[static_cast<std::size_t>(j)]) < 1e-6);
      }
    }
  }
}

TEST_CASE("a density that vanishes at an end is never negative") {
  const auto q = QuantileFunction::from_density([](double x) { return x * x * x; }, 0, 1, 50);
  for (double x = 0; x <= 1; x += 0.001) CHECK(q.density(x) >= 0);
}

TEST_CASE("bad input is one line") {
  const auto masses = [](std::initializer_list<double> w) { return std::make_shared<const Vector>(Eigen::Map<const Vector>(w.begin(), static_cast<Index>(w.size()))); };
  CHECK_THROWS_WITH_AS(QuantileFunction(masses({0.5, 0.4}), Vector{{0, 1, 2}}), "quantile_function: mass is 0.9, but must be 1", DomainError);
  CHECK_THROWS_AS(QuantileFunction(masses({1.5, -0.5}), Vector{{0, 1, 2}}), DomainError);
  CHECK_THROWS_AS(QuantileFunction(masses({0.5, 0.5}), Vector{{0, 1}}), ShapeError);
  CHECK_THROWS_AS(QuantileFunction(masses({0.5, 0.5}), Vector{{0, std::nan(""), 1}}), DomainError);
  CHECK_THROWS_AS((void)QuantileFunction::gaussian(0, -1, 10), DomainError);
  CHECK_THROWS_AS((void)QuantileFunction::gaussian(0, 1, 1), DomainError);
  CHECK_THROWS_AS((void)QuantileFunction::from_density([](double) { return -1.0; }, 0, 1, 10), DomainError);
  CHECK_THROWS_AS((void)QuantileFunction::from_density([](double x) { return 1 / (x - 0.5); }, 0, 1, 11), DomainError);
  const auto tail = [](double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); };
  CHECK_THROWS_AS((void)QuantileFunction::from_cdf(tail, [&](double x) { return tail(-x); }, -1, 1, 10), DomainError);  // a third of the mass lies outside
  CHECK_THROWS_AS((void)w2(QuantileFunction::gaussian(0, 1, 10), QuantileFunction::gaussian(0, 1, 11)), ShapeError);
}
