#include <jko/core/error.hpp>
#include <jko/measures/grid_density.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

TEST_CASE("cells are numbered with the first axis fastest") {
  const Grid grid{Vector{{0.0, -1.0, 2.0}}, Vector{{2.0, 2.0, 3.0}}, {2, 3, 4}};
  CHECK(grid.size() == 24);
  CHECK(grid.cell_volume() == 0.25);
  const Matrix x = grid.points();
  CHECK(x.col(0) == Vector{{0.5, -0.5, 2.125}});
  CHECK(x.col(1) == Vector{{1.5, -0.5, 2.125}});
  CHECK(x.col(2 + 6) == Vector{{0.5, 0.5, 2.375}});
}

TEST_CASE("moments of the piecewise-constant density") {
  // Cell averages of a Gaussian: the mean is exact up to the tails and the variance too large by w^2/12 twice (the average over a cell and
  // Sheppard's correction are the same convolution), plus terms below 1e-12 for ten cells a standard deviation.
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{-8.0, -9.0}}, Vector{{8.0, 9.0}}, {320, 180}});
  const auto g = GridDensity::gaussian(grid, Vector{{0.31, -0.2}}, Vector{{0.25, 1.0}}.asDiagonal().toDenseMatrix());
  CHECK(std::abs(g.mass() - 1) < 1e-13);
  CHECK((g.mean() - Vector{{0.31, -0.2}}).norm() < 1e-12);
  CHECK(std::abs(g.covariance()(0, 0) - 0.25 - 0.05 * 0.05 / 6) < 1e-11);
  CHECK(std::abs(g.covariance()(1, 1) - 1.0 - 0.1 * 0.1 / 6) < 1e-11);
  CHECK(std::abs(g.covariance()(0, 1)) < 1e-12);
}

TEST_CASE("a correlated Gaussian is second order in the width") {
  const Matrix s{{1.0, 0.5}, {0.5, 0.7}};
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{-8.0, -8.0}}, Vector{{8.0, 8.0}}, {160, 160}});
  // Values at the centres: the midpoint rule is spectrally accurate, so only w^2/12 of the piecewise-constant reading is left.
  const Matrix found = GridDensity::gaussian(grid, Vector{{0.0, 0.0}}, s).covariance();
  CHECK((found - s - 0.01 / 12 * Matrix::Identity(2, 2)).cwiseAbs().maxCoeff() < 1e-11);
}

TEST_CASE("bad grids and densities are refused") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{0.0}}, Vector{{1.0}}, {4}});
  CHECK_THROWS_AS(GridDensity(grid, Vector{{1.0, 1.0, 1.0}}), ShapeError);
  CHECK_THROWS_AS(GridDensity(grid, Vector{{1.0, 1.0, 1.0, 1.1}}), DomainError);
  CHECK_THROWS_AS(GridDensity(grid, Vector{{2.0, -1.0, 2.0, 1.0}}), DomainError);
  CHECK_THROWS_AS(GridDensity(grid, Vector{{std::nan(""), 1.0, 1.0, 1.0}}), DomainError);
  CHECK_THROWS_AS((Grid{Vector{{0.0}}, Vector{{0.0}}, {4}}.validate()), DomainError);
  CHECK_THROWS_AS((Grid{Vector{{0.0}}, Vector{{1.0}}, {0}}.validate()), DomainError);
  CHECK_THROWS_WITH_AS((Grid{Vector{{0.0, 0.0, 0.0}}, Vector{{1.0, 1.0, 1.0}}, {10000, 10000, 1000}}.validate()), doctest::Contains("GiB"), DomainError);
  CHECK_THROWS_AS((Grid{Vector::Zero(4), Vector::Ones(4), {1, 1, 1, 1}}.validate()), ShapeError);
}
