#include <jko/core/error.hpp>
#include <jko/models/formula.hpp>
#include <jko/problems/self_similar.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <boost/math/quadrature/tanh_sinh.hpp>

#include <cmath>
#include <numbers>

using namespace jko;
using namespace jko::problems;
using std::numbers::pi;

namespace {

/// int f(|x|) dx over the profile's support (or to radius 60 where it is unbounded).
template <class F>
double radial(const SelfSimilar& p, double scale, const F& f) {
  static boost::math::quadrature::tanh_sinh<double> rule;
  const double sphere = p.dimension() == 1 ? 2 : p.dimension() == 2 ? 2 * pi : 4 * pi;
  const auto g = [&](double r) { return sphere * std::pow(r, p.dimension() - 1) * f(r); };
  if (std::isfinite(p.support())) return rule.integrate(g, 0.0, scale * p.support());
  return rule.integrate(g, 0.0, std::numeric_limits<double>::infinity());
}

std::vector<SelfSimilar> all() {
  std::vector<SelfSimilar> list;
  for (int d = 1; d <= 3; ++d) {
    for (const double m : {2.0, 1.5, 3.0, 0.8}) {
      if (m > d / (d + 2.0)) list.push_back(barenblatt(d, m, 0.7, 0.3));
    }
    list.push_back(newtonian_ball(d, 1.3, 0.4));
    list.push_back(mckean_vlasov_gaussian(d, 2.0, 0.5, 0.25));
  }
  list.push_back(log_gas(0.8, 0.6));
  return list;
}

}  // namespace

TEST_CASE("mass and second moment by quadrature") {
  for (const SelfSimilar& p : all()) {
    CAPTURE(p.name());
    CAPTURE(p.dimension());
    const double l = 0.7;
    // The heavy tails of fast diffusion, r^{d+1-2/(1-m)} with the exponent -6 or less, and square roots at the edge cost the rule some digits.
    CHECK(std::abs(radial(p, l, [&](double r) { return p.density(r, l); }) - 1) < 1e-10);
    CHECK(std::abs(radial(p, l, [&](double r) { return r * r * p.density(r, l); }) - p.second_moment() * l * l) < 1e-9);
  }
}

TEST_CASE("the local energies by quadrature of the density") {
  for (int d = 1; d <= 3; ++d) {
    for (const double m : {2.0, 1.5, 3.0, 0.8}) {
      if (!(m > d / (d + 2.0))) continue;
      const SelfSimilar p = barenblatt(d, m, 0.7, 0.3);
      for (const double l : {0.5, 1.3}) {
        const double found = radial(p, l, [&](double r) { return 0.7 / (m - 1) * std::pow(p.density(r, l), m) + 0.15 * r * r * p.density(r, l); });
        CHECK(std::abs(found - p.energy(l)) < 1e-8 * (1 + std::abs(found)));
      }
    }
    const SelfSimilar g = mckean_vlasov_gaussian(d, 2.0, 0.5, 0.25);
    for (const double l : {0.5, 1.3}) {
      // The interaction of a centred law, alpha/4 E|x-y|^2, is alpha/2 of its second moment.
      const double found = radial(g, l, [&](double r) { return g.density(r, l) > 0 ? g.density(r, l) * (0.5 * std::log(g.density(r, l)) + 0.375 * r * r) : 0.0; });
      CHECK(std::abs(found - g.energy(l)) < 1e-9);
    }
  }
}

