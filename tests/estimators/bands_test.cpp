#include <jko/core/error.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/estimators/grid_bands.hpp>
#include <jko/models/families.hpp>
#include <jko/flows/flow.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <Eigen/LU>
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

namespace {

Model plane_ou() { return {ornstein_uhlenbeck(2), Vector{{2.0, 0.7, 0.9, 0.3, -0.2}}, 1.5}; }
std::shared_ptr<const Grid> plane(Index n) { return std::make_shared<const Grid>(Grid{Vector::Constant(2, -4.5), Vector::Constant(2, 4.5), {n, n}}); }

}  // namespace

TEST_CASE("grid functionals: gradients agree with differences along changes of mass zero, and values with the Gaussian's") {
  const auto grid = plane(60);
  const Gaussian law(Vector{{0.4, -0.2}}, Matrix{{0.8, 0.2}, {0.2, 0.5}});
  const auto measure = GridDensity::gaussian(grid, law.mean(), law.covariance());
  const Vector levels{{0.05, 0.5, 0.9}}, points{{-0.71, 0.33, 1.2}};
  // A change of the density with mass zero: a shift of mass along a slanted direction.
  const Matrix x = grid->points();
  Vector change(measure.values().size());
  for (Index i = 0; i < change.size(); ++i) change[i] = measure.values()[i] * (x(0, i) - 0.5 * x(1, i) + 0.3 * x(0, i) * x(1, i));
  change -= measure.values() * (change.sum() * grid->cell_volume());
  const double d = 1e-4;
  const auto above = measure.with_coordinates(measure.values() + d * change), below = measure.with_coordinates(measure.values() - d * change);
  const auto phi = [](const ConstMatrixRef& p) { return Vector((p.row(0).array() * p.row(1).array().sin()).transpose()); };
  for (const int axis : {0, 1}) {
    const auto on = [&](const GridDensity& m) {
      const GridDensity line = marginal(m, axis);
      return std::vector<Functionals>{quantiles(line, levels), distribution(line, points), density(line, points)};
    };
    const auto centre = on(measure), up = on(above), down = on(below);
    const Matrix tangent = marginal_tangent(measure, change, axis);
    for (std::size_t f = 0; f < centre.size(); ++f) {
      // d^2 times third derivatives of order one; quantiles within a cell are rational in the density.
      CHECK(((up[f].value - down[f].value) / (2 * d) - centre[f].gradient * tangent).cwiseAbs().maxCoeff() < 1e-6);
    }
    // Cell averages against the law: width^2 terms, 0.15^2/12 of variance 0.5 is 0.4 % in the deviation.
    CHECK((centre[0].value - quantiles(law, levels, axis).value).cwiseAbs().maxCoeff() < 5e-3);
    CHECK((centre[1].value - distribution(law, points, axis).value).cwiseAbs().maxCoeff() < 5e-3);
    CHECK((centre[2].value - density(law, points, axis).value).cwiseAbs().maxCoeff() < 5e-3);
  }
  CHECK(((moments(above).value - moments(below).value) / (2 * d) - moments(measure).gradient * change).cwiseAbs().maxCoeff() < 1e-6);
  CHECK(std::abs((expectation(above, phi).value[0] - expectation(below, phi).value[0]) / (2 * d) - (expectation(measure, phi).gradient * change)[0]) < 1e-9);
  CHECK_THROWS_AS((void)quantiles(measure, levels), ShapeError);
  CHECK_THROWS_AS((void)marginal(measure, 2), DomainError);
  CHECK_THROWS_AS((void)quantiles(marginal(measure, 0), Vector::Ones(1)), DomainError);
}

