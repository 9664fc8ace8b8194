#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/measures/bandwidth.hpp>
#include <jko/measures/convert.hpp>
#include <jko/transport/exact.hpp>

#include <boost/math/distributions/normal.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <numbers>

using namespace jko;

namespace {

std::shared_ptr<const Grid> box(int d, double lower, double upper, Index cells) {
  auto grid = std::make_shared<Grid>();
  grid->lower = Vector::Constant(d, lower);
  grid->upper = Vector::Constant(d, upper);
  grid->cells.assign(static_cast<std::size_t>(d), cells);
  return grid;
}

Particles cloud(Index d, Index n) {
  Matrix x(d, n);
  RandomStream random(9, "convert test", static_cast<std::uint64_t>(d));
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = random.normal();
  return Particles(x);
}

Particles normal_quantiles(double m, double s, Index n) {
  Matrix x(1, n);
  for (Index i = 0; i < n; ++i) x(0, i) = m + s * boost::math::quantile(boost::math::normal(), (static_cast<double>(i) + 0.5) / static_cast<double>(n));
  return Particles(x);
}

}  // namespace

TEST_CASE("grid to particles: centres and masses, and a bound that refining the cells confirms") {
  const auto grid = box(2, -3, 3, 6), fine = box(2, -3, 3, 24);
  const auto density = GridDensity::gaussian(grid, Vector{{0.2, 0}}, Matrix{{0.7, 0}, {0, 0.4}});
  const auto coarse = to_particles(density);
  CHECK(coarse.measure.size() == 36);
  CHECK((coarse.measure.mean() - density.mean()).norm() < 1e-14);
  CHECK(std::abs(coarse.w2_bound - std::sqrt(2.0 / 12)) < 1e-15);
  // The same piecewise-constant density on cells a quarter as wide: its particles are within the fine bound of it.
  Vector values(fine->size());
  for (Index i = 0; i < fine->size(); ++i) values[i] = density.values()[(i % 24) / 4 + 6 * ((i / 24) / 4)];
  const auto refined = to_particles(GridDensity(fine, values));
  const double distance = w2(coarse.measure, refined.measure);
  CHECK(distance <= coarse.w2_bound + refined.w2_bound);
  CHECK(distance >= 0.5 * (coarse.w2_bound - refined.w2_bound));  // the bound is not idle
  const auto cut = to_particles(density, 1e-3);
  CHECK(cut.measure.size() < 36);
  CHECK(w2(cut.measure, coarse.measure) <= cut.w2_bound);
  CHECK(std::abs(cut.measure.weights().sum() - 1) < 1e-14);
}

TEST_CASE("particles, quantiles and grids of the line: the distances are as stated") {
  const Particles p(Matrix{{0.5, -1.0, 2.0, 0.1}}, Vector{{0.4, 0.1, 0.2, 0.3}});
  const auto q = to_quantiles(p);
  CHECK(q.measure.cells() == 3);
  CHECK(q.measure.nodes() == Vector{{-1.0, 0.1, 0.5, 2.0}});
  // Against many particles of the quantile function: exact transport on the line.
  Matrix fine(1, 20000);
  for (Index i = 0; i < fine.cols(); ++i) fine(0, i) = q.measure.quantile((static_cast<double>(i) + 0.5) / 20000);
  CHECK(std::abs(w2(p, Particles(fine)) - q.w2_bound) < 1e-3);  // 20000 points stand for cells of slope up to 10: 10/20000
  const auto back = to_particles(q.measure);
  CHECK(std::abs(w2(back.measure, Particles(fine)) - back.w2_bound) < 1e-3);
  const auto gridded = to_grid(q.measure, box(1, -2, 3, 50));
  CHECK(std::abs(gridded.measure.mean()[0] - q.measure.mean()[0]) <= 0.1);
  const auto again = to_quantiles(gridded.measure);
  CHECK(again.w2_bound == 0);
  CHECK(std::abs(again.measure.mean()[0] - gridded.measure.mean()[0]) < 1e-14);
  CHECK(std::abs(again.measure.covariance()(0, 0) - gridded.measure.covariance()(0, 0)) < 1e-14);
}

TEST_CASE("particles to a grid: mass in cells, periodic boxes wrap, no-flux boxes refuse") {
  const Particles p(Matrix{{0.1, 1.9, 1.0}, {0.2, 0.6, 2.0}});
  const auto g = to_grid(p, box(2, 0, 2, 4));
  CHECK(std::abs(g.measure.mass() - 1) < 1e-15);
  CHECK(std::abs(g.measure.values()[0] - 4.0 / 3) < 1e-14);  // weight 1/3 in a cell of area 1/4
  CHECK(g.measure.values()[2 + 4 * 3] > 0);                  // (1.0, 2.0): upper faces belong to the last cell
  CHECK(w2(p, to_particles(g.measure).measure) <= g.w2_bound + to_particles(g.measure).w2_bound);
  auto ring = std::make_shared<Grid>(*box(1, 0, 1, 10));
  ring->boundary = Boundary::periodic;
  CHECK(to_grid(Particles(Matrix{{-0.05}}), ring).measure.values()[9] > 0);
  CHECK_THROWS_WITH_AS((void)to_grid(Particles(Matrix{{-0.05}}), box(1, 0, 1, 10)), "to_grid: particle 0 lies outside the box: coordinate 1 is -0.05", DomainError);
}

