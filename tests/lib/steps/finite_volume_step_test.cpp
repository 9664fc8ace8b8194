#include <jko/core/error.hpp>
#include <jko/energies/grid_energy.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/models/obstacles.hpp>
#include <jko/problems/self_similar.hpp>
#include <jko/reference/fokker_planck_grid.hpp>
#include <jko/steps/finite_volume_step.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;

namespace {

std::shared_ptr<const Grid> box(int d, Index cells, double half, Boundary boundary = Boundary::no_flux) {
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, -half), Vector::Constant(d, half), std::vector<Index>(static_cast<std::size_t>(d), cells), boundary});
}

const Model ou2(ornstein_uhlenbeck(2), Vector{{1.0, 0.4, 1.3, 0.2, -0.1}}, 1.5);

}  // namespace

TEST_CASE("one dimension, by hand: the dual value and the cost of the result's flow enclose the minimum") {
  const auto grid = box(1, 40, 4);
  const double h = 0.2, dx = 0.2, temperature = 1 / 1.4;
  const Model model(double_well(), Vector{{1.0, 1.0, 0.2}}, 1.4);
  const GridDensity from = GridDensity::gaussian(grid, Vector{{0.8}}, Matrix{{0.3}});
  FiniteVolumeStep step{FreeEnergy(model)};
  const auto r = step.advance(from, h);
  REQUIRE(r.status == Status::converged);
  const Vector &phi = step.report().potential, &rho = r.measure.values(), x = grid->centres(0);
  double dual = 0, primal = 0, imbalance = 0;
  for (Index k = 0; k < 40; ++k) {
    double kinetic = 0, leaving = 0, arriving = 0;
    for (const Index l : {k - 1, k + 1}) {
      if (l < 0 || l >= 40) continue;
      const double fall = std::max(0.0, phi[k] - phi[l]) / dx, rise = std::max(0.0, phi[l] - phi[k]) / dx;
      kinetic += 0.5 * h * fall * fall;
      leaving += rho[k] * fall / dx;
      arriving += rho[l] * rise / dx;
    }
    const double psi = std::pow(x[k], 4) / 4 - x[k] * x[k] / 2 + 0.2 * x[k];
    dual += dx * (from.values()[k] * phi[k] - temperature * std::exp((phi[k] + kinetic - psi) / temperature - 1));  // u*(p) = T exp(p/T - 1)
    primal += dx * rho[k] * (psi + temperature * std::log(rho[k]) + kinetic);
    imbalance += dx * std::abs(rho[k] - from.values()[k] + h * (leaving - arriving));
  }
  // Weak duality makes the bracket a proof: both numbers are recomputed from phi and rho alone, to rounding of sums of 40 terms.
  CHECK(imbalance < 1e-13);
  CHECK(primal - dual >= -1e-13);
  CHECK(primal - dual <= 1e-10);
  CHECK(step.report().dual_value == doctest::Approx(dual).epsilon(1e-12));
  CHECK(r.objective == doctest::Approx(primal).epsilon(1e-12));
  // The minimum lies below any other candidate: staying put costs F(from) and no transport.
  CHECK(primal < step.energy_value(from).total);
}

TEST_CASE("mass, positivity, energy descent and the exact equilibrium; small and huge steps, two and three dimensions") {
  for (const int d : {2, 3}) {
    const auto grid = box(d, d == 2 ? 48 : 16, 4);
    const FreeEnergy energy = d == 2 ? FreeEnergy(ou2) : FreeEnergy(Model(formula("x1^2/2+x2^2/2+x3^4/8+0.3*x1*x2", 3), Vector(), 1.2));
    const GridDensity from = GridDensity::gaussian(grid, Vector::Constant(d, 0.5), 0.4 * Matrix::Identity(d, d));
    FiniteVolumeStep step(energy);
    for (const double h : {0.01, 0.3, 5.0}) {
      const auto r = step.advance(from, h);
      REQUIRE(r.status == Status::converged);
      CHECK(std::abs(r.measure.mass() - 1) < 1e-14);
      CHECK(r.measure.values().minCoeff() > 0);
      CHECK(r.objective <= step.energy_value(from).total);
      CHECK(r.gap < 1e-7);  // KL <= beta gap: the density is known to sqrt(2 beta gap) in L1 and better
      CHECK(step.report().l1_residual <= 1e-9);
    }
    // exp(-beta Psi) has phi constant: nothing flows, whatever h.
    const GridDensity rest = FokkerPlanckGrid(energy, grid).stationary();
    const auto still = step.advance(rest, 3.0);
    REQUIRE(still.status == Status::converged);
    CHECK(l1_distance(still.measure, rest) <= 2e-9);
    CHECK(still.w2_moved < 1e-4);  // the action is h times a square of what the tolerance leaves
  }
}

