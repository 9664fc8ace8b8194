#include <jko/core/error.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/measures/quantile_function.hpp>
#include <jko/transport/exact.hpp>
#include <jko/transport/grid_w2.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;

namespace {

std::shared_ptr<const Grid> box(std::vector<Index> cells, Boundary boundary = Boundary::no_flux) {
  const auto d = static_cast<Index>(cells.size());
  return std::make_shared<const Grid>(Grid{Vector::Zero(d), Vector::Ones(d), std::move(cells), boundary});
}

/// As grid_w2 reads a density made of cell averages: width^2/12 more variance along each axis.
Gaussian as_read(const Gaussian& g, const Grid& grid) {
  Matrix covariance = g.covariance();
  for (int a = 0; a < grid.dimension(); ++a) covariance(a, a) += std::pow(grid.width(a), 2) / 12;
  return {g.mean(), covariance};
}

GridDensity diagonal(const std::shared_ptr<const Grid>& grid, const Gaussian& g) { return GridDensity::gaussian(grid, g.mean(), g.covariance()); }

}  // namespace

TEST_CASE("Gaussians: Bures' distance within the estimated error, which falls as it is asked to, in 1 to 3 dimensions") {
  struct Case {
    std::vector<Index> cells;
    Gaussian a, b;
  };
  // Diagonal covariances are averaged over cells; the last pair has values at the centres, which read as they are.
  const std::vector<Case> cases{{{300}, {Vector{{0.3}}, Matrix{{0.002}}}, {Vector{{0.6}}, Matrix{{0.006}}}},
                                {{60, 64}, {Vector{{0.5, 0.5}}, Matrix{{0.0036, 0}, {0, 0.0036}}}, {Vector{{0.5, 0.5}}, Matrix{{0.0045, 0}, {0, 0.0052}}}},
                                {{30, 24, 36}, {Vector{{0.4, 0.5, 0.45}}, 0.006 * Matrix::Identity(3, 3)}, {Vector{{0.55, 0.5, 0.6}}, 0.009 * Matrix::Identity(3, 3)}},
                                {{64, 72}, {Vector{{0.4, 0.45}}, Matrix{{0.004, 0.0015}, {0.0015, 0.003}}}, {Vector{{0.6, 0.55}}, Matrix{{0.0045, -0.002}, {-0.002, 0.003}}}}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const auto& [cells, a, b] = cases[i];
    const auto grid = box(cells);
    const double exact = i == 3 ? w2(a, b) : w2(as_read(a, *grid), as_read(b, *grid));
    for (const double relative : {1e-2, 1e-3, 1e-4}) {
      if (i == 2 && relative < 1e-3) continue;  // its cells are too wide
      const GridW2 found = grid_w2(diagonal(grid, a), diagonal(grid, b), {.relative = relative});
      REQUIRE(found.status == Status::converged);
      CHECK(found.error <= relative * found.value);
      // The walls are 4 deviations or more away (1e-4 of mass, moved by the truncation of a density by 1e-5 relative at most).
      CHECK(std::abs(found.value - exact) <= found.error + 1e-5 * exact);
    }
  }
}

TEST_CASE("translations are exact at every epsilon, small ones and far ones, on the torus too") {
  const auto grid = box({72, 80}), torus = box({72, 80}, Boundary::periodic);
  const auto bump = [](const std::shared_ptr<const Grid>& on, double x, double y) {
    return GridDensity::from_density(on, [&](const ConstMatrixRef& p) {
      Vector out(p.cols());
      for (Index i = 0; i < p.cols(); ++i) {
        double u = p(0, i) - x, v = p(1, i) - y;
        if (on->boundary == Boundary::periodic) u -= std::round(u), v -= std::round(v);
        out[i] = std::exp(-150 * (u * u + 2 * v * v)) * (1.2 + std::sin(20 * u));
      }
      return out;
    });
  };
  // Errors: e^{-150 (0.25)^2} = 1e-4 of density at the nearest wall, and sampling.
  for (const double shift : {1e-4, 1e-2, 0.45}) {
    CAPTURE(shift);
    const GridW2 found = grid_w2(bump(grid, 0.3, 0.35), bump(grid, 0.3 + 0.8 * shift, 0.35 + 0.6 * shift), {.absolute = 1e-8});
    CHECK(found.status == Status::converged);
    CHECK(std::abs(found.value - shift) < 1e-3 * shift);
    if (shift > 0.1) continue;  // tails would take the shorter way around
    const GridW2 around = grid_w2(bump(torus, 0.97, 0.98), bump(torus, 0.97 + 0.8 * shift, 0.98 + 0.6 * shift), {.absolute = 1e-8});
    CHECK(around.status == Status::converged);
    CHECK(std::abs(around.value - shift) < 1e-3 * shift);
  }
}

