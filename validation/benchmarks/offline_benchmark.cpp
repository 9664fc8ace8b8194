/// The offline design of statistical JKO: replications x (path of n, exact maximum likelihood, 80 JKO steps with sensitivities), Gaussian and quantile flows.
#include "timing.hpp"

#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <cmath>

using namespace jko;

namespace {

constexpr double kappa = 1.3, mu = 0.4, beta = 2, spacing = 0.5;
constexpr Index n = 400;
constexpr int steps = 80;

Vector path(Index replication) {
  RandomStream random(1, "offline benchmark", static_cast<std::uint64_t>(replication));
  const double phi = std::exp(-kappa * spacing), deviation = std::sqrt(1 / (beta * kappa)), innovation = deviation * std::sqrt(1 - phi * phi);
  Vector x(n + 1);
  x[0] = mu + deviation * random.normal();
  for (Index i = 0; i < n; ++i) x[i + 1] = mu + phi * (x[i] - mu) + innovation * random.normal();
  return x;
}

Model estimate(const Vector& x) {
  const auto e = estimators::exact_ou_estimate(x, spacing);
  return {ornstein_uhlenbeck(), Vector{{e.ok ? e.kappa : kappa, e.ok ? e.mu : mu}}, e.ok ? e.beta : beta};
}

template <class Step, class Measure>
double flow(const Model& model, const Measure& start) {
  const auto result = Flow<Step>(Step(FreeEnergy(model)), start, {.h = 0.01, .steps = steps, .sensitivity = Sensitivity::shared, .keep_every = steps}).run();
  return result.final_state().tangent(0, 0);
}

}  // namespace

int main() {
  fmt::print("Offline study: paths of n = {}, exact maximum likelihood, {} JKO steps with exact sensitivities\n{:<34} {:>13} {:>8} {:>10} {:>10} {:>16}\n", n, steps, "", "replications", "threads", "CPU s", "wall s", "us/replication");
  const Gaussian gaussian(Vector{{2.0}}, Matrix{{2.89}});
  const auto quantiles = QuantileFunction::gaussian(2.0, 2.89, 100);
  const auto row = [&](const char* label, Index replications, int threads, const std::function<double(Index)>& one) {
    Vector out(replications);
    const auto seconds = benchmarks::time_of(1, [&] { parallel_for(replications, threads, [&](Index r) { out[r] = one(r); }); });
    fmt::print("{:<34} {:>13} {:>8} {:>10.2f} {:>10.2f} {:>16.1f}\n", label, replications, threads, seconds.cpu, seconds.wall, 1e6 * seconds.cpu / static_cast<double>(replications));
  };
  row("floor: the random numbers", 10000, 1, [](Index r) { return path(r)[n]; });
  row("path and fit", 10000, 1, [](Index r) { return estimate(path(r)).beta(); });
  for (const int threads : {1, 2}) row("Gaussian flow", 10000, threads, [&](Index r) { return flow<GaussianStep>(estimate(path(r)), gaussian); });
  row("quantile flow, 100 cells", 10000, 2, [&](Index r) { return flow<QuantileStep>(estimate(path(r)), quantiles); });
}