TEST_CASE("bands of an Ornstein-Uhlenbeck flow on a grid: those of the Gaussian flow, whose sensitivities have a closed form, and differences of the flow") {
  const Gaussian start(Vector{{0.8, 0.4}}, Matrix{{0.5, -0.15}, {-0.15, 0.6}});
  const auto grid = plane(72);
  const FlowOptions options{.h = 0.1, .steps = 4, .sensitivity = Sensitivity::shared, .keep_every = 4};
  const EntropicStepOptions accurate{.epsilon = 0.0156, .tolerance = 1e-9};  // one width squared
  const auto flow = [&](const Model& model, Sensitivity sensitivity) {
    FlowOptions o = options;
    o.sensitivity = sensitivity;
    const auto result = Flow<EntropicStep>(EntropicStep(FreeEnergy(model), accurate), GridDensity::gaussian(grid, start.mean(), start.covariance()), o).run();
    REQUIRE(result.status == Status::converged);
    return result.final_state();
  };
  const auto state = flow(plane_ou(), Sensitivity::shared);
  const auto closed = Flow<GaussianStep>(GaussianStep(FreeEnergy(plane_ou())), start, options).run().final_state();
  const Matrix found = moments(state.measure).gradient * state.tangent, exact = moments(closed.measure).gradient * closed.tangent;
  // The step's bias is epsilon^2/(8 sigma^4) = 1.5e-4 a step for the least variance, 0.45; four steps, doubled for the derivative's own constant.
  CHECK((found - exact).cwiseAbs().maxCoeff() < 1.2e-3 * exact.cwiseAbs().maxCoeff());

  // Covariance 0.01 on the diagonal with a correlation.
  Matrix covariance = 0.01 * Matrix::Identity(6, 6);
  covariance(0, 3) = covariance(3, 0) = 0.004;
  const BandOptions band_options{.draws = 2000};
  const Band cells = density_band(state.measure, state.tangent, covariance, band_options);
  // The Gaussian's density in each cell: d rho = rho [(S^{-1} z)' dm + 1/2 (z' S^{-1} dS S^{-1} z - tr S^{-1} dS)], z = x - m.
  const Matrix x = grid->points(), inverse = closed.measure.covariance().inverse();
  const Gaussian& law = closed.measure;
  const double norm = 1 / (2 * 3.14159265358979324 * std::sqrt(law.covariance().determinant()));
  Matrix response(x.cols(), 6);
  for (Index i = 0; i < x.cols(); ++i) {
    const Vector z = x.col(i) - law.mean(), u = inverse * z;
    const double rho = norm * std::exp(-0.5 * z.dot(u));
    for (Index j = 0; j < 6; ++j) {
      const Matrix ds = closed.tangent.col(j).tail(4).reshaped(2, 2);
      response(i, j) = rho * (u.dot(closed.tangent.col(j).head(2)) + 0.5 * (u.dot(ds * u) - (inverse * ds).trace()));
    }
  }
  const Vector error = (response * covariance).cwiseProduct(response).rowwise().sum().cwiseSqrt();
  CHECK((cells.standard_error - error).cwiseAbs().maxCoeff() < 2.5e-3 * error.maxCoeff());
  CHECK(cells.critical > 1.96);
  // The field's rows and a marginal's functional give the same band: E 1{x1 <= 0} by cells.
  const GridDensity first = marginal(state.measure, 0);
  const Band edge = band(distribution(first, Vector::Zero(1)), Vector::Zero(1), marginal_tangent(state.measure, state.tangent, 0), covariance, band_options);
  const Functionals direct = expectation(state.measure, [](const ConstMatrixRef& p) { return Vector((p.row(0).array() < 0).cast<double>().transpose()); });
  CHECK(edge.standard_error[0] == doctest::Approx(band(direct, Vector::Zero(1), state.tangent, covariance, band_options).standard_error[0]).epsilon(1e-10));

  // Central differences of the flow in one entry of K and in beta.
  for (const Index j : {Index{1}, Index{5}}) {
    const double d = 1e-3;
    Model up = plane_ou(), down = plane_ou();
    Vector theta = up.parameters();
    theta[j] += d;
    up = up.with_parameters(theta);
    theta[j] -= 2 * d;
    down = down.with_parameters(theta);
    const Vector difference = (flow(up, Sensitivity::none).measure.values() - flow(down, Sensitivity::none).measure.values()) / (2 * d);
    // d^2 times a third derivative of order one, and the solver's 1e-9/d.
    CHECK((difference - state.tangent.col(j)).cwiseAbs().maxCoeff() < 1e-5 * (1 + difference.cwiseAbs().maxCoeff()));
  }
}
