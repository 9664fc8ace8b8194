#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/fokker_planck_grid.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

using namespace jko;

namespace {

std::shared_ptr<const Grid> box(std::vector<Index> cells, double half_width) {
  const auto d = static_cast<Index>(cells.size());
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, -half_width), Vector::Constant(d, half_width), std::move(cells)});
}

GridDensity random_density(const std::shared_ptr<const Grid>& grid) {
  Vector values(grid->size());
  RandomStream stream(11, "fokker-planck-grid-test");
  for (double& v : values) v = stream.uniform();
  values /= values.sum() * grid->cell_volume();
  return {grid, values};
}

Vector outer(const Vector& fast, const Vector& slow) {
  Vector out(fast.size() * slow.size());
  for (Index j = 0; j < slow.size(); ++j) out.segment(j * fast.size(), fast.size()) = slow[j] * fast;
  return out;
}

// Psi = (x-mu)' K (x-mu)/2 whose K does not commute with the start's covariance: the coefficients differ from line to line.
const Model ou(ornstein_uhlenbeck(2), (Vector(5) << 1.5, 0.6, 0.8, 0.2, -0.1).finished(), 1.5);
const Gaussian start(Vector{{0.5, 0.4}}, Matrix{{0.3, -0.1}, {-0.1, 0.5}});

/// L1 error at t = 0.4 against the closed form's values at the centres.
double error(Index cells, int steps, GridStepping method) {
  const auto grid = box({cells, cells + 4}, 5);
  FokkerPlanckGrid solver(FreeEnergy(ou), grid);
  const auto from = GridDensity::gaussian(grid, start.mean(), start.covariance());
  const auto end = solver.advance(from, 0.4 / steps, steps, method);
  REQUIRE(end.status == Status::converged);
  const Gaussian exact = OrnsteinUhlenbeck(ou).law(start, 0.4);
  return l1_distance(end.measure, GridDensity::gaussian(grid, exact.mean(), exact.covariance()));
}

}  // namespace

TEST_CASE("second order in space and in time, first for implicit Euler") {
  // Orders by halving: the next term of either expansion is below 8 % here.
  CHECK(std::abs(std::log2(error(40, 160, GridStepping::second_order) / error(80, 160, GridStepping::second_order)) - 2) < 0.15);
  // In time the error of the spatial grid, 2.4e-3 for 160 cells, is in the way: against many steps on the same grid instead.
  const auto grid = box({64, 64}, 5);
  FokkerPlanckGrid solver(FreeEnergy(ou), grid);
  const auto from = GridDensity::gaussian(grid, start.mean(), start.covariance());
  const auto at = [&](int steps, GridStepping method) { return solver.advance(from, 0.4 / steps, steps, method).measure; };
  const GridDensity fine = at(512, GridStepping::second_order);
  const auto order = [&](int steps, GridStepping method) { return std::log2(l1_distance(at(steps, method), fine) / l1_distance(at(2 * steps, method), fine)); };
  CHECK(std::abs(order(16, GridStepping::second_order) - 2) < 0.1);
  CHECK(std::abs(order(64, GridStepping::implicit_euler) - 1) < 0.1);
}

TEST_CASE("on product data the 3-D solver is the product of 1-D solvers: all axes, all group remainders") {
  // Separable Psi; the splitting commutes, so that equality holds to rounding. No size is a multiple of the lines solved together or of the tiles.
  const auto grid = box({19, 33, 7}, 2);
  const FreeEnergy energy(Model(formula("x1^4/4 + 0.3*x1 + x2^2/2 - 0.2*x2 + x3^2", 3), Vector(0), 2.0));
  const char* parts[] = {"x^4/4 + 0.3*x", "x^2/2 - 0.2*x", "x^2"};
  Vector single[3], evolved[3], euler[3];
  for (int a = 0; a < 3; ++a) {
    const auto line = box({grid->cells[static_cast<std::size_t>(a)]}, 2);
    FokkerPlanckGrid solver(FreeEnergy(Model(formula(parts[a], 1), Vector(0), 2.0)), line);
    const GridDensity from = random_density(line);
    single[a] = from.values();
    // A Strang step of dt is two Crank-Nicolson steps of dt/2 on the first two axes and one of dt on the third.
    evolved[a] = FokkerPlanckGrid(FreeEnergy(Model(formula(parts[a], 1), Vector(0), 2.0)), line, {.negative_mass = 1})
                     .advance(from, a == 2 ? 0.001 : 0.0005, a == 2 ? 3 : 6)
                     .measure.values();
    euler[a] = solver.advance(from, 0.1, 3, GridStepping::implicit_euler).measure.values();
  }
  FokkerPlanckGrid solver(energy, grid, {.negative_mass = 1});
  const GridDensity from(grid, outer(outer(single[0], single[1]), single[2]));
  const auto strang = solver.advance(from, 0.001, 3);
  const auto lie = solver.advance(from, 0.1, 3, GridStepping::implicit_euler);
  // Rounding: a few hundred operations on values of size up to 1.
  CHECK((strang.measure.values() - outer(outer(evolved[0], evolved[1]), evolved[2])).cwiseAbs().maxCoeff() < 1e-13);
  CHECK((lie.measure.values() - outer(outer(euler[0], euler[1]), euler[2])).cwiseAbs().maxCoeff() < 1e-13);
}

