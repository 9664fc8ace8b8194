#include <jko/core/error.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

TEST_CASE("one dimension: law, corrector and sensitivity of theory.md 2.1 and 2.2") {
  const double kappa = 1.3, mu = 0.4, beta = 2, m0 = 2, v0 = 2.89, t = 0.8;
  const OrnsteinUhlenbeck process({ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta});
  const Gaussian start(Vector{{m0}}, Matrix{{v0}});
  const double e1 = std::exp(-kappa * t), e2 = e1 * e1, limit = 1 / (beta * kappa), d = v0 - limit;
  const Vector law = process.law(start, t).coordinates();
  CHECK(std::abs(law[0] - mu - e1 * (m0 - mu)) < 1e-15);
  CHECK(std::abs(law[1] - limit - e2 * d) < 1e-15);
  const Vector eta = process.corrector(start, t);
  CHECK(std::abs(eta[0] - 0.5 * kappa * kappa * t * e1 * (m0 - mu)) < 1e-14);
  const double f0 = -kappa * std::sqrt(v0) + 1 / (beta * std::sqrt(v0)), s = std::sqrt(law[1]), ft = -kappa * s + 1 / (beta * s);
  // General scalar fact for implicit Euler: eta_s = f(s_t) log(f(s_t)/f(s_0))/2, and eta_v = 2 s eta_s; quadrature to 1e-12.
  CHECK(std::abs(eta[1] - s * ft * std::log(ft / f0)) < 1e-11);
  const Matrix j = process.sensitivity(start, t);
  const Matrix expected{{-t * e1 * (m0 - mu), 1 - e1, 0}, {-(1 - e2) / (beta * kappa * kappa) - 2 * t * e2 * d, 0, -(1 - e2) / (beta * beta * kappa)}};
  CHECK((j - expected).cwiseAbs().maxCoeff() < 1e-11);
}

TEST_CASE("two dimensions, nothing commutes: the JKO flow tends to the law, its error to the corrector, its tangent to the sensitivity") {
  const Model model(ornstein_uhlenbeck(2), Vector{{1.5, 0.4, 0.9, 0.3, -0.2}}, 1.7);
  const OrnsteinUhlenbeck process(model);
  const Gaussian start(Vector{{1.0, -2.0}}, Matrix{{2.0, -0.7}, {-0.7, 0.8}});
  const double t = 0.6;
  const Vector exact = process.law(start, t).coordinates(), eta = process.corrector(start, t);
  const Matrix j = process.sensitivity(start, t);
  double first = 0, first_tangent = 0;
  for (const int steps : {200, 400}) {
    const auto r = Flow<GaussianStep>(GaussianStep(FreeEnergy(model)), start, {.h = t / steps, .steps = steps, .sensitivity = Sensitivity::shared, .keep_every = steps}).run();
    const double residual = ((r.final_state().measure.coordinates() - exact) * (steps / t) - eta).norm();
    const double tangent = (r.final_state().tangent - j).norm();
    if (first > 0) {
      CHECK(std::abs(first / residual - 2) < 0.1);  // O(h) each; the next term is O(h^2), 2 % here
      CHECK(std::abs(first_tangent / tangent - 2) < 0.1);
    }
    first = residual;
    first_tangent = tangent;
  }
  CHECK(first < 0.02 * eta.norm());
}

TEST_CASE("long times end in the stationary law, and misuse is one line") {
  const OrnsteinUhlenbeck process({ornstein_uhlenbeck(2), Vector{{1.5, 0.4, 0.9, 0.3, -0.2}}, 1.7});
  const Gaussian start(Vector{{1.0, -2.0}}, Matrix{{2.0, -0.7}, {-0.7, 0.8}});
  CHECK((process.law(start, 100).coordinates() - process.stationary().coordinates()).norm() < 1e-14);
  CHECK((process.law(start, 0).coordinates() - start.coordinates()).norm() < 1e-15);
  CHECK_THROWS_AS((void)process.law(start, -1), DomainError);
  CHECK_THROWS_AS(OrnsteinUhlenbeck({double_well(), Vector{{1, 1, 0}}, 1}), DomainError);
  CHECK_THROWS_AS((void)OrnsteinUhlenbeck({ornstein_uhlenbeck(2), Vector{{1, 0, -1, 0, 0}}, 1}).stationary(), DomainError);
}