TEST_CASE("the interaction energies: Coulomb's by Gauss's theorem, the log gas by its quantiles") {
  // With -Lap V = alpha rho, int int of G is int |grad V|^2/alpha for d = 3, where V decays: field alpha r/(4 pi) inside the unit ball, alpha/(4 pi r^2) outside.
  const double inside = 4 * pi / 5 / (16 * pi * pi), outside = 4 * pi / (16 * pi * pi);
  CHECK(std::abs(newtonian_ball(3, 1.3, 0).energy(1) - 0.65 * (inside + outside)) < 1e-15);
  // Disk: V = V(1) + alpha (1 - r^2)/(4 pi) with V(1) = 0 by the mean value of the logarithm; half its mean.
  CHECK(std::abs(newtonian_ball(2, 1.3, 0).energy(1) - 0.5 * 1.3 / (4 * pi) * 0.5) < 1e-15);
  CHECK(std::abs(newtonian_ball(1, 1.3, 0).energy(1) + 0.25 * 1.3 * 2.0 / 3) < 1e-15);
  // n quantiles of the semicircle: leaving the diagonal out costs about (log n + 1)/n of int log.
  const int n = 2000;
  std::vector<double> x;
  double angle = pi;
  for (int i = 0; i < n; ++i) {
    // F(cos t) = 1 - t/pi + sin(2t)/(2 pi): Newton from the last one.
    for (int k = 0; k < 30; ++k) angle -= (angle - std::sin(2 * angle) / 2 - pi * (1 - (i + 0.5) / n)) / std::max(1 - std::cos(2 * angle), 1e-3);
    x.push_back(std::cos(angle));
  }
  double sum = 0;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < i; ++j) sum += 2 * std::log(x[static_cast<std::size_t>(i)] - x[static_cast<std::size_t>(j)]);
  }
  CHECK(std::abs(log_gas(1, 0).energy(1) + 0.5 * sum / (double(n) * n)) < (std::log(n) + 1) / n);
}

TEST_CASE("the JKO step solves the optimality condition (x - T x)/h + grad dF = 0 pointwise") {
  const double h = 0.13, from = 0.6;
  for (const SelfSimilar& p : all()) {
    CAPTURE(p.name());
    CAPTURE(p.dimension());
    const double l = p.jko(from, h), spring = (1 - from / l) / h;
    for (const double s : {0.2, 0.5, 0.8}) {
      const double r = s * l, e = 1e-4 * l;
      double force = 0;  // radial derivative of dF/drho at r
      if (p.name() == "barenblatt") {
        const double m = (p.exponent() - 1) / p.dimension() + 1;
        const auto variation = [&](double at) { return 0.7 * m / (m - 1) * std::pow(p.density(at, l), m - 1) + 0.15 * at * at; };
        force = (variation(r + e) - variation(r - e)) / (2 * e);
      } else if (p.name() == "mckean_vlasov_gaussian") {
        const auto variation = [&](double at) { return 0.5 * std::log(p.density(at, l)) + 0.375 * at * at; };
        force = (variation(r + e) - variation(r - e)) / (2 * e);
      } else if (p.name() == "newtonian_ball") {
        // Gauss: the field is the mass inside over the sphere's area.
        const double sphere = p.dimension() == 1 ? 2 : p.dimension() == 2 ? 2 * pi * r : 4 * pi * r * r;
        force = 0.4 * r - 1.3 * std::pow(r / l, p.dimension()) / sphere;
      } else {
        // P.V. int rho(y)/(x - y) dy = int [rho(y) - rho(x)]/(x - y) dy + rho(x) log((l + x)/(l - x)), the integrand smooth at x.
        static boost::math::quadrature::tanh_sinh<double> rule;
        const auto f = [&](double y) { return std::abs(y - r) < 1e-9 ? 0.0 : (p.density(std::abs(y), l) - p.density(r, l)) / (r - y); };
        const double value = rule.integrate(f, -l, r) + rule.integrate(f, r, l) + p.density(r, l) * std::log((l + r) / (l - r));
        force = 0.6 * r - 0.8 * value;
      }
      // Central differences with steps of 1e-4 l are good to about 1e-8 of the second derivative's scale, the excised 1e-9 to as much.
      CHECK(std::abs(spring * r + force) < 2e-6 * (1 + std::abs(force)));
    }
  }
}