TEST_CASE("mass, positivity and the stationary density, with an obstacle") {
  // +inf where |x1| < 0.4 and |x2| < 1: log of a negative number would be NaN, so the obstacle is written as a division by zero.
  class Wall : public Potential {
   public:
    int dimension() const override { return 2; }
    const std::vector<Parameter>& parameters() const override { return none_; }
    std::string describe() const override { return "a wall"; }
    void evaluate(Derivative, const ConstMatrixRef& x, const ConstVectorRef&, MatrixRef out) const override {
      for (Index i = 0; i < x.cols(); ++i) {
        const bool blocked = std::abs(x(0, i)) < 0.4 && std::abs(x(1, i)) < 1;
        out(0, i) = blocked ? std::numeric_limits<double>::infinity() : 0.5 * x.col(i).squaredNorm() + 0.3 * x(0, i) * x(1, i);
      }
    }

   private:
    std::vector<Parameter> none_;
  };
  FreeEnergy energy;
  energy.add_potential(std::make_shared<Wall>(), Vector(0)).add_entropy(1.0);
  const auto grid = box({40, 30}, 3);
  FokkerPlanckGrid solver(energy, grid);
  const GridDensity pi = solver.stationary();
  CHECK(pi.values().minCoeff() == 0);
  // Rates are up to 1/dx^2 = 44 (100 for the finer axis): cancellation leaves epsilon times that and the largest value 0.2.
  CHECK(solver.apply(pi.values()).cwiseAbs().maxCoeff() < 1e-13);
  Vector spike = Vector::Zero(grid->size());
  spike[3 + 40 * 4] = 1 / grid->cell_volume();
  const auto out = solver.advance(GridDensity(grid, spike), 1, 200, GridStepping::implicit_euler);
  REQUIRE(out.status == Status::converged);
  CHECK(std::abs(out.measure.mass() - 1) < 1e-13);
  for (Index i = 0; i < grid->size(); ++i) CHECK((out.measure.values()[i] > 0) == (pi.values()[i] > 0));
  // Halving what is left takes fewer than 6 steps (measured: 40 steps of 5 left 4e-5), so 200 leave less than 2^-33; rounding is far below.
  CHECK(l1_distance(out.measure, pi) < 1e-10);
  CHECK_THROWS_AS((void)solver.advance(random_density(grid), 0.1, 1), DomainError);
  // Rough data and large steps: Crank-Nicolson overshoots, which is a status and not a negative density.
  const auto rough = solver.advance(GridDensity(grid, spike), 5, 3);
  CHECK(rough.status == Status::order_lost);
  CHECK(rough.measure.values() == GridDensity(grid, spike).values());
}

