#include <jko/core/error.hpp>
#include <jko/energies/grid_energy.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;

namespace {

std::shared_ptr<const Grid> square(Index n, double half, int d = 2, Boundary boundary = Boundary::no_flux) {
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, -half), Vector::Constant(d, half), std::vector<Index>(static_cast<std::size_t>(d), n), boundary});
}

}  // namespace

TEST_CASE("energies of a Gaussian by parts") {
  // Smooth and flat at the walls: the midpoint rule is spectrally accurate for values at centres. The density is 1e-12 at the walls (8 deviations).
  const auto grid = square(96, 8);
  const Matrix covariance{{1.0, 0.3}, {0.3, 0.8}};
  const auto rho = GridDensity::gaussian(grid, Vector::Zero(2), covariance);
  const double determinant = 0.8 - 0.09, pi = std::numbers::pi;
  FreeEnergy f;
  f.add_potential(formula("a*x1^2 + x2^2", 2), Vector::Constant(1, 0.5)).add_entropy(2).add_porous_medium(0.7, 3);
  f.add_interaction(formula("b*(x1^2+x2^2)", 2), Vector::Constant(1, 0.25));
  const GridEnergy energy(f, grid);
  const EnergyValue value = energy.value(rho.values());
  REQUIRE(value.parts.size() == 4);
  CHECK(std::abs(value.parts[0].second - (0.5 + 0.8)) < 1e-10);
  CHECK(std::abs(value.parts[1].second + 0.5 * (1 + std::log(2 * pi) + 0.5 * std::log(determinant))) < 1e-10);
  // int N^3 = (2 pi)^{-2} |S|^{-1}/3 in two dimensions.
  CHECK(std::abs(value.parts[2].second - 0.7 / 2 / (4 * pi * pi * determinant * 3)) < 1e-10);
  // 1/2 E b |X - Y|^2 = b tr S.
  CHECK(std::abs(value.parts[3].second - 0.25 * 1.8) < 1e-10);
}

TEST_CASE("the first variation is the derivative of the value along densities, and that of the parameters too") {
  const auto grid = square(12, 1.5);
  FreeEnergy f;
  f.add_potential(formula("a*x1^4 + sin(x2)", 2), Vector::Constant(1, 0.3)).add_entropy(1.7).add_porous_medium(0.4, 0.7);
  f.add_interaction(formula("b*exp(-(x1^2+x2^2))", 2), Vector::Constant(1, 0.8));
  const GridEnergy energy(f, grid);
  const Vector rho = GridDensity::gaussian(grid, Vector{{0.2, -0.1}}, Matrix::Identity(2, 2)).values();
  Vector direction(rho.size());
  for (Index i = 0; i < rho.size(); ++i) direction[i] = std::sin(1.0 + 0.7 * static_cast<double>(i)) * rho[i];
  const double e = 1e-4;
  const double difference = (energy.value(rho + e * direction).total - energy.value(rho - e * direction).total) / (2 * e);
  // Truncation e^2 |F'''|/6 with F''' of order F: 2e-9 relative; rounding 1e-16/e.
  CHECK(std::abs(difference - energy.first_variation(rho).dot(direction) * grid->cell_volume()) < 1e-8);
  const Matrix by_parameter = energy.parameter_variation(rho);
  for (Index j = 0; j < by_parameter.cols(); ++j) {
    Vector up = f.parameters(), down = f.parameters();
    up[j] += e;
    down[j] -= e;
    FreeEnergy above = f, below = f;
    above.set_parameters(up);
    below.set_parameters(down);
    const Vector central = (GridEnergy(above, grid).first_variation(rho) - GridEnergy(below, grid).first_variation(rho)) / (2 * e);
    CHECK((central - by_parameter.col(j)).cwiseAbs().maxCoeff() < 1e-6);
  }
}

TEST_CASE("the logarithmic interaction of a Gaussian is of second order in the width") {
  // W = -log|x| and rho = N(0, s I) in the plane: W*rho(0) = -E log|X| = (gamma - log(2 s))/2. Errors: cell averages add width^2/12 to the variance,
  // and the self term's average differs from the one that would make the lattice sum exact by 0.25; together width^2/(24 s) + 0.25 rho(0) width^2
  // = 8e-4 at 101 cells. The self term itself is rho(0) width^2 (1 - log(width)) = 8e-3: a wrong one would be seen.
  const double s = 0.04;
  double errors[2];
  for (int i = 0; i < 2; ++i) {
    const Index n = i == 0 ? 51 : 101;
    const auto grid = square(n, 1);
    const auto rho = GridDensity::gaussian(grid, Vector::Zero(2), s * Matrix::Identity(2, 2));
    FreeEnergy f;
    f.add_interaction(formula("-log(sqrt(x1^2+x2^2))", 2), Vector());
    errors[i] = std::abs(GridEnergy(f, grid).interaction(rho.values())[n / 2 + n * (n / 2)] - 0.5 * (0.5772156649015329 - std::log(2 * s)));
  }
  CHECK(errors[1] < 1e-3);
  CHECK(std::abs(errors[0] / errors[1] - std::pow(101.0 / 51, 2)) < 0.4);  // next order width^2/s = 4 % of it
}