TEST_CASE("flow: a semigroup with d F/dt = -slope^2; JKO converges to it with order one; both rest at the stationary scale") {
  for (const SelfSimilar& p : all()) {
    CAPTURE(p.name());
    CAPTURE(p.dimension());
    const double l = 0.6, t = 0.4;
    CHECK(std::abs(p.flow(p.flow(l, 0.5 * t), 0.5 * t) - p.flow(l, t)) < 1e-13);
    const double e = 1e-4, now = p.flow(l, t);
    const double decay = (p.energy(p.flow(l, t + e)) - p.energy(p.flow(l, t - e))) / (2 * e);
    CHECK(std::abs(decay + p.slope(now) * p.slope(now)) < 1e-6 * (1 + p.slope(now) * p.slope(now)));
    const auto error = [&](int n) {
      double x = l;
      for (int k = 0; k < n; ++k) x = p.jko(x, t / n);
      return std::abs(x - now);
    };
    CHECK(std::abs(std::log2(error(200) / error(400)) - 1) < 0.02);
    const double rest = p.stationary();
    CHECK(std::abs(p.jko(rest, 0.3) - rest) < 1e-13);
    CHECK(std::abs(p.flow(rest, 2) - rest) < 1e-13);
    CHECK(std::abs(p.flow(l, 200) - rest) < 1e-12);
    CHECK(p.slope(rest) < 1e-12);
  }
}

TEST_CASE("the quantile step, a different code, finds the same JKO minimiser with second order in its cells") {
  struct Case {
    SelfSimilar problem;
    FreeEnergy energy;
  };
  std::vector<Case> cases;
  for (const double m : {2.0, 3.0}) {
    FreeEnergy energy;
    energy.add_potential(formula("0.15*x^2", 1), Vector(0)).add_porous_medium(0.7, m);
    cases.push_back({barenblatt(1, m, 0.7, 0.3), energy});
  }
  FreeEnergy mean_field;
  mean_field.add_potential(formula("0.25*x^2", 1), Vector(0)).add_entropy(2.0).add_interaction(formula("0.125*x^2", 1), Vector(0));
  cases.push_back({mckean_vlasov_gaussian(1, 2.0, 0.5, 0.25), mean_field});
  for (const Case& c : cases) {
    const double from = 0.6, h = 0.1, exact = std::sqrt(c.problem.second_moment()) * c.problem.jko(from, h);
    const double edge = from * std::min(c.problem.support(), 8.0);
    const auto error = [&](Index cells) {
      QuantileStep step(c.energy);
      const auto start = QuantileFunction::from_density([&](double x) { return c.problem.density(std::abs(x), from); }, -edge, edge, cells);
      const auto result = step.advance(start, h);
      REQUIRE(result.status == Status::converged);
      return std::abs(std::sqrt(result.measure.covariance()(0, 0)) - exact);
    };
    const double coarse = error(100), fine = error(200);
    CAPTURE(coarse);
    CAPTURE(fine);
    CHECK(fine < 2e-4 * exact);
    CHECK(std::log2(coarse / fine) > 1.5);  // second order where the density stays away from 0; a little less at the edge of m = 3
  }
}

TEST_CASE("cell averages on grids") {
  const SelfSimilar p = barenblatt(2, 2.0);
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{-1.0, -1.5}}, Vector{{1.0, 1.5}}, {64, 96}});
  const GridDensity rho = p.on_grid(grid, 0.8);
  CHECK(std::abs(rho.mass() - 1) < 1e-13);
  // Averaging over a cell and reading the density as constant there each add width^2/12 an axis; samples of a quarter width take 1/16 of the first off.
  const double width = grid->width(0), expected = 2 * width * width / 12 * (2 - 1.0 / 16);
  CHECK(std::abs(rho.covariance().trace() - p.second_moment() * 0.64 - expected) < 0.05 * expected);
}

TEST_CASE("misuse is one line") {
  CHECK_THROWS_WITH_AS((void)barenblatt(2, 0.5), "barenblatt: exponent is 0.5, but must exceed d/(d+2) = 0.5 and differ from 1", DomainError);
  CHECK_THROWS_AS((void)barenblatt(4, 2), DomainError);
  CHECK_THROWS_AS((void)log_gas(-1, 1), DomainError);
  CHECK_THROWS_AS((void)barenblatt(1, 2).stationary(), DomainError);
  CHECK_THROWS_AS((void)barenblatt(1, 2).jko(0, 1), DomainError);
  CHECK_THROWS_AS((void)barenblatt(1, 2, 1, -2).jko(1, 0.5), DomainError);
}
