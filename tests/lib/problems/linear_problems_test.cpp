#include <jko/core/error.hpp>
#include <jko/models/formula.hpp>
#include <jko/problems/box_mode.hpp>
#include <jko/problems/entropic_gaussian.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/problems/self_similar.hpp>
#include <jko/reference/fokker_planck_grid.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::problems;

namespace {

std::shared_ptr<const Grid> box(std::vector<Index> cells, double lower, double upper) {
  const auto d = static_cast<Index>(cells.size());
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, lower), Vector::Constant(d, upper), std::move(cells)});
}

/// Slope between a grid and one of twice the cells.
template <class Error>
double order(const Error& error, Index cells) {
  const double coarse = error(cells), fine = error(2 * cells);
  CAPTURE(coarse);
  CAPTURE(fine);
  CHECK(fine < coarse);
  return std::log2(coarse / fine);
}

}  // namespace

TEST_CASE("box mode: the equation, the walls and the distribution function hold by differences") {
  const BoxMode mode{.slope = 1.7, .beta = 0.6, .mode = 2, .amplitude = 0.05};
  mode.validate();
  const double t = 0.03, e = 1e-4;
  for (const double x : {0.2, 0.55, 0.9}) {
    const auto rho = [&](double at, double time) { return mode.density(at, time); };
    const double time_slope = (rho(x, t + e) - rho(x, t - e)) / (2 * e), slope = (rho(x + e, t) - rho(x - e, t)) / (2 * e);
    const double bend = (rho(x + e, t) - 2 * rho(x, t) + rho(x - e, t)) / (e * e);
    // Differences of step 1e-4: the truncation is 1e-8 of fourth derivatives (about 40^4 of the amplitude), the rounding 1e-8.
    CHECK(std::abs(time_slope - bend / mode.beta - mode.slope * slope) < 1e-4);
    CHECK(std::abs((mode.cdf(x + e, t) - mode.cdf(x - e, t)) / (2 * e) - rho(x, t)) < 1e-6);
  }
  for (const double wall : {0.0, 1.0}) {
    const double slope = (mode.density(wall + e, t) - mode.density(wall - e, t)) / (2 * e);
    CHECK(std::abs(slope / mode.beta + mode.slope * mode.density(wall, t)) < 1e-5);
  }
  CHECK(mode.cdf(0, t) == 0);
  CHECK(std::abs(mode.cdf(1, t) - 1) < 1e-15);
}

TEST_CASE("finite volumes x problems: box mode, two bumps") {
  for (const double slope : {0.0, 1.7}) {
    const BoxMode mode{.slope = slope, .beta = 0.6, .mode = 2, .amplitude = 0.05};
    FreeEnergy energy;
    energy.add_potential(formula(slope == 0 ? "0*x" : "1.7*x", 1), Vector(0)).add_entropy(0.6);
    const auto error = [&](Index cells) {
      const auto grid = box({cells}, 0, 1);
      const auto end = FokkerPlanckGrid(energy, grid).advance(mode.on_grid(grid, 0), 0.02 / 400, 400);
      return l1_distance(end.measure, mode.on_grid(grid, 0.02));
    };
    CHECK(std::abs(order(error, 20) - 2) < 0.1);
  }
  const OrnsteinUhlenbeckFlow bumps = two_bumps(2);
  const auto error = [&](Index cells) {
    const auto grid = box({cells, cells}, -5, 5);
    const auto end = FokkerPlanckGrid(FreeEnergy(bumps.model()), grid).advance(bumps.on_grid(grid, 0), 0.3 / 60, 60);
    return l1_distance(end.measure, bumps.on_grid(grid, 0.3));
  };
  CHECK(std::abs(order(error, 40) - 2) < 0.2);
}

TEST_CASE("finite volumes x problems: porous medium, McKean-Vlasov, Newtonian disk and log gas") {
  // Barenblatt, 2-D, with steps that halve with the width: second order but for the kink at the front.
  FreeEnergy porous;
  porous.add_porous_medium(0.05, 2);
  const SelfSimilar barenblatt_2 = barenblatt(2, 2, 0.05);
  const auto porous_error = [&](Index cells) {
    const auto grid = box({cells, cells}, -0.5, 0.5);
    const int steps = static_cast<int>(cells) / 4;
    const auto end = FokkerPlanckGrid(porous, grid).advance(barenblatt_2.on_grid(grid, 0.2), 0.02 / steps, steps);
    REQUIRE(end.status == Status::converged);
    return l1_distance(end.measure, barenblatt_2.on_grid(grid, barenblatt_2.flow(0.2, 0.02)));
  };
  CHECK(order(porous_error, 32) > 1.6);
  // Mean field of Gaussians. W = 0.125 |x|^2 is alpha = 0.25.
  FreeEnergy mean_field;
  mean_field.add_potential(formula("0.25*(x1^2+x2^2)", 2), Vector(0)).add_entropy(2).add_interaction(formula("0.125*(x1^2+x2^2)", 2), Vector(0));
  const SelfSimilar gaussians = mckean_vlasov_gaussian(2, 2, 0.5, 0.25);
  const auto field_error = [&](Index cells) {
    const auto grid = box({cells, cells}, -4, 4);
    const int steps = static_cast<int>(cells) / 4;
    const auto end = FokkerPlanckGrid(mean_field, grid).advance(gaussians.on_grid(grid, 0.5), 0.5 / steps, steps);
    REQUIRE(end.status == Status::converged);
    return l1_distance(end.measure, gaussians.on_grid(grid, gaussians.flow(0.5, 0.5)));
  };
  CHECK(std::abs(order(field_error, 24) - 2) < 0.15);
  // Log gas of the plane: no diffusion, so upwind fluxes and first order; they smear the edge, so the scale is read from the second moment.
  FreeEnergy coulomb;
  coulomb.add_potential(formula("0.2*(x1^2+x2^2)", 2), Vector(0)).add_interaction(formula("-1.3/(4*Pi)*log(x1^2+x2^2)", 2), Vector(0));
  const SelfSimilar disk = newtonian_ball(2, 1.3, 0.4);
  const double scale = disk.flow(0.5, 0.5), exact = disk.second_moment() * scale * scale;
  const auto disk_error = [&](Index cells) {
    const auto grid = box({cells, cells}, -1.5, 1.5);
    const int steps = static_cast<int>(cells) / 2;
    const auto end = FokkerPlanckGrid(coulomb, grid).advance(disk.on_grid(grid, 0.5), 0.5 / steps, steps);
    REQUIRE(end.status == Status::converged);
    return std::abs(end.measure.covariance().trace() - exact);
  };
  CHECK(std::abs(order(disk_error, 32) - 1) < 0.3);
}