TEST_CASE("mixtures on a line: the quantile functions' distance") {
  // N(0.3, 1/400) and N(0.65, 1/600) with weights 1 - m and m.
  const auto cdf = [](double m, double x) { return (1 - m) * 0.5 * std::erfc(-(x - 0.3) * std::sqrt(200.0)) + m * 0.5 * std::erfc(-(x - 0.65) * std::sqrt(300.0)); };
  const auto grid = box({512});
  const auto on = [&](double m) {
    Vector values(512);
    for (Index i = 0; i < 512; ++i) values[i] = cdf(m, static_cast<double>(i + 1) / 512) - cdf(m, static_cast<double>(i) / 512);
    return GridDensity(grid, values * 512 / values.sum());
  };
  const auto quantile = [&](double m, double p) {
    double lower = 0, upper = 1;
    for (int i = 0; i < 40; ++i) {
      const double middle = 0.5 * (lower + upper);
      (cdf(m, middle) < p ? lower : upper) = middle;
    }
    return 0.5 * (lower + upper);
  };
  double square = 0;
  constexpr int n = 5000;  // 4 n changes the distance by 8e-9
  for (int i = 0; i < n; ++i) square += std::pow(quantile(0.3, (i + 0.5) / n) - quantile(0.6, (i + 0.5) / n), 2) / n;
  const double exact = std::sqrt(square);
  const GridW2 found = grid_w2(on(0.3), on(0.6));
  REQUIRE(found.status == Status::converged);
  CHECK(std::abs(found.value - exact) < found.error + 1e-4 * exact);
  CHECK(found.error <= 1e-3 * found.value);
}

TEST_CASE("the lower bound holds for the atoms at the cell centres, and nearly is their distance") {
  const auto grid = box({18, 15});
  const auto a = GridDensity::gaussian(grid, Vector{{0.35, 0.4}}, Matrix{{0.012, 0.004}, {0.004, 0.01}});
  const auto b = GridDensity::gaussian(grid, Vector{{0.6, 0.55}}, Matrix{{0.015, -0.006}, {-0.006, 0.011}});
  const auto atoms = [&](const GridDensity& m) { return Particles(grid->points(), m.values() / m.values().sum()); };
  const double exact = std::sqrt(exact_transport(atoms(a), atoms(b)).cost);
  const GridW2 found = grid_w2(a, b, {.relative = 1e-2});
  CHECK(found.atoms_lower <= exact * (1 + 1e-12));
  CHECK(found.atoms_lower > 0.995 * exact);
  // Atoms and densities differ by sqrt(d/12) widths each at most, by the triangle inequality; on smooth densities by far less.
  CHECK(std::abs(found.value - exact) < 2 * std::sqrt(1.0 / 6) / 15);
  CHECK(std::abs(found.value - exact) < 0.02 * exact);
}

TEST_CASE("what cannot be resolved is said: indicator functions on few cells, an iteration limit; equal densities, one cell, misuse") {
  const auto grid = box({32, 32});
  const auto square = [&](double left, double width) {
    return GridDensity::from_density(grid, [&](const ConstMatrixRef& x) {
      Vector out(x.cols());
      for (Index i = 0; i < x.cols(); ++i) out[i] = x(0, i) > left && x(0, i) < left + width && x(1, i) > 0.25 && x(1, i) < 0.75 ? 1 : 0;
      return out;
    });
  };
  // The expansion in epsilon fails at steps: 1e-5 is out of reach. [1/4, 1/2] to [1/4, 3/4].
  const GridW2 rough = grid_w2(square(0.25, 0.25), square(0.25, 0.5), {.relative = 1e-5});
  const double w = 1.0 / 32, spread = w * (std::sqrt(255.0 / 12) - std::sqrt(63.0 / 12));  // deviations of 16 and 8 atoms
  CHECK(std::abs(rough.value - std::sqrt(1.0 / 64 + spread * spread)) <= rough.error);
  CHECK(rough.status == Status::stalled);
  const auto smooth = [&](double x) { return GridDensity::gaussian(grid, Vector{{x, 0.5}}, 0.006 * Matrix::Identity(2, 2)); };
  CHECK(grid_w2(smooth(0.4), smooth(0.6), {.max_applications = 30}).status == Status::iteration_limit);
  CHECK(grid_w2(smooth(0.4), smooth(0.4)).value == 0);
  CHECK(w2(smooth(0.4), smooth(0.6)) == doctest::Approx(0.2).epsilon(1e-3));
  CHECK(grid_w2(GridDensity(box({1, 1}), Vector::Ones(1)), GridDensity(box({1, 1}), Vector::Ones(1))).status == Status::converged);
  // 1 x N is the line.
  const auto thin = [&](Index n, double x) { return GridDensity::gaussian(box({1, n}), Vector{{0.5, x}}, 0.006 * Matrix::Identity(2, 2)); };
  CHECK(grid_w2(thin(64, 0.4), thin(64, 0.6)).value == doctest::Approx(0.2).epsilon(1e-3));
  const auto one = grid_w2(smooth(0.4), smooth(0.55), {.threads = 1}), two = grid_w2(smooth(0.4), smooth(0.55), {.threads = 2});
  CHECK(one.value == two.value);
  CHECK(one.atoms_lower == two.atoms_lower);
  CHECK_THROWS_AS((void)grid_w2(smooth(0.4), thin(64, 0.4)), ShapeError);
  CHECK_THROWS_AS((void)grid_w2(GridDensity(), smooth(0.4)), DomainError);
  CHECK_THROWS_AS((void)grid_w2(smooth(0.4), smooth(0.5), {.relative = 0}), DomainError);
}
