#include <jko/core/error.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/transport/grid_geodesic.hpp>

#include <doctest/doctest.h>

#include <Eigen/Dense>
#include <unsupported/Eigen/MatrixFunctions>

#include <cmath>

using namespace jko;

namespace {

GridDensity on(const std::shared_ptr<const Grid>& grid, const Gaussian& g) {
  const Matrix precision = g.covariance().inverse();
  return GridDensity::from_density(grid, [&](const ConstMatrixRef& x) {
    const Matrix y = x.colwise() - g.mean();
    return Vector((-0.5 * (y.array() * (precision * y).array()).colwise().sum()).exp().transpose());
  });
}

/// |x|^2/2 less the potential of the linear map that carries b to a ([Takatsu2011]'s formula).
Vector potential(const Grid& grid, const Gaussian& a, const Gaussian& b) {
  const Matrix root = b.covariance().sqrt(), inverse = root.inverse(), map = inverse * Matrix(root * a.covariance() * root).sqrt() * inverse;
  const Matrix x = grid.points(), y = x.colwise() - b.mean();
  const Matrix image = (map * y).colwise() + a.mean();
  // grad phi = x - image(x), phi = |x|^2/2 - m_a.x - y'Ay/2
  return (0.5 * x.array().square().colwise().sum() - (a.mean().transpose() * x).array() - 0.5 * (y.array() * (image.colwise() - a.mean()).array()).colwise().sum()).transpose();
}

}  // namespace

TEST_CASE("geodesics between Gaussians beyond their end, in one, two and three dimensions") {
  const Matrix covariance{{1.0, -0.3, 0.1}, {-0.3, 0.8, 0.2}, {0.1, 0.2, 1.2}}, other{{0.8, -0.1, 0.0}, {-0.1, 0.9, 0.25}, {0.0, 0.25, 1.1}};
  const Vector mean{{0.3, -0.2, 0.1}}, before{{0.1, 0.0, 0.15}};
  for (int d = 1; d <= 3; ++d) {
    CAPTURE(d);
    const Index n = d == 3 ? 32 : 80;
    const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(d, -8), Vector::Constant(d, 8), std::vector<Index>(static_cast<std::size_t>(d), n)});
    const Gaussian a(before.head(d), other.topLeftCorner(d, d)), b(mean.head(d), covariance.topLeftCorner(d, d));
    for (const double time : {4.0 / 3, 2.0}) {
      const auto out = grid_geodesic(on(grid, a), on(grid, b), potential(*grid, a, b), time, {.threads = 2});
      CHECK(out.status == Status::converged);
      // phi and log rho are quadratic, which splines reproduce but for the mirrored walls. What lands there, 1 from the wall (a tenth of 8 and the shift), and three cells of ringing spoil
      // 1.6 (d = 3: 2.5) of the box: beyond 5.3 (4.5) of the result's deviations of 1.1 lie 5e-8 (3e-6 an axis) of its mass.
      CHECK(l1_distance(out.density, on(grid, geodesic(a, b, time))) < (d == 3 ? 2e-5 : 1e-7));
      CHECK(out.defect < (d == 3 ? 2e-5 : 1e-7));
      CHECK(std::abs(out.density.mass() - 1) < 1e-13);
    }
    const double w = w2(a, b);
    CHECK(std::abs(displacement_norm(on(grid, b), potential(*grid, a, b)) / w - 1) < 1e-4);  // what lies near the walls
  }
}

TEST_CASE("displacement interpolation with the potential of grid_w2: near and far Gaussians, ends kept, and the defect as a measure of the error") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Zero(2), Vector::Ones(2), {64, 60}});
  const Gaussian a(Vector{{0.3, 0.3}}, Matrix{{0.0025, 0.0}, {0.0, 0.0025}}), near(Vector{{0.31, 0.3}}, Matrix{{0.0026, 0.0001}, {0.0001, 0.0027}}), far(Vector{{0.7, 0.7}}, Matrix{{0.0036, 0.0}, {0.0, 0.0025}});
  for (const Gaussian& b : {near, far}) {
    const auto from = on(grid, a), to = on(grid, b);
    const auto found = grid_w2(to, from, {.relative = 1e-4});
    REQUIRE(found.status == Status::converged);
    for (const double time : {0.0, 0.3, 0.7, 1.0}) {
      CAPTURE(time);
      const auto out = grid_geodesic(from, to, time, {.relative = 1e-4, .threads = 2});
      CHECK(out.status == Status::converged);
      // At the ends the bracket vanishes: what is left are cells at the edge of double's tails, for which nothing lands.
      if (time == 0 || time == 1) CHECK(l1_distance(out.density, time == 0 ? from : to) < 1e-6);
      // The potential's error c(x) epsilon^2 makes first-order errors of the density at both ends, sum at most twice the defect at `from`.
      CHECK(l1_distance(out.density, on(grid, geodesic(a, b, time))) < 2 * out.defect + 1e-6);
      CHECK(out.defect < 1e-3);
    }
  }
  // The displacement between equal densities is zero, and a status of grid_w2 comes through.
  CHECK(l1_distance(grid_geodesic(on(grid, a), on(grid, a), 0.5).density, on(grid, a)) < 1e-13);
  CHECK(grid_geodesic(on(grid, a), on(grid, far), 0.5, {.max_applications = 3}).status == Status::iteration_limit);
}