TEST_CASE("entropic Gaussian step: the optimality condition by differences of the objective") {
  // The plan between variances a, v with covariance s has entropic cost (a + v - 2s)/2 + eps (H of the pair), H = -log(2 pi e) - log(a v - s^2)/2.
  const double a = 0.7, h = 0.2;
  for (const double theta : {0.0, 0.5}) {
    const EntropicGaussian step{.kappa = 0.8, .beta = 1.5, .epsilon = 0.05, .theta = theta};
    const auto objective = [&](double v) {
      double best = 1e300;
      for (int i = 0; i < 200; ++i) {  // golden-section on s
        static double lo, hi;
        if (i == 0) lo = 0, hi = std::sqrt(a * v);
        const auto cost = [&](double s) { return 0.5 * (a + v - 2 * s) - 0.5 * step.epsilon * std::log(a * v - s * s); };
        const double s1 = hi - 0.6180339887498949 * (hi - lo), s2 = lo + 0.6180339887498949 * (hi - lo);
        if (cost(s1) < cost(s2)) hi = s2;
        else lo = s1;
        best = std::min(best, cost(0.5 * (lo + hi)));
      }
      return 0.5 * step.kappa * v - 0.5 / step.beta * std::log(v) + (best + 0.5 * theta * step.epsilon * std::log(v)) / h;
    };
    const double v = step.variance(a, h), e = 1e-4;
    CHECK(std::abs(objective(v + e) - objective(v - e)) / (2 * e) < 1e-7);
    CHECK(objective(v + 0.01) > objective(v));
    CHECK(objective(v - 0.01) > objective(v));
    CHECK(std::abs(step.variance(step.stationary(h), h) - step.stationary(h)) < 1e-14);
  }
  // Epsilon 0 is the exact step; the bias is first order without and second order with debiasing.
  const double exact = std::pow(mckean_vlasov_gaussian(1, 1.5, 0.8, 0).jko(std::sqrt(a), h), 2);
  CHECK(std::abs(EntropicGaussian{.kappa = 0.8, .beta = 1.5}.variance(a, h) - exact) < 1e-14);
  const auto bias = [&](double epsilon, double theta) { return EntropicGaussian{0.8, 1.5, epsilon, theta}.variance(a, h) - exact; };
  CHECK(std::abs(std::log2(bias(0.02, 0) / bias(0.01, 0)) - 1) < 0.02);
  CHECK(std::abs(std::log2(bias(0.02, 0.5) / bias(0.01, 0.5)) - 2) < 0.02);
  // theory.md b10: eps = alpha h adds the diffusion alpha/2, as h -> 0.
  const double alpha = 0.3, small = 1e-5;
  CHECK(std::abs(EntropicGaussian{0.8, 1.5, alpha * small, 0}.stationary(small) - (1 / (1.5 * 0.8) + alpha / (2 * 0.8))) < 1e-4);
}

TEST_CASE("Ornstein-Uhlenbeck: the non-commuting JKO iterate tends to the flow with order one; mixtures have none") {
  const OrnsteinUhlenbeckFlow flow = non_commuting();
  const Gaussian exact = flow.at(0.4).front();
  const auto error = [&](int n) { return w2(flow.jko(0.4 / n, n), exact); };
  CHECK(std::abs(std::log2(error(100) / error(200)) - 1) < 0.02);
  CHECK(std::abs(flow.kappa() - (1.15 - std::sqrt(0.35 * 0.35 + 0.36))) < 1e-14);
  CHECK_THROWS_AS((void)two_bumps(1).jko(0.1, 1), DomainError);
  CHECK_THROWS_AS(OrnsteinUhlenbeckFlow(flow.model(), {0.5}, {exact}), DomainError);
  CHECK_THROWS_AS((BoxMode{.amplitude = 3}.validate()), DomainError);
  CHECK_THROWS_AS((void)(EntropicGaussian{.kappa = -10}.variance(1, 1)), DomainError);
}