TEST_CASE("a density estimate adds s^2 to the covariance and keeps the mean") {
  const Particles p = cloud(2, 50);
  const double s = 0.4;
  const auto e = density_estimate(p, box(2, -7, 7, 140), s);
  // Midpoint sums of Gaussians of deviation 0.4 at width 0.1 are exact to exp(-2 pi^2 16); at four deviations from the box's end 1e-12 or less is lost.
  CHECK(std::abs(e.outside) < 1e-12);
  CHECK((e.density.mean() - p.mean()).norm() < 1e-11);
  CHECK((e.density.covariance() - p.covariance() - (s * s + 0.01 / 12) * Matrix::Identity(2, 2)).norm() < 1e-10);
  CHECK(to_gaussian(p).covariance() == p.covariance());
}

TEST_CASE("samples of a Gaussian have its moments") {
  const Gaussian g(Vector{{1.0, -2.0}}, Matrix{{2, 0.7}, {0.7, 0.5}});
  const Particles p = sample(g, 20000, 3);
  // Standard errors sqrt(2/20000) = 0.01 and 2 sqrt(2/20000) = 0.02 at most; five of them: false alarm below 1e-5 for the five numbers.
  CHECK((p.mean() - g.mean()).cwiseAbs().maxCoeff() < 0.05);
  CHECK((p.covariance() - g.covariance()).cwiseAbs().maxCoeff() < 0.1);
  CHECK(sample(g, 100, 3).points() == p.points().leftCols(100));
}

TEST_CASE("bandwidths: the normal reference, and Sheather-Jones beyond it") {
  const Particles p = normal_quantiles(0, 2, 1000);
  const double deviation = std::sqrt(p.covariance()(0, 0));
  CHECK(std::abs(silverman_bandwidth(p) - deviation * std::pow(4.0 / 3000, 0.2)) < 1e-14);
  CHECK(std::abs(scott_bandwidth(p) - deviation * std::pow(1000, -0.2)) < 1e-14);
  // For a normal law the plug-in aims at the same optimum; its two-stage bias is known to be small, here under 8 per cent.
  CHECK(std::abs(sheather_jones_bandwidth(p) / silverman_bandwidth(p) - 1) < 0.08);
  // Scale equivariance, exactly.
  CHECK(std::abs(sheather_jones_bandwidth(normal_quantiles(0, 4, 1000)) / sheather_jones_bandwidth(p) - 2) < 1e-9);
  // Two normals of deviation 1 at +-10: the result solves the paper's equation, written out here over all pairs; Silverman's rule sees one wide law.
  Matrix both(1, 200);
  both << normal_quantiles(-10, 1, 100).points(), normal_quantiles(10, 1, 100).points();
  const double h = sheather_jones_bandwidth(Particles(both)), n = 200;
  const auto functional = [&](double g, int r) {
    double sum = 0;
    for (Index i = 0; i < 200; ++i) {
      for (Index j = 0; j < 200; ++j) {
        const double z = (both(0, i) - both(0, j)) / g, phi = std::exp(-0.5 * z * z) / std::sqrt(2 * std::numbers::pi);
        sum += phi * (r == 4 ? std::pow(z, 4) - 6 * z * z + 3 : std::pow(z, 6) - 15 * std::pow(z, 4) + 45 * z * z - 15);
      }
    }
    return sum / (n * (n - 1) * std::pow(g, r + 1));
  };
  const double spread = std::sqrt(Particles(both).covariance()(0, 0) * n / (n - 1));  // below the interquartile range over 1.349, here 15
  const double fourth = functional(1.2407 * spread * std::pow(n, -1.0 / 7), 4), sixth = functional(1.2304 * spread * std::pow(n, -1.0 / 9), 6);
  const double pilot = 1.3573 * std::pow(fourth / -sixth, 1.0 / 7) * std::pow(h, 5.0 / 7);
  // The constants 1.2407, 1.2304, 1.3573 are the paper's to five digits.
  CHECK(std::abs(h * std::pow(2 * std::sqrt(std::numbers::pi) * n * functional(pilot, 4), 0.2) - 1) < 1e-4);
  CHECK(silverman_bandwidth(Particles(both)) > 3 * h);
  // A weighted cloud counts with Kish's size.
  Vector w = Vector::Ones(200);
  w.tail(100) *= 1e-12;
  CHECK(silverman_bandwidth(Particles(both, w / w.sum())) < 0.5);
}

TEST_CASE("misuse is named") {
  CHECK_THROWS_WITH_AS((void)silverman_bandwidth(Particles(Matrix::Ones(1, 3))), "silverman_bandwidth: all particles coincide, so no bandwidth can be chosen", DomainError);
  CHECK_THROWS_AS((void)sheather_jones_bandwidth(cloud(2, 10)), DomainError);
  CHECK_THROWS_AS((void)to_quantiles(cloud(2, 10)), DomainError);
  CHECK_THROWS_WITH_AS((void)to_quantiles(Particles(Matrix{{1.0, 1.0}})), "to_quantiles: two particles coincide at x = 1", DomainError);
  CHECK_THROWS_AS((void)to_gaussian(Particles(Matrix::Ones(2, 4))), DomainError);
  CHECK_THROWS_AS((void)to_quantiles(GridDensity(box(1, 0, 1, 4), Vector{{2, 0, 1, 1}})), DomainError);
  CHECK_THROWS_AS((void)to_particles(GridDensity(box(1, 0, 1, 4), Vector{{2, 0, 1, 1}}), 2.0), DomainError);
}
