#include <jko/core/error.hpp>
#include <jko/estimators/fokker_planck_density.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/lamperti.hpp>
#include <jko/steps/quantile_step.hpp>

#include <boost/math/distributions/non_central_chi_squared.hpp>
#include <boost/math/distributions/normal.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <vector>

using namespace jko;

namespace {

Diffusion diffusion(const char* name, Vector theta) { return {diffusion_family(name), std::move(theta)}; }

/// The distribution function of CIR at t from x, and its complement.
struct CirLaw {
  double c;
  boost::math::non_central_chi_squared law;
  CirLaw(double kappa, double mu, double sigma, double x, double t)
      : c(4 * kappa / (sigma * sigma * -std::expm1(-kappa * t))), law(4 * kappa * mu / (sigma * sigma), c * x * std::exp(-kappa * t)) {}
  [[nodiscard]] QuantileFunction quantiles(double lower, double upper, Index cells) const {
    return QuantileFunction::from_cdf([&](double x) { return cdf(law, c * x); }, [&](double x) { return cdf(complement(law, c * x)); }, lower, upper, cells);
  }
};

/// The flow of Y from the law of X at t0, mapped back.
QuantileFunction flow_of(const Lamperti& lamperti, const QuantileFunction& start, double time, int steps) {
  const auto result = Flow<QuantileStep>(QuantileStep(FreeEnergy(lamperti.model())), lamperti.forward(start), {.scheme = Scheme::vim, .h = time / steps, .steps = steps, .keep_every = steps}).run();
  REQUIRE(result.status == Status::converged);
  return lamperti.inverse(result.final_state().measure);
}

/// The largest error of the quantiles at 5 % to 95 %, in probability.
double largest_error(const QuantileFunction& law, const std::function<double(double)>& cdf) {
  double worst = 0;
  for (const double p : {0.05, 0.25, 0.5, 0.75, 0.95}) worst = std::max(worst, std::abs(cdf(law.quantile(p)) - p));
  return worst;
}

}  // namespace

TEST_CASE("the potential of CIR's Lamperti transform is a parabola and a logarithm") {
  const double kappa = 0.8, mu = 0.09, sigma = 0.25;
  const Lamperti lamperti(diffusion("cir", Vector{{kappa, mu, sigma}}), 1e-3, 1);
  CHECK(lamperti.error() < 1e-12);
  const double shift = 2 * std::sqrt(0.5005) / sigma, a = 2 * kappa * mu / (sigma * sigma) - 0.5;  // y = 2 sqrt(x)/sigma - shift
  const Vector x = Vector::LinSpaced(50, 2e-3, 0.99);
  const Matrix y = lamperti.forward(x).transpose();
  for (Index i = 0; i < x.size(); ++i) {
    const double z = y(0, i) + shift;
    CHECK(std::abs(z - 2 * std::sqrt(x[i]) / sigma) < 1e-13 * z);
    const double psi[] = {-a * std::log(z / shift) + kappa / 4 * (z * z - shift * shift), -a / z + kappa * z / 2, a / (z * z) + kappa / 2, -2 * a / (z * z * z), 6 * a / (z * z * z * z)};
    for (int k = 0; k <= 4; ++k) {
      const auto at = [&](double v) { return lamperti.model().potential().evaluate({k, 0}, Matrix::Constant(1, 1, v), Vector())(0, 0); };
      const double value = k == 0 ? at(y(0, i)) - at(0) : at(y(0, i));
      // Measured 1e-14, 1e-14, 3e-13, 2e-11, 2e-9 of 1 + |Psi^(k)|; two digits lost with each derivative of the series, as documented.
      CHECK(std::abs(value - psi[k]) < 1e-13 * std::pow(100, std::max(0, k - 1)) * (1 + std::abs(psi[k])));
    }
    CHECK(std::abs(lamperti.inverse(y.col(i))[0] - x[i]) < 1e-14 * (1 + x[i]) * 10);
  }
  CHECK(std::isinf(lamperti.model().potential().evaluate({0, 0}, Matrix::Constant(1, 1, lamperti.last() + 1e-9), Vector())(0, 0)));
}