TEST_CASE("flows tend to the exact law at first order in h and dx together, and the step is not the exact JKO step") {
  const Gaussian start(Vector{{0.8}}, Matrix{{0.5}});
  const Model model(ornstein_uhlenbeck(), Vector{{1.0, 0.0}}, 1.0);
  const double t = 0.4;
  const Gaussian exact(Vector{{0.8 * std::exp(-t)}}, Matrix{{1 + (0.5 - 1) * std::exp(-2 * t)}});
  double last = 0;
  for (const Index n : {80, 160, 320}) {
    const auto grid = box(1, n, 5);
    const int steps = static_cast<int>(n) / 10;
    const auto flow = Flow<FiniteVolumeStep>(FiniteVolumeStep(FreeEnergy(model)), GridDensity::gaussian(grid, start.mean(), start.covariance()), {.h = t / steps, .steps = steps}).run();
    REQUIRE(flow.status == Status::converged);
    const double error = l1_distance(flow.final_state().measure, GridDensity::gaussian(grid, exact.mean(), exact.covariance()));
    if (last > 0) CHECK(std::abs(std::log2(last / error) - 1) < 0.15);  // first order, with the second-order term of the coarse grid
    last = error;
  }
  // One step on a fine grid against the exact JKO step: the difference falls with h like h^2 until upwinding dominates; at h = 0.2 it is far above the certificate.
  const auto grid = box(1, 1000, 5);
  FiniteVolumeStep step{FreeEnergy(model)};
  const auto r = step.advance(GridDensity::gaussian(grid, start.mean(), start.covariance()), 0.2);
  GaussianStep jko{FreeEnergy(model)};
  const Gaussian other = jko.advance(start, 0.2).measure;
  CHECK(l1_distance(r.measure, GridDensity::gaussian(grid, other.mean(), other.covariance())) > 10 * step.report().l1_bound);
}

TEST_CASE("porous medium: Barenblatt's profile at first order, no mass ahead of the front's reach") {
  FreeEnergy energy;
  energy.add_porous_medium(0.05, 2);
  const auto barenblatt = problems::barenblatt(2, 2, 0.05);
  double last = 0;
  for (const Index n : {32, 64}) {
    const auto grid = box(2, n, 0.5);
    const int steps = static_cast<int>(n) / 8;
    const auto flow = Flow<FiniteVolumeStep>(FiniteVolumeStep(energy), barenblatt.on_grid(grid, 0.2), {.h = 0.01 / steps, .steps = steps}).run();
    REQUIRE(flow.status == Status::converged);
    const double error = l1_distance(flow.final_state().measure, barenblatt.on_grid(grid, barenblatt.flow(0.2, 0.01)));
    if (last > 0) CHECK(last / error > 1.5);  // first order less what the front costs
    last = error;
    CHECK(flow.final_state().measure.values().minCoeff() >= 0);
  }
}

TEST_CASE("a front that moves by a fifth of its radius takes few Newton iterations, with cells at the edge relaxed") {
  FreeEnergy energy;
  energy.add_porous_medium(0.05, 2);
  FiniteVolumeStep step(energy);
  const auto r = step.advance(problems::barenblatt(2, 2, 0.05).on_grid(box(2, 128, 0.5), 0.2), 0.005);
  CHECK(r.status == Status::converged);
  CHECK(r.iterations <= 8);  // 4 seen; without the relaxation 20
  CHECK(step.report().l1_residual <= 1e-9);
  CHECK(r.gap <= 1e-12);
}

TEST_CASE("obstacles keep the mass out, and the law flows around them to its Gibbs density") {
  const auto grid = box(2, 32, 2);
  FreeEnergy energy;
  energy.add_potential(with_obstacles(ornstein_uhlenbeck(2), {formula("x1^2 + x2^2 - 0.25", 2)}), ou2.theta()).add_entropy(1.5);
  Vector values = GridDensity::gaussian(grid, Vector{{-1.2, 0}}, 0.1 * Matrix::Identity(2, 2)).values();
  const Vector psi = GridEnergy(energy, grid).potential();
  Index blocked = 0;
  for (Index i = 0; i < values.size(); ++i) {
    if (std::isfinite(psi[i])) continue;
    values[i] = 0;
    ++blocked;
  }
  REQUIRE(blocked > 10);
  const GridDensity from(grid, values / (values.sum() * grid->cell_volume()));
  const auto flow = Flow<FiniteVolumeStep>(FiniteVolumeStep(energy), from, {.h = 5, .steps = 8}).run();
  REQUIRE(flow.status == Status::converged);
  const GridDensity end = flow.final_state().measure, rest = FokkerPlanckGrid(energy, grid).stationary();
  for (Index i = 0; i < psi.size(); ++i) {
    if (!std::isfinite(psi[i])) CHECK(end.values()[i] == 0);
  }
  // The slowest rate is at least 0.5 here: (1 + 5/2)^{-8} = 4e-5 of a distance below 2 is left.
  CHECK(l1_distance(end, rest) < 1e-4);
  CHECK_THROWS_AS((void)FiniteVolumeStep(energy).advance(GridDensity::gaussian(grid, Vector::Zero(2), Matrix::Identity(2, 2)), 0.1), DomainError);
}

