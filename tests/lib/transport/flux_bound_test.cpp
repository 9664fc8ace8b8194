#include <jko/core/error.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/transport/flux_bound.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

/// W2 of piecewise-constant densities on a line, exactly: both quantile functions are linear between the union of the two sets of cumulated masses.
double exact_w2(const GridDensity& a, const GridDensity& b) {
  const double width = a.grid().width(0);
  Index i = 0, j = 0;
  double x = a.grid().lower[0], y = x, square = 0, left_a = a.values()[0] * width, left_b = b.values()[0] * width;
  const Index n = a.values().size();
  while (i < n && j < n) {
    const double mass = std::min(left_a, left_b);
    const double dx = a.values()[i] > 0 ? mass / a.values()[i] : width, dy = b.values()[j] > 0 ? mass / b.values()[j] : width;
    const double p = x - y, q = p + dx - dy;
    square += mass * (p * p + p * q + q * q) / 3;
    const bool next_a = left_a <= left_b, next_b = left_b <= left_a;
    x += dx, y += dy, left_a -= mass, left_b -= mass;
    if (next_a) {
      x = a.grid().lower[0] + static_cast<double>(++i) * width;
      if (i < n) left_a = a.values()[i] * width;
    }
    if (next_b) {
      y = a.grid().lower[0] + static_cast<double>(++j) * width;
      if (j < n) left_b = b.values()[j] * width;
    }
  }
  return std::sqrt(square);
}

GridDensity normal(const std::shared_ptr<const Grid>& grid, double mean, double deviation) {
  return GridDensity::gaussian(grid, Vector::Constant(grid->dimension(), mean), deviation * deviation * Matrix::Identity(grid->dimension(), grid->dimension()));
}

}  // namespace

TEST_CASE("on a line the bound lies above the exact distance and meets it as the densities meet") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(1, -5), Vector::Constant(1, 5), {100}});
  const GridDensity a = normal(grid, 0.2, 0.7);
  double last = 1;
  for (const double e : {0.3, 0.1, 0.03, 0.01, 1e-3}) {
    CAPTURE(e);
    const GridDensity b = normal(grid, 0.2 + e, 0.7 * (1 - e));
    const FluxBound bound = flux_bound(a, b);
    CHECK(bound.status == Status::converged);
    const double excess = bound.value / exact_w2(a, b) - 1;
    CHECK(excess >= 0);
    // On a line the flux is given, and the curve's excess is left: with log-ratio u of the densities Lambda is their geometric mean times (1 + u^2/24), which makes a translation (e/0.7)^2/24 too long
    // and a dilation some times that; the densities' jumps (log-ratio 0.1 x/0.7^2 a cell) add (0.1/0.7)^2/24 while less than a cell is moved, what is left over 1e-8 diameters.
    CHECK(excess <= 0.5 * e * e / 0.49 + 1e-3);
    CHECK(excess <= last);
    last = excess + 1e-3;
    CHECK(bound.value == bound.carried + bound.left_over);
  }
  CHECK(flux_bound(a, a).value == 0);
}

TEST_CASE("in two and three dimensions it bounds the distance of Gaussians") {
  for (const int d : {2, 3}) {
    const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(d, -4), Vector::Constant(d, 4), std::vector<Index>(static_cast<std::size_t>(d), d == 2 ? 96 : 40)});
    const GridDensity a = normal(grid, 0, 0.6), b = normal(grid, 0.02, 0.61);
    const double distance = std::sqrt(d * (0.02 * 0.02 + 0.01 * 0.01));
    const FluxBound bound = flux_bound(a, b, {.threads = 2});
    CHECK(bound.status == Status::converged);
    // Cell averages blur both densities by width^2/12 of variance, (0.083, 0.2)^2/12: that shrinks the difference of deviations by their half relative to 0.6^2, a fifth of which is distance.
    CHECK(bound.value > distance * (d == 2 ? 0.999 : 0.998));
    CHECK(bound.value < distance * (d == 2 ? 1.01 : 1.03));  // 0.1 of a cell is moved: (width/deviation)^2/3 from the flux being bent in the cells, and (0.02/0.6)^2 from the linear curve
    CHECK(flux_bound(a, b).value == bound.value);  // the same bits
  }
}

TEST_CASE("empty cells are closed to the flux, and what they lack is moved across the box") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Zero(1), Vector::Ones(1), {10}});
  Vector left = Vector::Zero(10), right = left;
  left.head(5).setConstant(2);
  right.tail(5).setConstant(2);
  const GridDensity a(grid, left), b(grid, right);
  const FluxBound bound = flux_bound(a, b);
  CHECK(bound.carried == 0);
  CHECK(std::abs(bound.value - 1) < 1e-14);  // all the mass over the box's length; W2 is 1/2
  CHECK(bound.status == Status::stalled);
  CHECK_THROWS_AS((void)flux_bound(a, GridDensity()), DomainError);
  CHECK_THROWS_AS((void)flux_bound(a, b, {.max_iterations = 0}), DomainError);
  CHECK_THROWS_AS((void)flux_bound(a, normal(std::make_shared<const Grid>(Grid{Vector::Zero(1), Vector::Ones(1), {11}}), 0.5, 0.1)), ShapeError);
}
