/// What a replication of the designs costs against its floor: the random numbers and the steps alone. User CPU time, the least of five.
#include "timing.hpp"

#include <jko/core/random.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/quantile_step.hpp>

#include "../src/studies/ou_moments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace {

template <class F>
double cpu_seconds(const F& f) {
  return jko::benchmarks::time_of(5, f).cpu;
}

}  // namespace

int main() {
  using namespace jko;
  constexpr int n = 1000000;
  double sink = 0;
  RandomStream random(1, "benchmark");
  fmt::print("normal variate            {:7.1f} ns\n", 1e9 / n * cpu_seconds([&] { for (int i = 0; i < n; ++i) sink += random.normal(); }));
  fmt::print("gamma variate, shape 10   {:7.1f} ns\n", 1e9 / n * cpu_seconds([&] { for (int i = 0; i < n; ++i) sink += random.gamma(10); }));
  fmt::print("Ornstein-Uhlenbeck step   {:7.1f} ns\n", 1e9 / n * cpu_seconds([&] {
    validation::OuMoments law{2, 1.7};
    for (int i = 0; i < n; ++i) law.step(1.3, 0.4, 2, 1e-4);
    sink += law.variance();
  }));
  // The floor of a quantile step: one symmetric tridiagonal elimination and substitution a Newton iteration, here the plain one on as many rows.
  constexpr int rows = 61, solves = 20000;
  std::vector<double> diagonal(rows, 4), off(rows, -1), pivot(rows), x(rows, 1);
  const double solve = cpu_seconds([&] {
    for (int r = 0; r < solves; ++r) {
      pivot[0] = 1 / diagonal[0];
      for (int i = 1; i < rows; ++i) {
        const double ratio = off[i - 1] * pivot[i - 1];
        pivot[i] = 1 / (diagonal[i] - ratio * off[i - 1]);
        x[i] -= ratio * x[i - 1];
      }
      x[rows - 1] *= pivot[rows - 1];
      for (int i = rows - 2; i >= 0; --i) x[i] = (x[i] - off[i] * x[i + 1]) * pivot[i];
      sink += x[0];
      std::fill(x.begin(), x.end(), 1 + 1e-9 * sink);
    }
  }) / solves;
  fmt::print("tridiagonal solve, {} rows {:5.2f} us\n", rows, 1e6 * solve);
  const Model model(double_well(), Vector{{1, 1, 0}}, 2);
  for (const int steps : {10, 80, 226}) {
    int iterations = 0;
    const double seconds = cpu_seconds([&] {
      const auto run = Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(0.5, 0.3, 60, 6), {.h = 0.8 / steps, .steps = steps, .keep_every = steps}).run();
      iterations = 0;
      for (const auto& record : run.records) iterations += record.step.iterations;
      sink += run.final_state().measure.mean()[0];
    });
    // A replication draws one estimate offline (a handful of variates); online, one a step.
    fmt::print("double well, a replication of {:3d} steps: {:7.3f} ms, {:.2f} Newton iterations a step, {:5.2f} us a step; floor (a solve an iteration) {:5.2f} us a step: {:.1f} times the floor\n", steps, 1e3 * seconds, static_cast<double>(iterations) / steps,
               1e6 * seconds / steps, 1e6 * solve * iterations / steps, seconds / (solve * iterations));
  }
  return sink == 0.125;  // never: keeps the loops
}