TEST_CASE("an error in the potential enters with the square of the displacement") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(1, -9), Vector::Constant(1, 9), {240}});
  const Gaussian end(Vector{{0.2}}, Matrix{{1.0}});
  const auto error = [&](double size) {
    const Gaussian start(Vector{{0.2 - size}}, Matrix{{(1 - size) * (1 - size)}});
    const auto out = grid_geodesic(on(grid, start), on(grid, end), 1.3 * potential(*grid, start, end), 2);
    // The first-order part of the defect is 0.3 |(rho grad phi)'| in L1, which does not vanish faster than the displacement.
    CHECK(out.defect > 0.1 * size);
    return l1_distance(out.density, on(grid, geodesic(start, end, 2)));
  };
  // C s^2 (1 + O(s)): a term of first order, 0.3 s, would show as order 1.
  CHECK(std::abs(std::log2(error(0.08) / error(0.04)) - 2) < 0.25);
}

TEST_CASE("maps that fold and densities that turn negative are reported") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(1, -6), Vector::Constant(1, 6), {120}});
  const Gaussian wide(Vector{{0.0}}, Matrix{{1.0}}), narrow(Vector{{0.0}}, Matrix{{0.16}});
  // From standard deviation 1 through 0.4 at time 1 the geodesic ends in a point at time 5/3.
  const auto folded = grid_geodesic(on(grid, wide), on(grid, narrow), potential(*grid, wide, narrow), 2);
  CHECK(folded.status == Status::order_lost);
  CHECK(folded.folded > 0.5);
  CHECK(grid_geodesic(on(grid, wide), on(grid, narrow), potential(*grid, wide, narrow), 1.3).status == Status::converged);
  // Without a displacement: 2 narrow - wide is negative where 2 n < w, beyond |x| = z with mass int (w - 2n).
  const auto negative = grid_geodesic(on(grid, wide), on(grid, narrow), Vector::Zero(120), 2);
  const double z = std::sqrt(2 * std::log(2 / 0.4) / (1 / 0.16 - 1));
  CHECK(negative.status == Status::order_lost);
  CHECK(std::abs(negative.clipped - (std::erfc(z / std::sqrt(2.0)) - 2 * std::erfc(z / 0.4 / std::sqrt(2.0)))) < 2e-3);  // midpoint rule on cells of 0.1, with one kink: width^2/8 of its slope 0.9
  CHECK(std::abs(negative.density.mass() - 1) < 1e-14);

  const auto rho = on(grid, narrow);
  CHECK_THROWS_AS((void)grid_geodesic(rho, rho, Vector::Zero(119), 2), ShapeError);
  CHECK_THROWS_AS((void)grid_geodesic(rho, rho, Vector::Zero(120), -0.1), DomainError);
  CHECK_THROWS_AS((void)grid_geodesic(rho, rho, Vector::Constant(120, NAN), 2), DomainError);
  CHECK_THROWS_AS((void)grid_geodesic(rho, GridDensity(), Vector::Zero(120), 2), DomainError);
  CHECK_THROWS_AS((void)grid_geodesic(rho, rho, Vector::Zero(120), 2, {.negative_mass = -1}), DomainError);
  const auto torus = std::make_shared<const Grid>(Grid{grid->lower, grid->upper, grid->cells, Boundary::periodic});
  CHECK_THROWS_AS((void)grid_geodesic(on(torus, narrow), on(torus, narrow), Vector::Zero(120), 2), DomainError);
}
