#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/langevin_sampler.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

const Model ou(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2.0);

}  // namespace

TEST_CASE("ULA has its own stationary variance 1/(beta kappa (1 - h kappa/2)), MALA the true one") {
  const double h = 0.5, kappa = 1.3, beta = 2;
  const Index n = 20000;
  const Particles start(Matrix::Constant(1, n, 0.4));
  const auto ula = langevin_sampler(ou, start, {.method = LangevinMethod::ula, .step = h, .steps = 40});
  REQUIRE(ula.status == Status::converged);
  CHECK(ula.acceptance == 1);
  const double biased = 1 / (beta * kappa * (1 - 0.5 * h * kappa));  // of x' = (1 - h kappa) x + sqrt(2h/beta) z; 0.35^80 of the start is left
  // Standard error of a variance sqrt(2/n) = 1 per cent, of the mean sqrt(v/n) = 0.005; five of them: false alarm 6e-7 each.
  CHECK(std::abs(ula.particles.covariance()(0, 0) / biased - 1) < 0.05);
  CHECK(std::abs(ula.particles.mean()[0] - 0.4) < 0.025);
  const auto mala = langevin_sampler(ou, start, {.step = h, .steps = 40});
  CHECK(std::abs(mala.particles.covariance()(0, 0) * beta * kappa - 1) < 0.05);
  CHECK(std::abs(1 / (beta * kappa) - biased) > 0.2 / (beta * kappa));  // the two differ by many standard errors
  CHECK(mala.acceptance > 0.5);
  CHECK(mala.acceptance < 1);
  CHECK(langevin_sampler(ou, start, {.step = 1e-4, .steps = 5}).acceptance > 0.999);  // refusals are O(h^{3/2})
}

TEST_CASE("MALA keeps a double well's law: moments by quadrature") {
  const Model well(double_well(), Vector{{1.0, 1.0, 0.0}}, 3.0);
  double z = 0, second = 0;
  for (int i = -4000; i <= 4000; ++i) {
    const double x = 1e-3 * i, f = std::exp(-3 * (0.25 * x * x * x * x - 0.5 * x * x));
    z += f;
    second += x * x * f;
  }
  const Particles start(Matrix(Vector::LinSpaced(10000, -1.5, 1.5).transpose()));
  const auto r = langevin_sampler(well, start, {.step = 0.2, .steps = 150});
  // sd of x^2 is about 0.5: five standard errors of 10000 draws are 0.025.
  CHECK(std::abs(r.particles.points().array().square().mean() - second / z) < 0.03);
}

TEST_CASE("chains are addressed by their number: threads and company do not matter") {
  const Particles start(Matrix::Zero(1, 600));
  const auto one = langevin_sampler(ou, start, {.steps = 20}), two = langevin_sampler(ou, start, {.steps = 20, .threads = 2});
  CHECK(one.particles.points() == two.particles.points());
  CHECK(one.acceptance == two.acceptance);
  const auto few = langevin_sampler(ou, Particles(Matrix::Zero(1, 10)), {.steps = 20});
  CHECK(few.particles.points() == one.particles.points().leftCols(10));
}

TEST_CASE("a step too large for a quartic potential is told, and misuse is named") {
  const Model well(double_well(), Vector{{1.0, 1.0, 0.0}}, 3.0);
  CHECK(langevin_sampler(well, Particles(Matrix::Constant(1, 3, 10.0)), {.method = LangevinMethod::ula, .step = 1, .steps = 50}).status == Status::not_finite);
  CHECK(langevin_sampler(well, Particles(Matrix::Constant(1, 3, 10.0)), {.step = 1, .steps = 50}).status == Status::converged);  // MALA refuses
  CHECK_THROWS_WITH_AS((void)langevin_sampler(ou, Particles(Matrix::Zero(1, 3)), {.step = 0}), "langevin_sampler: step h is 0, but must be positive", DomainError);
  CHECK_THROWS_AS((void)langevin_sampler(ou, Particles(Matrix::Zero(2, 3))), ShapeError);
}
