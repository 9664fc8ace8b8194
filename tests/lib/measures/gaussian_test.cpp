#include <jko/core/error.hpp>
#include <jko/measures/gaussian.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;

namespace {
const Gaussian a(Vector{{1.0, -1.0}}, Matrix{{2.0, 0.3}, {0.3, 1.0}});
const Gaussian b(Vector{{0.0, 0.5}}, Matrix{{0.7, -0.2}, {-0.2, 1.5}});
}  // namespace

TEST_CASE("closed forms in one dimension") {
  const Gaussian x(Vector{{1.0}}, Matrix{{4.0}}), y(Vector{{-1.0}}, Matrix{{0.25}});
  CHECK(std::abs(w2(x, y) - std::sqrt(4 + 1.5 * 1.5)) < 1e-15);
  CHECK(std::abs(x.entropy() + 0.5 * std::log(2 * std::numbers::pi * std::numbers::e * 4)) < 1e-15);
  CHECK(std::abs(relative_entropy(x, y) - 0.5 * (4 / 0.25 - 1 - std::log(4 / 0.25) + 4 / 0.25)) < 1e-14);
  CHECK(std::abs(x.log_density(Vector{{2.0}}) + 0.5 * std::log(2 * std::numbers::pi * 4) + 0.125) < 1e-15);
}

TEST_CASE("the Bures distance is a metric along its geodesics") {
  const double whole = w2(a, b);
  for (const double s : {0.25, 0.5, 0.9}) {
    const Gaussian middle = geodesic(a, b, s);
    // W2 is the square root of a difference: 1e-15 under it costs half its digits only where it is small; here it is of order one.
    CHECK(std::abs(w2(a, middle) - s * whole) < 1e-13);
    CHECK(std::abs(w2(middle, b) - (1 - s) * whole) < 1e-13);
  }
  CHECK(std::abs(w2(b, a) - whole) < 1e-14);
}

TEST_CASE("the geodesic's tangent agrees with differences, extrapolation included") {
  const double d = 1e-5;  // truncation 1e-10, rounding 1e-11
  Matrix directions = Matrix::Zero(6, 2);
  directions(1, 0) = 1, directions(3, 0) = directions(4, 0) = 0.3;
  directions(2, 1) = 1;
  for (const double s : {0.4, 4.0 / 3}) {
    const Matrix tangent = geodesic_tangent(a, b, s, directions, 0.5 * directions);
    for (Index j = 0; j < 2; ++j) {
      const auto at = [&](double t) {
        return geodesic(a.with_coordinates(a.coordinates() + t * directions.col(j)), b.with_coordinates(b.coordinates() + 0.5 * t * directions.col(j)), s).coordinates();
      };
      CHECK((tangent.col(j) - (at(d) - at(-d)) / (2 * d)).cwiseAbs().maxCoeff() < 1e-8);
    }
  }
}

TEST_CASE("bad input is one line") {
  CHECK_THROWS_AS(Gaussian(Vector{{0.0}}, Matrix{{0.0}}), DomainError);
  CHECK_THROWS_AS(Gaussian(Vector{{std::nan("")}}, Matrix{{1.0}}), DomainError);
  CHECK_THROWS_AS(Gaussian(Vector{{0.0, 0.0}}, Matrix{{1.0, 2.0}, {2.0, 1.0}}), DomainError);
  CHECK_THROWS_AS(Gaussian(Vector{{0.0, 0.0}}, Matrix{{1.0, 0.1}, {0.0, 1.0}}), DomainError);
  CHECK_THROWS_AS((void)w2(a, Gaussian(Vector{{0.0}}, Matrix{{1.0}})), ShapeError);
  const Gaussian wide(Vector{{0.0}}, Matrix{{4.0}}), narrow(Vector{{0.0}}, Matrix{{0.04}});
  CHECK_THROWS_AS((void)geodesic(wide, narrow, 2), DomainError);  // 1 - s + s T = -0.8
}
