/// What a replication of the designs costs against its floor: the random numbers and the steps alone. User CPU time, the least of five.
#include "timing.hpp"

#include <jko/core/random.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/quantile_step.hpp>

#include "../src/studies/ou_moments.hpp"

#include <fmt/format.h>

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
  const Model model(double_well(), Vector{{1, 1, 0}}, 2);
  for (const int steps : {10, 226}) {
    const double seconds = cpu_seconds([&] {
      sink += Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(0.5, 0.3, 60, 6), {.h = 0.8 / steps, .steps = steps, .keep_every = steps}).run().final_state().measure.mean()[0];
    });
    fmt::print("quantile step, 60 cells   {:7.1f} us a step of a flow of {} steps\n", 1e6 / steps * seconds, steps);
  }
  return sink == 0.125;  // never: keeps the loops
}