TEST_CASE("a flow of the transformed model, mapped back, is the exact transition law: second order in h") {
  const double kappa = 0.8, mu = 0.09, sigma = 0.25, x0 = 0.06;
  const Lamperti cir(diffusion("cir", Vector{{kappa, mu, sigma}}), 1e-5, 1.5);
  const QuantileFunction start = CirLaw(kappa, mu, sigma, x0, 0.3).quantiles(2e-4, 0.6, 800);
  const CirLaw end(kappa, mu, sigma, x0, 0.8);
  std::vector<double> errors;
  for (const int steps : {10, 20, 40}) errors.push_back(largest_error(flow_of(cir, start, 0.5, steps), [&](double x) { return cdf(end.law, end.c * x); }));
  // C h^2 + (cells)^-2: differences fall by four; their next order, a tenth of the step, may move that by 10 %. Measured 3.8e-5, 9.8e-6, 2.7e-6: ratio 4.01.
  CHECK(std::abs((errors[0] - errors[1]) / (errors[1] - errors[2]) - 4) < 0.4);
  CHECK(errors[2] < 5e-6);
  // GBM: Y is Brownian motion with drift, the law of X log-normal; a Gaussian under a linear potential is exact in h up to the fourth order, so the cells alone remain: 1/800^2 = 1.6e-6.
  const Lamperti gbm(diffusion("gbm", Vector{{0.1, 0.3}}), 0.01, 50);
  const boost::math::normal normal;
  const auto score = [](double x, double t) { return (std::log(x) - (0.1 - 0.045) * t) / (0.3 * std::sqrt(t)); };
  const QuantileFunction wide = QuantileFunction::from_cdf([&](double x) { return cdf(normal, score(x, 0.5)); }, [&](double x) { return cdf(complement(normal, score(x, 0.5))); }, 0.15, 6, 800);
  CHECK(largest_error(flow_of(gbm, wide, 1, 20), [&](double x) { return cdf(normal, score(x, 1.5)); }) < 3e-6);
}

TEST_CASE("a CKLS law without a closed form: the flow against the Fokker-Planck densities summed over the start") {
  const Diffusion ckls = diffusion("ckls", Vector{{0.08, -0.9, 0.6, 1.2}});
  const Lamperti lamperti(ckls, 0.01, 1);
  const QuantileFunction start = QuantileFunction::from_density([](double x) { return std::exp(-0.5 * std::pow(std::log(x / 0.07) / 0.2, 2)) / x; }, 0.02, 0.25, 400);
  const double time = 0.5;
  const QuantileFunction end = flow_of(lamperti, start, time, 40);
  const Vector points = Vector::LinSpaced(9, end.quantile(0.02), end.quantile(0.98)), from = start.midpoints();
  Vector x(9 * from.size()), next(9 * from.size());
  for (Index j = 0; j < 9; ++j) {
    x.segment(j * from.size(), from.size()) = from;
    next.segment(j * from.size(), from.size()).setConstant(points[j]);
  }
  const Vector p = estimators::fokker_planck_density(ckls, x, next, time, 1).log_density.array().exp();
  double peak = 0, worst = 0;
  const QuantileFunction of_y = lamperti.forward(end);
  for (Index j = 0; j < 9; ++j) {
    const double exact = start.masses().dot(p.segment(j * from.size(), from.size()));
    const double direct = end.density(points[j]), back = lamperti.density(points.segment(j, 1), Vector::Constant(1, of_y.density(lamperti.forward(points.segment(j, 1))[0])))[0];
    peak = std::max(peak, exact);
    worst = std::max({worst, std::abs(direct - exact), std::abs(back - exact)});
  }
  // (cells)^-2 = 6e-6 and (h b')^2/2 = (0.0125 * 0.9)^2/2 = 6e-5 of the peak, each with a factor of order one. Measured 1.5e-5.
  CHECK(worst < 1e-4 * peak);
}

TEST_CASE("ranges of the Lamperti transform that cannot be") {
  const Diffusion cir = diffusion("cir", Vector{{1, 1, 0.5}});
  CHECK_THROWS_AS(Lamperti(cir, 0, 1), DomainError);
  CHECK_THROWS_AS(Lamperti(cir, 2, 1), DomainError);
  const Lamperti lamperti(cir, 0.1, 2);
  CHECK_THROWS_AS((void)lamperti.forward(Vector{{0.05}}), DomainError);
  CHECK_THROWS_AS((void)lamperti.inverse(Vector{{lamperti.last() + 1}}), DomainError);
  CHECK_THROWS_AS(Lamperti({diffusion_formula("-x", "x-1"), Vector()}, 0.5, 2), DomainError);
}
