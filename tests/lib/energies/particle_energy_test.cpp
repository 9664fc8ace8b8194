#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/energies/particle_energy.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <numbers>
#include <string>

using namespace jko;

namespace {

Particles cloud(Index d, Index n, bool equal = false) {
  Matrix x(d, n);
  Vector w = Vector::Ones(n);
  RandomStream random(5, "particle energy test", static_cast<std::uint64_t>(d));
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = random.normal();
  if (!equal) {
    for (double& v : w) v = 0.2 + random.uniform();
  }
  return {x, w / w.sum()};
}

/// Potential, entropy, interaction and, where asked, porous medium.
FreeEnergy everything(int d, bool porous) {
  FreeEnergy energy;
  const std::string square = d == 1 ? "x^2" : "(x1^2+x2^2)";
  energy.add_potential(formula(d == 1 ? "a*x^4/4 - b*x^2/2" : "a*x1^4/4 + b*x2^2/2 + x1*x2/3", d), Vector{{0.7, 0.4}});
  energy.add_entropy(1.6);
  if (porous) energy.add_porous_medium(0.8, 2.5);
  energy.add_interaction(formula("c*exp(-" + square + "/2)", d), Vector{{0.9}});
  return energy;
}

void check_derivatives(const ParticleEnergy& energy, const Particles& p, double tolerance) {
  const double step = 1e-5;
  const auto slope = energy.slope(p);
  CHECK(std::abs(slope.value.total - energy.value(p).total) < 1e-14 * (1 + std::abs(slope.value.total)));
  Matrix v(p.dimension(), p.size());
  RandomStream random(6, "directions");
  for (Index i = 0; i < v.size(); ++i) v.data()[i] = random.normal();
  const auto moved = [&](const Matrix& direction, double t) { return Particles(p.points() + t * direction, p.weights()); };
  for (const Index i : {Index{0}, p.size() / 2, p.size() - 1}) {
    for (Index k = 0; k < p.dimension(); ++k) {
      Matrix e = Matrix::Zero(p.dimension(), p.size());
      e(k, i) = 1;
      const double difference = (energy.value(moved(e, step)).total - energy.value(moved(e, -step)).total) / (2 * step);
      CHECK(std::abs(p.weights()[i] * slope.gradient(k, i) - difference) < tolerance);
    }
  }
  const Matrix difference = (energy.slope(moved(v, step)).gradient - energy.slope(moved(v, -step)).gradient) / (2 * step);
  CHECK((energy.curvature(p)->apply(v) - difference).cwiseAbs().maxCoeff() < 100 * tolerance * (1 + difference.cwiseAbs().maxCoeff()));
  const Vector parameters = energy.energy().parameters();
  const Matrix by_parameter = energy.parameter_slope(p);
  REQUIRE(by_parameter.cols() == parameters.size());
  for (Index q = 0; q < parameters.size(); ++q) {
    ParticleEnergy up = energy, down = energy;
    Vector a = parameters, b = parameters;
    a[q] += step;
    b[q] -= step;
    up.set_parameters(a);
    down.set_parameters(b);
    const Matrix change = (up.slope(p).gradient - down.slope(p).gradient) / (2 * step);
    CHECK((by_parameter.col(q) - change.reshaped()).cwiseAbs().maxCoeff() < 100 * tolerance * (1 + change.cwiseAbs().maxCoeff()));
  }
}

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("gradients, Hessian products and parameter slopes agree with differences") {
  // Central differences at 1e-5: truncation 1e-10 times third derivatives (below 50 here), rounding 1e-16/1e-5; gradients lose a factor 1/w of about 20, hence 100.
  for (const int d : {1, 2}) {
    check_derivatives(ParticleEnergy(everything(d, true), {.bandwidth = 0.4}), cloud(d, 23), 2e-8);
  }
  // Ten spread points: random ones have gaps so small that third derivatives, of order 1/gap^3, spoil a difference.
  Matrix spread(1, 10);
  for (Index i = 0; i < 10; ++i) spread(0, (7 * i) % 10) = static_cast<double>(i) / 3 + 0.05 * std::sin(static_cast<double>(3 * i)) - 1.5;
  check_derivatives(ParticleEnergy(everything(1, false), {.entropy = ParticleEntropy::nearest_neighbour, .neighbour = 2}), Particles(spread), 2e-7);
  check_derivatives(ParticleEnergy(everything(1, true), {.entropy = ParticleEntropy::spacing}), {spread, cloud(1, 10).weights()}, 2e-7);
}

TEST_CASE("the blob energy of a Gaussian is that of N(0, 1) against N(0, 1 + s^2)") {
  const Index n = 4000;
  Matrix x(1, n);
  for (Index i = 0; i < n; ++i) {
    // Normal quantiles at the midpoints of n equal cells, by bisection of erfc.
    const double p = (static_cast<double>(i) + 0.5) / static_cast<double>(n);
    double low = -9, high = 9;
    for (int k = 0; k < 60; ++k) (0.5 * std::erfc(-0.5 * (low + high) / std::numbers::sqrt2) < p ? low : high) = 0.5 * (low + high);
    x(0, i) = 0.5 * (low + high);
  }
  FreeEnergy entropy;
  entropy.add_entropy(1);
  const double s = 0.3, v = 1 + s * s;
  const double expected = -0.5 * std::log(2 * std::numbers::pi * v) - 0.5 / v;
  // The midpoint of the two outer cells errs by their share of the second moment, about 2 log(n)/n * 0.1 = 4e-4 of it.
  CHECK(std::abs(ParticleEnergy(entropy, {.bandwidth = s}).value(Particles(x)).total - expected) < 5e-4);
  // Spacing: the exact entropy up to the outer cells' missing mass: (1/n) log(density there) = (1/n)(log(1/n) ...) below 12/n.
  CHECK(std::abs(ParticleEnergy(entropy, {.entropy = ParticleEntropy::spacing}).value(Particles(x)).total + 0.5 * std::log(2 * std::numbers::pi * std::numbers::e)) < 12.0 / n);
}

TEST_CASE("the nearest-neighbour entropy of Gaussian samples") {
  // sd of the estimator: about sqrt((d/2 + trigamma(k))/n) = sqrt((1 + 1.645)/2000) = 0.036 for d = 2, k = 1; five of them: false alarm 6e-7.
  FreeEnergy entropy;
  entropy.add_entropy(2);
  const Particles p = cloud(2, 2000, true);
  for (const int k : {1, 3}) {
    const double value = ParticleEnergy(entropy, {.entropy = ParticleEntropy::nearest_neighbour, .neighbour = k}).value(p).total;
    CHECK(std::abs(2 * value + std::log(2 * std::numbers::pi * std::numbers::e)) < 0.18);
  }
  // Four corners of a square of side 2: r = 2, psi(4) - psi(1) = 11/6, area of the disk pi.
  const Particles square(Matrix{{-1, 1, -1, 1}, {-1, -1, 1, 1}});
  CHECK(std::abs(ParticleEnergy(entropy, {.entropy = ParticleEntropy::nearest_neighbour}).value(square).total + 0.5 * (11.0 / 6 + std::log(std::numbers::pi) + 2 * std::log(2.0))) < 1e-14);
}

TEST_CASE("interactions: quadratic kernels in O(N) agree with the sum over pairs, and a logarithm has no self-energy") {
  const Particles p = cloud(2, 31);
  FreeEnergy fast, slow;
  fast.add_interaction(ornstein_uhlenbeck(2), Vector{{1.5, 0.4, 0.9, 0, 0}});
  slow.add_interaction(formula("0.75*x1^2 + 0.4*x1*x2 + 0.45*x2^2", 2), Vector());
  const auto a = ParticleEnergy(fast).slope(p), b = ParticleEnergy(slow).slope(p);
  CHECK(std::abs(a.value.total - b.value.total) < 1e-14 * 31);
  CHECK((a.gradient - b.gradient).cwiseAbs().maxCoeff() < 1e-13);
  const Matrix v = p.points().array().sin();
  CHECK((ParticleEnergy(fast).curvature(p)->apply(v) - ParticleEnergy(slow).curvature(p)->apply(v)).cwiseAbs().maxCoeff() < 1e-13);
  FreeEnergy gas;
  gas.add_interaction(formula("-log(x^2)/2"), Vector());
  const Particles two(Matrix{{0.0, 2.0}}, Vector{{0.25, 0.75}});
  CHECK(std::abs(ParticleEnergy(gas).value(two).total + 0.25 * 0.75 * std::log(2.0)) < 1e-15);
}

TEST_CASE("threads do not change a bit") {
  const Particles p = cloud(2, 300);
  const FreeEnergy energy = everything(2, true);  // one formula for both: a second one may order its terms otherwise
  const ParticleEnergy one(energy, {.bandwidth = 0.4}), two(energy, {.bandwidth = 0.4, .threads = 2});
  CHECK(one.value(p).total == two.value(p).total);
  CHECK((one.slope(p).gradient - two.slope(p).gradient).cwiseAbs().maxCoeff() == 0);
}

TEST_CASE("misuse is one clear line") {
  FreeEnergy entropy;
  entropy.add_entropy(1);
  const ParticleEnergy spacing(entropy, {.entropy = ParticleEntropy::spacing}), nearest(entropy, {.entropy = ParticleEntropy::nearest_neighbour});
  CHECK(message([&] { (void)ParticleEnergy(entropy, {.bandwidth = 0}); }) == "particle_energy: bandwidth is 0, but must be positive");
  CHECK(message([&] { (void)spacing.value(cloud(2, 5)); }) == "particle_energy: the spacing entropy is for one dimension, but the particles have 2");
  CHECK(message([&] { (void)spacing.value(Particles(Matrix{{1.0}})); }) == "particle_energy: the number of particles (spacing entropy) is 1, but must be at least 2");
  CHECK(message([&] { (void)spacing.value(Particles(Matrix{{1.0, 2.0, 1.0}})); }) == "particle_energy: two particles coincide at x = 1; the spacing entropy needs distinct points");
  CHECK(message([&] { (void)nearest.value(Particles(Matrix{{1.0}})); }) == "particle_energy: neighbour 1 needs at least 2 particles, but there are 1");
  CHECK(message([&] { (void)nearest.value(Particles(Matrix{{1.0, 1.0, 3.0}})); }).find("coincides with its neighbour 1") != std::string::npos);
  CHECK(message([&] { (void)nearest.value(cloud(2, 5)); }) == "particle_energy: the nearest-neighbour entropy needs equal weights");
  CHECK(message([&] { (void)particle_entropy_from_name("blobs"); }) == "particle_energy: entropy is 'blobs', but must be one of blob, nearest-neighbour, spacing");
  FreeEnergy bounded;
  CHECK(message([&] { (void)ParticleEnergy(bounded.add_congestion(2)); }) == "particle_energy: a bound of the density has no meaning for particles; use a step on a grid");
  CHECK(std::abs(ParticleEnergy(entropy, {.bandwidth = 1}).value(Particles(Matrix{{1.0}})).total + 0.5 * std::log(2 * std::numbers::pi)) < 1e-15);
}
