#include <jko/core/error.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/estimators/bootstrap.hpp>
#include <jko/estimators/online.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/simulate.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

const Model truth(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
const Gaussian start(Vector{{2.0}}, Matrix{{2.89}});

Path path_of(Index n) {
  const Vector times = Vector::LinSpaced(n + 1, 0, 0.5 * static_cast<double>(n));
  return {times, simulate_path(truth, Vector{{0.4}}, times, 0, {.seed = 5})};
}

}  // namespace

TEST_CASE("batches share their end points and lose no transition") {
  const auto batches = split_into_batches(path_of(100), 8);
  REQUIRE(batches.size() == 8);
  for (std::size_t k = 0; k + 1 < 8; ++k) {
    CHECK(batches[k].front().transitions() == 12);
    CHECK(batches[k].front().times[12] == batches[k + 1].front().times[0]);
    CHECK(batches[k].front().values(0, 12) == batches[k + 1].front().values(0, 0));
  }
  CHECK_THROWS_AS((void)split_into_batches(path_of(10), 11), DomainError);
}

TEST_CASE("covariance blocks of online estimates") {
  const Matrix c{{2.0, 0.5}, {0.5, 1.0}};
  const Matrix fresh = online_covariance(c, 3, OnlineData::fresh), all = online_covariance(c, 3, OnlineData::accumulated);
  CHECK(fresh.block(2, 2, 2, 2) == c);
  CHECK(fresh.block(0, 2, 2, 2).isZero(0));
  CHECK(all.block(0, 4, 2, 2) == Matrix(c / 3));
  CHECK(all.block(4, 2, 2, 2) == Matrix(c / 3));
  CHECK(all.block(2, 2, 2, 2) == Matrix(c / 2));
}

TEST_CASE("the accumulated online flow tends to the limit variance of theory.md 2.3") {
  // mu-noise of unit variance a batch: Var m_k from exact sensitivities against 2 kappa h int_0^t e^{-kappa(2t-r)} (e^{kappa r} - 1)/r dr.
  const double kappa = 1.3, t = 1;
  double before = 0;
  for (const int steps : {50, 100, 200}) {
    FlowOptions options{.h = t / steps, .steps = steps, .sensitivity = Sensitivity::per_step, .keep_every = steps};
    const auto r = Flow<GaussianStep>(GaussianStep(FreeEnergy(truth)), start, options).run();
    Matrix mu_only = Matrix::Zero(3, 3);
    mu_only(1, 1) = 1;
    const Vector g = r.final_state().tangent.row(0);
    const double variance = g.dot(online_covariance(mu_only, steps, OnlineData::accumulated) * g) / options.h;
    double integral = 0;
    const int n = 2000;
    for (int i = 0; i < n; ++i) {
      const double u = (i + 0.5) * t / n;
      integral += std::exp(-kappa * (2 * t - u)) * std::expm1(kappa * u) / u * t / n;
    }
    const double error = std::abs(variance - 2 * kappa * integral);
    // First order in h up to a logarithm of the singular forcing.
    if (before > 0) CHECK(std::log2(before / error) > 0.75);
    before = error;
  }
  CHECK(before < 0.02);
}

TEST_CASE("an online flow carries its fits and their covariance") {
  const auto batches = split_into_batches(path_of(2000), 20);
  for (const OnlineData data : {OnlineData::fresh, OnlineData::accumulated}) {
    const auto fits = online_fits(batches, truth, Transition::exact, data);
    REQUIRE(fits.size() == 20);
    CHECK(fits.back().n == (data == OnlineData::fresh ? 100 : 2000));
    Flow<GaussianStep> flow(GaussianStep(FreeEnergy(truth)), start, with_estimates({.h = 0.05, .steps = 20}, fits));
    const auto r = flow.run();
    REQUIRE(r.status == Status::converged);
    const auto b = band(moments(r.final_state().measure), Vector{{0.0, 1.0}}, r.final_state().tangent, online_covariance(fits, 20, data));
    const double m = 0.4 + 1.6 * std::pow(1 + 0.05 * 1.3, -20);
    // One check at 5 standard errors: false alarm 6e-7 (fixed seed); the bias of batch estimates (4/T = 0.08 of kappa) is below one of them.
    CHECK(std::abs(b.estimate[0] - m) < 5 * b.standard_error[0]);
    CHECK(b.standard_error[0] > 0);
  }
  CHECK_THROWS_AS((void)with_estimates({.h = 0.05, .steps = 21}, online_fits(batches, truth, Transition::exact, OnlineData::fresh)), ShapeError);
}

TEST_CASE("the bootstrap agrees with the asymptotic standard errors of a flow") {
  const Path path = path_of(1000);
  const Fit base = fit({path}, truth, Transition::exact);
  const Model fitted = truth.with_parameters(base.estimate);
  const auto flow_at = [](const Model& model) {
    return Flow<GaussianStep>(GaussianStep(FreeEnergy(model)), start, {.h = 0.02, .steps = 40, .sensitivity = Sensitivity::shared, .keep_every = 40}).run();
  };
  const auto refit = [](const Panel& panel) -> std::optional<Model> {
    const auto e = exact_ou_estimate(panel.front().values.row(0).transpose(), 0.5);
    if (!e.ok) return std::nullopt;
    return Model(ornstein_uhlenbeck(), Vector{{e.kappa, e.mu}}, e.beta);
  };
  const auto statistic = [&](const Model& model) -> std::optional<Vector> { return moments(flow_at(model).final_state().measure).value; };
  const auto one = parametric_bootstrap({path}, fitted, refit, statistic, {.replications = 400, .seed = 9});
  const auto two = parametric_bootstrap({path}, fitted, refit, statistic, {.replications = 400, .seed = 9, .threads = 2});
  CHECK(one.draws == two.draws);
  CHECK(one.failed == 0);
  const auto r = flow_at(fitted);
  const auto b = band(moments(r.final_state().measure), Vector{{0.0, 1.0}}, r.final_state().tangent, base.covariance);
  // 400 replications: relative s.e. 1/sqrt(800) = 3.5 %; 5 of them, and 5 % for n = 1000 not being infinite.
  for (Index i = 0; i < 2; ++i) CHECK(std::abs(one.standard_error()[i] / b.standard_error[i] - 1) < 5 * 0.035 + 0.05);
  CHECK((one.quantile(0.5) - one.mean()).cwiseAbs().maxCoeff() < one.standard_error().maxCoeff());
}
