#include <jko/core/error.hpp>
#include <jko/transport/flux_bound.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace jko;

namespace {

std::shared_ptr<const Grid> box(std::vector<Index> cells, double lower, double upper) {
  const auto d = static_cast<Index>(cells.size());
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, lower), Vector::Constant(d, upper), std::move(cells)});
}

/// W2 of two densities that are constant on the cells of a line: the squared difference of the two quantile functions, linear between the masses where either changes cell.
double exact_w2(const GridDensity& a, const GridDensity& b) {
  const double width = a.grid().width(0);
  const auto quantile = [&](const GridDensity& m, double p, double& rest) {  // position, `rest`: mass to the end of the cell
    double below = 0;
    const Vector& v = m.values();
    for (Index i = 0; i < v.size(); ++i) {
      const double here = v[i] * width;
      if (here > 0 && p < below + here) {
        rest = below + here - p;
        return std::pair{m.grid().lower[0] + width * (static_cast<double>(i) + (p - below) / here), width / here};
      }
      below += here;
    }
    rest = 2;
    return std::pair{m.grid().upper[0], 0.0};
  };
  double square = 0;
  for (double p = 0; p < 1 - 1e-13;) {
    double rest_a = 0, rest_b = 0;
    const auto [x, dx] = quantile(a, p, rest_a);
    const auto [y, dy] = quantile(b, p, rest_b);
    const double piece = std::max(1e-16, std::min({rest_a, rest_b, 1 - p}));
    const double start = x - y, end = start + (dx - dy) * piece;
    square += piece * (start * start + start * end + end * end) / 3;
    p += piece;
  }
  return std::sqrt(square);
}

GridDensity wave(const std::shared_ptr<const Grid>& grid, double amplitude, double frequency) {
  return GridDensity::from_density(grid, [&](const ConstMatrixRef& x) {
    Vector v = Vector::Ones(x.cols());
    for (Index a = 0; a < x.rows(); ++a) v.array() *= (-2 * x.row(a).array().square()).exp().transpose() * (1 + amplitude * (frequency * x.row(a).array()).sin()).transpose();
    return v;
  });
}

}  // namespace

TEST_CASE("on a line the bound holds and is sharp for near densities") {
  const auto grid = box({80}, -2, 2);
  const auto a = wave(grid, 0, 1);
  double before = 0;
  for (const double amplitude : {0.4, 0.04, 0.004}) {
    for (const double frequency : {1.3, 20.0}) {
      const auto b = wave(grid, amplitude, frequency);
      const double exact = exact_w2(a, b);
      for (const int iterations : {0, 3, 40}) {
        const auto bound = w2_flux_bound(a, b, {.iterations = iterations});
        // On a line the flux is unique, whatever the iterations; W2 times 1 + O(|a - b|/a), which is the amplitude and, for the long wave, the change of the normalisation; rounding of
        // the oracle's masses of 1e-16 over 80 cells moves W2^2 by 1e-14.
        CHECK(bound.w2 >= exact - 1e-6 * exact);
        CHECK(bound.w2 <= exact * (1 + 2 * amplitude) + 1e-9);
        CHECK(bound.far < 1e-12);
      }
    }
    const double here = w2_flux_bound(a, wave(grid, amplitude, 20)).w2;
    if (before > 0) CHECK(std::abs(before / here - 10) < 0.5);  // linear in the difference
    before = here;
  }
}

TEST_CASE("in the plane the bound holds for products, whose W2 is that of the factors") {
  const auto line = box({48}, -2, 2), plane = box({48, 48}, -2, 2);
  const double amplitude = 0.05;
  for (const double frequency : {1.3, 25.0}) {
    const double exact = std::sqrt(2.0) * exact_w2(wave(line, 0, 1), wave(line, amplitude, frequency));
    double last = 1e300;
    for (const int iterations : {0, 5, 20, 60}) {
      const auto bound = w2_flux_bound(wave(plane, 0, 1), wave(plane, amplitude, frequency), {.iterations = iterations});
      CHECK(bound.w2 >= exact * (1 - 1e-6));
      if (iterations > 0) CHECK(bound.w2 <= 1.0001 * last);
      last = bound.w2;
    }
    // Near the best flux: 1 + O(sup |a - b|/a) = 2 * 0.05, and the lumping of |J|^2 on faces, O((width frequency)^2/12) = 0.36 for the short wave.
    CHECK(last <= exact * (1 + 2 * amplitude + std::pow(frequency * line->width(0), 2) / 12));
  }
}

TEST_CASE("mass that no flux may carry is charged the diameter") {
  const auto grid = box({40, 1}, 0, 1);  // an axis of one cell
  Vector left = Vector::Zero(40), right = Vector::Zero(40);
  left.head(10).setConstant(4);
  right.tail(10).setConstant(4);
  const GridDensity a(grid, left), b(grid, right), mixed(grid, 0.9 * left + 0.1 * right);
  CHECK(w2_flux_bound(a, b).w2 == doctest::Approx(std::sqrt(2.0)).epsilon(1e-14));
  CHECK(w2_flux_bound(a, a).w2 == 0);
  const auto part = w2_flux_bound(a, mixed);
  CHECK(part.far == doctest::Approx(0.1).epsilon(1e-12));
  CHECK(part.w2 == doctest::Approx(std::sqrt(0.2)).epsilon(1e-12));
  CHECK_THROWS_AS((void)w2_flux_bound(a, wave(box({40, 2}, 0, 1), 0, 1)), ShapeError);
  CHECK_THROWS_AS((void)w2_flux_bound(a, b, {.iterations = -1}), DomainError);
  CHECK_THROWS_AS((void)w2_flux_bound(GridDensity(), b), DomainError);
}