TEST_CASE("one set of coefficients for all lines and one for each agree: all axes, all remainders") {
  // A pressure of 1e-300 rho^2 leaves the rates as they are, but the solver keeps those of every line.
  for (const auto& cells : {std::vector<Index>{301, 10}, std::vector<Index>{10, 301}, std::vector<Index>{6, 47, 9}}) {
    const auto grid = box(cells, 2);
    FreeEnergy shared, own;
    const std::string psi = cells.size() == 2 ? "x1^4/4 + 0.3*x1 + x2^2" : "x1^4/4 + 0.3*x1 + x2^2 + x3^4";
    shared.add_potential(formula(psi, static_cast<int>(cells.size())), Vector(0)).add_entropy(1.0);
    own.add_potential(formula(psi, static_cast<int>(cells.size())), Vector(0)).add_entropy(1.0).add_porous_medium(1e-300, 2);
    const GridDensity from = random_density(grid);
    for (const GridStepping method : {GridStepping::implicit_euler, GridStepping::second_order}) {
      const auto a = FokkerPlanckGrid(shared, grid, {.negative_mass = 10}).advance(from, 0.01, 1, method);  // one step: the cut of negative cells is then the same
      const auto b = FokkerPlanckGrid(own, grid, {.negative_mass = 10}).advance(from, 0.01, 1, method);
      REQUIRE(a.status == Status::converged);
      REQUIRE(b.status == Status::converged);
      // Six roundings a cell and sweep, at most 301 cells and 10 sweeps a step: 4e-12 if all had one sign.
      CHECK(l1_distance(a.measure, b.measure) < 4e-12);
    }
  }
}

TEST_CASE("any number of threads gives the same bits, and thin grids work") {
  const auto grid = box({300, 170}, 4);  // more than one panel of lines on the second axis
  const GridDensity from = random_density(grid);
  FokkerPlanckGrid one(FreeEnergy(ou), grid, {.negative_mass = 1}), two(FreeEnergy(ou), grid, {.negative_mass = 1, .threads = 2});
  CHECK(one.advance(from, 1e-3, 3).measure.values() == two.advance(from, 1e-3, 3).measure.values());
  // 1 x N: what is left is the 1-D equation.
  const auto thin = box({1, 50}, 3), line = box({50}, 3);
  FreeEnergy flat;
  flat.add_potential(formula("x1^2/2 + x2^2", 2), Vector(0)).add_entropy(1.0);
  FreeEnergy flat_line;
  flat_line.add_potential(formula("x^2", 1), Vector(0)).add_entropy(1.0);
  const GridDensity thin_start = GridDensity::gaussian(thin, Vector{{0.0, 0.5}}, Matrix{{0.2, 0.0}, {0.0, 0.2}});
  const auto thin_end = FokkerPlanckGrid(flat, thin).advance(thin_start, 0.01, 10, GridStepping::implicit_euler);
  const auto line_end = FokkerPlanckGrid(flat_line, line).advance(GridDensity(line, 6 * thin_start.values()), 0.01, 10, GridStepping::implicit_euler);
  CHECK((6 * thin_end.measure.values() - line_end.measure.values()).cwiseAbs().maxCoeff() < 1e-14);
}

TEST_CASE("misuse is one line") {
  const auto grid = box({8, 8}, 1);
  CHECK_THROWS_AS(FokkerPlanckGrid(FreeEnergy(ou), nullptr), DomainError);
  CHECK_THROWS_WITH_AS(FokkerPlanckGrid(FreeEnergy(ou), box({8}, 1)), "fokker_planck_grid: the energy has dimension 2, but the grid 1", DomainError);
  CHECK_THROWS_AS(FokkerPlanckGrid(FreeEnergy(), grid), DomainError);
  CHECK_THROWS_AS(FokkerPlanckGrid(FreeEnergy(ou), grid, {.tolerance = 0}), DomainError);
  auto periodic = std::make_shared<Grid>(*grid);
  periodic->boundary = Boundary::periodic;
  CHECK_THROWS_AS(FokkerPlanckGrid(FreeEnergy(ou), periodic), DomainError);
  FreeEnergy bad;
  bad.add_potential(formula("log(x1)", 2), Vector(0));
  CHECK_THROWS_WITH_AS(FokkerPlanckGrid(bad, grid), "fokker_planck_grid: the potential is NaN or -inf at a cell centre", DomainError);
  FokkerPlanckGrid solver(FreeEnergy(ou), grid);
  CHECK_THROWS_AS((void)solver.advance(random_density(grid), -1, 1), DomainError);
  CHECK_THROWS_AS((void)solver.advance(random_density(box({8, 9}, 1)), 1, 1), ShapeError);
  CHECK_THROWS_AS((void)solver.apply(Vector::Zero(3)), ShapeError);
}
