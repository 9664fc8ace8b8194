#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/simulated_likelihood.hpp>

#include <doctest/doctest.h>
#include <paths.hpp>

#include <cmath>
#include <numbers>

using namespace jko;
using namespace jko::estimators;

namespace {

Diffusion diffusion(const char* name, Vector theta) { return {diffusion_family(name), std::move(theta)}; }

Path simulate(const Diffusion& model, double start, double dt, Index n, int substeps) {
  return jko::testing::euler_path(RandomStream(31, "simulated likelihood test"), model, start, dt, n, substeps);
}

/// The law of m Euler steps of Vasicek, in closed form: what the simulation estimates without bias.
double euler_chain(const Path& path, double kappa, double mu, double sigma, int m) {
  double value = 0;
  for (Index i = 0; i < path.transitions(); ++i) {
    const double h = (path.times[i + 1] - path.times[i]) / m, a = 1 - kappa * h;
    const double mean = mu + std::pow(a, m) * (path.values(0, i) - mu), variance = sigma * sigma * h * (1 - std::pow(a, 2 * m)) / (1 - a * a), residual = path.values(0, i + 1) - mean;
    value -= 0.5 * (std::log(2 * std::numbers::pi * variance) + residual * residual / variance);
  }
  return value;
}

}  // namespace

TEST_CASE("simulated likelihoods of OU are the law of the Euler substeps, within their own error, which is calibrated") {
  const Diffusion ou = diffusion("vasicek", Vector{{2, 0.5, 1}});
  const Path path = simulate(ou, 0.5, 0.25, 60, 50);
  for (const Importance importance : {Importance::pedersen, Importance::modified_bridge}) {
    const int m = 6;
    const double exact = euler_chain(path, 2, 0.5, 1, m);
    constexpr int seeds = 30;
    double sum = 0, squares = 0, variance = 0;
    for (int seed = 1; seed <= seeds; ++seed) {
      const auto value = simulated_log_likelihood({path}, ou, {.importance = importance, .substeps = m, .paths = 400, .seed = static_cast<std::uint64_t>(seed)});
      const double difference = value.value + 0.5 * value.variance - exact;  // the logarithm's bias to first order
      sum += difference;
      squares += difference * difference;
      variance += value.variance / seeds;
    }
    // Mean of 30: four standard errors (false alarm 6e-5), and the second-order bias of the logarithm, below variance/paths a transition.
    CHECK(std::abs(sum / seeds) < 4 * std::sqrt(variance / seeds) + variance / 20);
    // Chi-squared with 29 degrees of freedom over 29: 0.37 to 2.2 holds with probability 0.999; the variance's own estimate adds 10 %.
    const double ratio = (squares - sum * sum / seeds) / (seeds - 1) / variance;
    CHECK(ratio > 0.33);
    CHECK(ratio < 2.4);
  }
  // The bridge is what makes it affordable.
  const auto variance_of = [&](Importance importance) { return simulated_log_likelihood({path}, ou, {.importance = importance, .substeps = 8, .paths = 64}).variance; };
  CHECK(variance_of(Importance::modified_bridge) < 0.1 * variance_of(Importance::pedersen));
}

TEST_CASE("CIR: two numbers of substeps extrapolate to the exact likelihood") {
  const Diffusion cir = diffusion("cir", Vector{{0.8, 0.09, 0.2}});
  const Path path = simulate(cir, 0.09, 0.25, 60, 50);
  const auto value = [&](int substeps) { return simulated_log_likelihood({path}, cir, {.substeps = substeps, .paths = 256, .seed = 5}); };
  const auto a = value(8), b = value(16);
  const double exact = log_likelihood({path}, cir, Transition::exact).value, corrected_a = a.value + 0.5 * a.variance, corrected_b = b.value + 0.5 * b.variance;
  const double deviation = std::sqrt(a.variance + 4 * b.variance);
  // First order in 1/substeps: 2 B - A; the second order is about a quarter of the square of the relative difference, taken as a tenth of |B - A|. Four deviations: false alarm 6e-5.
  CHECK(std::abs(2 * corrected_b - corrected_a - exact) < 4 * deviation + 0.1 * std::abs(corrected_b - corrected_a));
  CHECK(deviation < 0.2);
}

TEST_CASE("a fit with common random numbers: its Monte-Carlo error is that of the estimates over seeds") {
  const Diffusion ou = diffusion("vasicek", Vector{{2, 0.5, 1}}), start = diffusion("vasicek", Vector{{1, 0, 0.7}});
  const Path path = simulate(ou, 0.5, 0.25, 200, 50);
  constexpr int seeds = 12;
  Matrix estimates(3, seeds);
  Vector predicted = Vector::Zero(3);
  Fit last;
  for (int seed = 1; seed <= seeds; ++seed) {
    last = fit_simulated({path}, start, {.substeps = 4, .paths = 16, .seed = static_cast<std::uint64_t>(seed)});
    REQUIRE(last.status == Status::converged);
    REQUIRE(last.monte_carlo_errors.size() == 3);
    estimates.col(seed - 1) = last.estimate;
    predicted += last.monte_carlo_errors / seeds;
  }
  const Vector spread = ((estimates.colwise() - estimates.rowwise().mean()).rowwise().squaredNorm() / (seeds - 1)).cwiseSqrt();
  // chi_11/sqrt(11): 0.4 to 1.7 holds with probability 0.999 each; three of them.
  for (Index j = 0; j < 3; ++j) {
    CHECK(spread[j] / predicted[j] > 0.35);
    CHECK(spread[j] / predicted[j] < 1.8);
    CHECK(predicted[j] < 0.5 * last.standard_errors()[j]);
  }
  CHECK(last.table().find("Monte-Carlo errors") != std::string::npos);
  // The same through the list of schemes, and the same bits with two threads.
  CHECK(fit({path}, start, Transition::modified_bridge).status == Status::converged);
  CHECK(simulated_log_likelihood({path}, ou, {.threads = 2}).value == log_likelihood({path}, ou, Transition::modified_bridge).value);
  CHECK_THROWS_AS((void)simulated_log_likelihood({path}, ou, {.paths = 5}), DomainError);
  CHECK_THROWS_AS((void)simulated_log_likelihood({path}, ou, {.substeps = 1}), DomainError);
}