TEST_CASE("a periodic box knows no place: a shifted start gives the shifted result") {
  const auto grid = box(2, 20, 1, Boundary::periodic);
  FreeEnergy energy;
  energy.add_entropy(1.0);
  const Vector wave = (grid->points().row(0).array() * std::numbers::pi).cos() * 0.5 + 1 + 0.3 * (grid->points().row(1).array() * std::numbers::pi).sin();
  Vector shifted(wave.size());
  for (Index j = 0; j < 20; ++j) {
    for (Index i = 0; i < 20; ++i) shifted[(i + 3) % 20 + 20 * j] = wave[i + 20 * j];
  }
  FiniteVolumeStep step(energy);
  const auto a = step.advance(GridDensity(grid, wave / (wave.sum() * grid->cell_volume())), 0.05);
  const auto b = step.advance(GridDensity(grid, shifted / (shifted.sum() * grid->cell_volume())), 0.05);
  REQUIRE(a.status == Status::converged);
  REQUIRE(b.status == Status::converged);
  double worst = 0;
  for (Index j = 0; j < 20; ++j) {
    for (Index i = 0; i < 20; ++i) worst = std::max(worst, std::abs(b.measure.values()[(i + 3) % 20 + 20 * j] - a.measure.values()[i + 20 * j]));
  }
  CHECK(worst < 1e-7);  // both certified to 1e-9 in L1, on cells of 0.01
  CHECK((a.measure.values().array() - 0.25).abs().maxCoeff() < (wave / (wave.sum() * grid->cell_volume()) - Vector::Constant(wave.size(), 0.25)).cwiseAbs().maxCoeff());
}

TEST_CASE("tangents agree with differences in the start and in every parameter") {
  FreeEnergy energy(Model(formula("a*x1^4/4 + b*x2^2/2 + x1*x2/3", 2), Vector{{0.7, 1.2}}, 1.3));
  energy.add_porous_medium(0.2, 2);
  const auto grid = box(2, 8, 2);
  const FiniteVolumeStepOptions options{.tolerance = 1e-13};
  const GridDensity from = GridDensity::gaussian(grid, Vector{{0.3, -0.2}}, 0.4 * Matrix::Identity(2, 2));
  const double h = 0.1, d = 1e-6;
  const auto run = [&](const Vector& parameters, const Vector& start) {
    FreeEnergy e = energy;
    e.set_parameters(parameters);
    return FiniteVolumeStep(e, options).advance(from.with_coordinates(start), h).measure.values();
  };
  FiniteVolumeStep step(energy, options);
  REQUIRE(is_success(step.advance(from, h).status));
  const Vector parameters = energy.parameters(), start = from.values();
  const Matrix by_parameter = step.tangent(Matrix(), Matrix::Identity(parameters.size(), parameters.size()));
  for (Index q = 0; q < parameters.size(); ++q) {
    const Vector e = d * Vector::Unit(parameters.size(), q);
    // Truncation 1e-12, rounding 1e-13/1e-6; where two neighbours' phi cross, the upwind side changes: second derivatives jump, an error of order d.
    CHECK((by_parameter.col(q) - (run(parameters + e, start) - run(parameters - e, start)) / (2 * d)).cwiseAbs().maxCoeff() < 1e-5);
  }
  Vector direction = Vector::Zero(start.size());  // moves mass from one cell to another
  direction[27] = 1;
  direction[36] = -1;
  const Vector difference = (run(parameters, start + d * direction) - run(parameters, start - d * direction)) / (2 * d);
  CHECK((step.tangent(direction, Matrix()) - difference).cwiseAbs().maxCoeff() < 1e-5);
}

TEST_CASE("statuses and misuse") {
  FiniteVolumeStep step{FreeEnergy(ou2)};
  const auto grid = box(2, 8, 2);
  const GridDensity from = GridDensity::gaussian(grid, Vector::Zero(2), 0.4 * Matrix::Identity(2, 2));
  CHECK_THROWS_WITH_AS((void)step.advance(from, -1), "finite_volume_step: step size h is -1, but must be positive", DomainError);
  CHECK_THROWS_AS((void)step.advance(GridDensity(), 0.1), DomainError);
  CHECK_THROWS_AS((void)step.tangent(Matrix(), Matrix()), DomainError);
  FreeEnergy fast;
  fast.add_porous_medium(1, 0.5);
  CHECK_THROWS_AS(FiniteVolumeStep{fast}, DomainError);
  FreeEnergy crowded(ou2);
  crowded.add_congestion(1);
  CHECK_THROWS_AS(FiniteVolumeStep{crowded}, DomainError);
  FreeEnergy cold;
  cold.add_potential(ornstein_uhlenbeck(2), ou2.theta());
  CHECK_THROWS_AS(FiniteVolumeStep{cold}, DomainError);
  FiniteVolumeStep hurried(FreeEnergy(ou2), {.max_iterations = 1});
  const auto r = hurried.advance(from, 1.0);
  CHECK(r.status == Status::iteration_limit);
  CHECK(std::abs(r.measure.mass() - 1) < 1e-14);  // feasible all the same
  CHECK(r.gap > 0);
}