TEST_CASE("periodic interactions wrap") {
  const auto grid = square(32, std::numbers::pi, 1, Boundary::periodic);
  FreeEnergy f;
  f.add_interaction(formula("cos(x)", 1), Vector());
  Vector rho(32);
  const Vector x = grid->centres(0);
  for (Index i = 0; i < 32; ++i) rho[i] = (1 + 0.5 * std::sin(x[i])) / (2 * std::numbers::pi);
  // cos * sin/(4 pi) over a period is sin/4.
  const Vector w = GridEnergy(f, grid).interaction(rho);
  for (Index i = 0; i < 32; ++i) CHECK(std::abs(w[i] - 0.25 * std::sin(x[i])) < 1e-14);
}

TEST_CASE("the slope vanishes at Gibbs densities and is second order elsewhere") {
  FreeEnergy f;
  f.add_potential(formula("x1^2/2 + x2^4/4", 2), Vector()).add_entropy(1.5);
  const auto gibbs = [](const Grid& g, double beta) {
    const Matrix x = g.points();
    Vector v = (-beta * (x.row(0).array().square() / 2 + x.row(1).array().pow(4) / 4)).exp().transpose();
    return Vector(v / (v.sum() * g.cell_volume()));
  };
  const auto grid = square(64, 4);
  CHECK(GridEnergy(f, grid).slope(gibbs(*grid, 1.5)) < 1e-12);
  // rho = N(0, s): dF/drho = x^2/2 + log rho, slope = |1 - 1/s| sqrt(s) in one dimension.
  FreeEnergy g;
  g.add_potential(ornstein_uhlenbeck(), Vector{{1.0, 0.0}}).add_entropy(1);
  double errors[2];
  for (int i = 0; i < 2; ++i) {
    const auto line = square(80 * (i + 1), 12, 1);
    errors[i] = GridEnergy(g, line).slope(GridDensity::gaussian(line, Vector::Zero(1), Matrix::Constant(1, 1, 2.0)).values()) - 0.5 * std::sqrt(2.0);
  }
  CHECK(std::abs(errors[0] / errors[1] - 4) < 0.2);  // 4 (1 + O(width^2)), width^2 = 0.02 at most
}

TEST_CASE("obstacles, congestion and bad potentials") {
  const auto grid = square(8, 1, 1);
  FreeEnergy f;
  f.add_potential(formula("-log(x)", 1), Vector());  // +infinity or NaN at negative x
  CHECK_THROWS_AS(GridEnergy(f, grid), DomainError);
  FreeEnergy crowded;
  crowded.add_congestion(0.4);
  const GridEnergy energy(crowded, grid);
  CHECK(std::isinf(energy.value(Vector::Constant(8, 0.5)).total));
  CHECK(energy.value(Vector::Constant(8, 0.4)).total == 0);
  FreeEnergy plane;
  plane.add_potential(formula("x1+x2", 2), Vector());
  CHECK_THROWS_AS(GridEnergy(plane, grid), ShapeError);
}

TEST_CASE("exponents of the porous-medium part") {
  FreeEnergy f;
  CHECK_THROWS_AS(f.add_porous_medium(1, 1), DomainError);
  CHECK_THROWS_AS(f.add_porous_medium(1, 0), DomainError);
  CHECK_THROWS_AS(f.add_congestion(0), DomainError);
  f.add_porous_medium(1, 0.4);
  CHECK_FALSE(f.convexity().has_value());  // 0.4 < 1 - 1/d for d = 2 and 3, and the dimension is not known
  FreeEnergy line;
  line.add_potential(ornstein_uhlenbeck(), Vector{{2.0, 0.0}}).add_porous_medium(1, 0.4);
  REQUIRE(line.convexity().has_value());  // d = 1: every m > 0
  CHECK(line.convexity()->kappa == 2.0);
}
