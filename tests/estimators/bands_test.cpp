#include <jko/estimators/bands.hpp>
#include <jko/models/families.hpp>
#include <jko/flows/flow.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

TEST_CASE("gradients of functionals agree with differences") {
  const auto measure = QuantileFunction::gaussian(0.3, 2, 40, 5);
  const Vector levels = (Vector(3) << 0.05, 0.5, 0.93).finished(), points = (Vector(4) << -2.1, -0.4, 0.77, 3.3).finished();
  const auto all = [&](const QuantileFunction& m) {
    return std::vector<Functionals>{quantiles(m, levels), distribution(m, points), density(m, points), moments(m),
                                    expectation(m, [](double x) { return std::sin(x); }, [](double x) { return std::cos(x); })};
  };
  const auto centre = all(measure);
  for (Index i = 0; i < measure.nodes().size(); i += 3) {
    const double d = 1e-5;
    Vector up = measure.nodes(), down = measure.nodes();
    up[i] += d;
    down[i] -= d;
    const auto above = all(measure.with_coordinates(up)), below = all(measure.with_coordinates(down));
    for (std::size_t f = 0; f < centre.size(); ++f) {
      const Vector difference = (above[f].value - below[f].value) / (2 * d);
      // Truncation d^2 times third derivatives, at most 1e3 for these cells of width 0.35: 1e-7; rounding 1e-16/1e-5.
      CHECK((difference - centre[f].gradient.col(i)).cwiseAbs().maxCoeff() < 1e-6);
    }
  }
}

TEST_CASE("offline covariance of an OU flow tends to J Sigma J' of theory.md 2.2") {
  const double kappa = 1.3, mu = 0.4, beta = 2, m0 = 2, v0 = 2.89, t = 0.8;
  const Matrix covariance = (Vector(3) << 0.04, 0.01, 0.02).finished().asDiagonal();
  const double decay = std::exp(-kappa * t), square = decay * decay, excess = v0 - 1 / (beta * kappa);
  Matrix jacobian(2, 3);
  jacobian << -t * decay * (m0 - mu), 1 - decay, 0, -(1 - square) / (beta * kappa * kappa) - 2 * t * square * excess, 0,
      -(1 - square) / (beta * beta * kappa);
  const Matrix theory = jacobian * covariance * jacobian.transpose();
  double errors[2];
  for (int i = 0; i < 2; ++i) {
    const int steps = 40 << i;
    const Model model(ornstein_uhlenbeck(), (Vector(2) << kappa, mu).finished(), beta);
    Flow<QuantileStep> flow(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(m0, v0, 400),
                            {.scheme = Scheme::vim, .h = t / steps, .steps = steps, .sensitivity = Sensitivity::shared});
    const auto state = flow.run().final_state();
    const Matrix response = moments(state.measure).gradient * state.tangent;
    errors[i] = (response * covariance * response.transpose() - theory).cwiseAbs().maxCoeff();
  }
  // The cells' own error is of order (16 sigma/400)^2 = 5e-3 relative at the worst; here it is measured far below the time error bound h^2.
  CHECK(errors[1] < 2e-3 * theory.cwiseAbs().maxCoeff());
}

TEST_CASE("critical values: one parameter is pointwise, independent functionals have the closed form") {
  const Vector abscissa = Vector::LinSpaced(4, 0, 1);
  Functionals f{Vector::Zero(4), Matrix::Identity(4, 4)};
  const Matrix one = Vector::Ones(4);
  const Band single = band(f, abscissa, one, Matrix::Ones(1, 1));
  // |N(0, 1)| has the 95 % point 1.95996; 4 Monte-Carlo standard errors, false alarm 6e-5 (fixed seed).
  CHECK(std::abs(single.critical - 1.959964) < 4 * single.critical_error);
  const Band independent = band(f, abscissa, Matrix::Identity(4, 4), Matrix::Identity(4, 4));
  // P(max of 4 <= c) = 0.95 at c = 2.49071 (Sidak).
  CHECK(std::abs(independent.critical - 2.490915) < 4 * independent.critical_error + 1e-3);
}

TEST_CASE("Gaussian functionals: gradients agree with differences, marginals with the quantile function's") {
  const Gaussian measure(Vector{{0.3, -1.0}}, Matrix{{2.0, 0.4}, {0.4, 0.7}});
  const Vector levels{{0.05, 0.5, 0.93}}, points{{-2.1, -0.4, 0.77}};
  const auto all = [&](const Gaussian& m) { return std::vector<Functionals>{moments(m), quantiles(m, levels, 1), distribution(m, points, 0), density(m, points, 1)}; };
  const auto centre = all(measure);
  for (Index i = 0; i < 6; ++i) {
    if (i == 4) continue;  // with i = 3, to stay symmetric
    const double d = 1e-5;
    Vector step = Vector::Zero(6);
    step[i] = d;
    if (i == 3) step[4] = d;
    const auto above = all(measure.with_coordinates(measure.coordinates() + step)), below = all(measure.with_coordinates(measure.coordinates() - step));
    for (std::size_t f = 0; f < centre.size(); ++f) {
      CHECK(((above[f].value - below[f].value) / (2 * d) - centre[f].gradient * step / d).cwiseAbs().maxCoeff() < 1e-8);
    }
  }
  const auto line = QuantileFunction::gaussian(-1, 0.7, 4000);
  CHECK((quantiles(measure, levels, 1).value - quantiles(line, levels).value).cwiseAbs().maxCoeff() < 1e-5);
  CHECK((density(measure, points, 1).value - density(line, points).value).cwiseAbs().maxCoeff() < 1e-6);
}

TEST_CASE("the step error of a first-order flow is its distance to the limit, to second order") {
  const Model model(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  const auto moments_at = [&](int steps) {
    const auto r = Flow<GaussianStep>(GaussianStep(FreeEnergy(model)), Gaussian(Vector{{2.0}}, Matrix{{2.89}}), {.h = 1.0 / steps, .steps = steps}).run();
    return moments(r.final_state().measure);
  };
  const auto coarse = moments_at(100), fine = moments_at(200);
  Band b{Vector::LinSpaced(2, 0, 1), coarse.value, Vector::Zero(2), coarse.value, coarse.value, coarse.value, coarse.value, 0, 0, {}};
  b = with_step_error(b, fine.value, 1);
  const double v = 1 / 2.6 + (2.89 - 1 / 2.6) * std::exp(-2.6);
  // The estimate is off by its own O(h) relative error, here a few per cent of the step error.
  CHECK(std::abs(b.step_error[1] - (coarse.value[1] - v)) < 0.05 * std::abs(coarse.value[1] - v));
  CHECK(b.upper[1] - b.lower[1] == doctest::Approx(2 * std::abs(b.step_error[1])));
}
