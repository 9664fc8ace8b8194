#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/transport/c_transform.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace jko;

namespace {

std::shared_ptr<const Grid> make_grid(std::vector<Index> cells, Boundary boundary = Boundary::no_flux) {
  const auto d = static_cast<Index>(cells.size());
  return std::make_shared<const Grid>(Grid{Vector::LinSpaced(d, -1.0, -0.5), Vector::LinSpaced(d, 0.7, 1.9), std::move(cells), boundary});
}

/// Distance squared over two, of the torus where periodic.
double cost(const Grid& grid, const Vector& x, const Vector& y) {
  double sum = 0;
  for (int a = 0; a < grid.dimension(); ++a) {
    double s = std::abs(x[a] - y[a]);
    if (grid.boundary == Boundary::periodic) s = std::min(s, grid.upper[a] - grid.lower[a] - s);
    sum += 0.5 * s * s;
  }
  return sum;
}

Vector random_phi(Index n, double size, std::uint64_t index) {
  Vector phi(n);
  RandomStream(7, "c-transform-test", index).fill_normal(phi);
  return size * phi;
}

}  // namespace

TEST_CASE("the transform equals the minimum over all pairs, in 1 to 3 dimensions, with walls and on the torus, rough and smooth") {
  std::uint64_t index = 0;
  for (const auto& cells : {std::vector<Index>{17}, {1}, {2}, {9, 6}, {1, 7}, {5, 1, 4}, {4, 5, 3}}) {
    for (const Boundary boundary : {Boundary::no_flux, Boundary::periodic}) {
      for (const double size : {1e-3, 0.1, 10.0}) {
        const auto grid = make_grid(cells, boundary);
        const Vector phi = random_phi(grid->size(), size, ++index);
        std::vector<std::int32_t> argmin;
        const Vector found = CTransform(grid)(phi, argmin);
        const Matrix points = grid->points();
        for (Index y = 0; y < phi.size(); ++y) {
          double best = std::numeric_limits<double>::infinity();
          for (Index x = 0; x < phi.size(); ++x) best = std::min(best, cost(*grid, points.col(x), points.col(y)) - phi[x]);
          // Three passes scale by width^2 and back: a few roundings of numbers up to |phi| + |x - y|^2/2.
          const double rounding = 1e-14 * (size * 4 + 10);
          CHECK(std::abs(found[y] - best) <= rounding);
          const Index chosen = argmin[static_cast<std::size_t>(y)];
          CHECK(std::abs(cost(*grid, points.col(chosen), points.col(y)) - phi[chosen] - best) <= rounding);
        }
      }
    }
  }
}

TEST_CASE("a quadratic has a quadratic transform on lattice maps: phi = (1 - 1/s)|x|^2/2 sends y to s y") {
  // (1/s)|x|^2/2 - x.y + |y|^2/2 is least at x = s y, with value (1-s)|y|^2/2. For s = 2 that point is a cell centre or half-way between two
  // (odd cells, box centred at 0: centres are multiples of the width).
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{-1.0, -1.0}}, Vector{{1.0, 1.0}}, {41, 81}});
  const Matrix x = grid->points();
  const Vector phi = 0.25 * x.colwise().squaredNorm().transpose();
  const Vector found = c_transform(grid, phi);
  int tested = 0;
  for (Index y = 0; y < x.cols(); ++y) {
    if (x.col(y).cwiseAbs().maxCoeff() > 0.48) continue;
    CHECK(std::abs(found[y] + 0.5 * x.col(y).squaredNorm()) < 1e-14);
    ++tested;
  }
  CHECK(tested > 500);
}

TEST_CASE("triple transforms are single ones, and the double one lies above") {
  for (const Boundary boundary : {Boundary::no_flux, Boundary::periodic}) {
    const auto grid = make_grid({33, 20}, boundary);
    const CTransform transform(grid);
    const Vector phi = random_phi(grid->size(), 0.02, 99);
    const Vector once = transform(phi), twice = transform(once), thrice = transform(twice);
    CHECK((twice - phi).minCoeff() > -1e-14);
    CHECK((twice - phi).maxCoeff() > 1e-3);  // phi was rough: not c-concave
    CHECK((thrice - once).cwiseAbs().maxCoeff() < 1e-14);
  }
}

TEST_CASE("cells at -inf are never chosen") {
  const auto grid = make_grid({12, 9});
  Vector phi = random_phi(grid->size(), 0.3, 5);
  for (Index i = 0; i < phi.size(); ++i) {
    if (i % 12 < 7) phi[i] = -std::numeric_limits<double>::infinity();  // whole lines of the second axis
  }
  std::vector<std::int32_t> argmin;
  const Vector found = CTransform(grid)(phi, argmin);
  CHECK(found.allFinite());
  for (const std::int32_t i : argmin) CHECK(i % 12 >= 7);
}

TEST_CASE("the dual value bounds the transport from below, with equality for a translation by whole cells") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{0.0, 0.0}}, Vector{{1.0, 2.0}}, {32, 40}});
  const auto bump = [](double cx, double cy) {
    return [=](const ConstMatrixRef& p) {
      return Vector(((0.09 - (p.row(0).array() - cx).square() - (p.row(1).array() - cy).square()).max(0)).transpose());
    };
  };
  const Vector shift{{3 * grid->width(0), 4 * grid->width(1)}};
  const auto rho = GridDensity::from_density(grid, bump(0.4 + shift[0], 0.8 + shift[1]));
  const auto mu = GridDensity::from_density(grid, bump(0.4, 0.8));
  // T(x) = x - shift, so phi = shift . x.
  const Vector phi = grid->points().transpose() * shift;
  CHECK(std::abs(dual_transport_value(rho, mu, phi) - 0.5 * shift.squaredNorm()) < 1e-13);
  for (std::uint64_t k = 0; k < 5; ++k) {
    const Vector other = phi + random_phi(phi.size(), 0.01, 200 + k);
    CHECK(dual_transport_value(rho, mu, other) < 0.5 * shift.squaredNorm());
  }
}

TEST_CASE("any number of threads gives the same bits") {
  const auto grid = make_grid({130, 90, 7});
  const Vector phi = random_phi(grid->size(), 0.1, 3);
  std::vector<std::int32_t> one, two;
  CHECK(CTransform(grid, 1)(phi, one) == CTransform(grid, 2)(phi, two));
  CHECK(one == two);
}

TEST_CASE("misuse is one line") {
  const auto grid = make_grid({4, 4});
  CHECK_THROWS_AS((void)c_transform(grid, Vector::Zero(15)), ShapeError);
  Vector phi = Vector::Zero(16);
  phi[3] = std::nan("");
  CHECK_THROWS_AS((void)c_transform(grid, phi), DomainError);
  phi.setConstant(-std::numeric_limits<double>::infinity());
  CHECK_THROWS_WITH_AS((void)c_transform(grid, phi), "c_transform: phi is -inf everywhere, but must be finite somewhere", DomainError);
  CHECK_THROWS_AS(CTransform(nullptr), DomainError);
  CHECK_THROWS_AS(CTransform(grid, 0), DomainError);
}
