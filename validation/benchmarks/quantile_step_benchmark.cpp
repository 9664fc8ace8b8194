/// The quantile step: time a step and cell, accuracy against the exact Gaussian iterate, and the finite-volume solver that a user would pick
/// for the linear equation. Ornstein-Uhlenbeck, kappa = beta = 1, mu = 0, from N(1, 4).
#include "timing.hpp"

#include <jko/flows/flow.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/fokker_planck.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>
#include <jko/validation/figure.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

using namespace jko;
using benchmarks::time_of;

namespace {

const Model model(ornstein_uhlenbeck(), Vector{{1.0, 0.0}}, 1.0);
const Gaussian start(Vector{{1.0}}, Matrix{{4.0}});

double normal_density(const Gaussian& law, double x) { return std::exp(law.log_density(Vector::Constant(1, x))); }

/// int |a - b| dx by the trapezoidal rule on +-12 deviations, 40000 points: its error is below 1e-9 for these densities.
template <class Density>
double l1_to(const Gaussian& law, const Density& density) {
  const double m = law.mean()[0], s = std::sqrt(law.covariance()(0, 0)), step = 24 * s / 40000;
  double sum = 0;
  for (int i = 0; i <= 40000; ++i) {
    const double x = m - 12 * s + i * step;
    sum += std::abs(density(x) - normal_density(law, x));
  }
  return sum * step;
}

FlowOptions options(Scheme scheme, double h, int steps) { return {.scheme = scheme, .h = h, .steps = steps, .keep_every = steps}; }

/// Wall seconds of a flow's first step and the median of the later ones, which begin at the parabola through the last three laws.
struct StepTimes {
  double first = 1e300, later = 1e300, iterations = 0;
};

StepTimes step_times(const QuantileFunction& initial, int threads, int steps, int repeats) {
  StepTimes out;
  for (int r = 0; r < repeats; ++r) {
    const auto result = Flow<QuantileStep>(QuantileStep(FreeEnergy(model), {.threads = threads}), initial, options(Scheme::jko, 0.01, steps)).run();
    if (!is_success(result.status)) fmt::print("not converged: {}\n", describe(result.status));
    std::vector<double> later;
    out.iterations = 0;
    for (std::size_t k = 3; k < result.records.size(); ++k) {
      later.push_back(result.records[k].seconds);
      out.iterations += result.records[k].step.iterations / static_cast<double>(result.records.size() - 3);
    }
    std::nth_element(later.begin(), later.begin() + static_cast<std::ptrdiff_t>(later.size() / 2), later.end());
    out.first = std::min(out.first, result.records.front().seconds);
    out.later = std::min(out.later, later[later.size() / 2]);
  }
  return out;
}

void speed() {
  fmt::print("Time a step of a flow, h = 0.01 (median of the steps after the third, least of the repeats), everything in the record included. A plain prototype with Thomas\n"
             "elimination and four Newton iterations a step: 0.052, 0.55, 6.0, 69 ms. Memory alone (about 40 arrays of the cells' size a step at 38 GB/s): 8.4 ns a cell.\n");
  fmt::print("{:>9} {:>12} {:>15} {:>13} {:>9} {:>15} {:>9}\n", "cells", "iterations", "first step, ms", "1 thread, ms", "ns/cell", "2 threads, ms", "speed-up");
  for (const Index cells : {1000, 10000, 100000, 1000000}) {
    const auto initial = QuantileFunction::gaussian(1.0, 4.0, cells);
    const int steps = cells >= 1000000 ? 10 : 40, repeats = cells >= 100000 ? 3 : 10;
    const StepTimes one = step_times(initial, 1, steps, repeats), two = step_times(initial, 2, steps, repeats);
    fmt::print("{:>9} {:>12.1f} {:>15.4g} {:>13.4g} {:>9.3g} {:>15.4g} {:>9.2f}\n", cells, one.iterations, 1e3 * one.first, 1e3 * one.later, 1e9 * one.later / static_cast<double>(cells), 1e3 * two.later, one.later / two.later);
  }
}

void accuracy() {
  Flow<GaussianStep> exact(GaussianStep(FreeEnergy(model)), start, options(Scheme::jko, 0.01, 100));
  const Gaussian law = exact.run().final_state().measure;
  fmt::print("\nL1 distance to the exact Gaussian JKO iterate after 100 steps of h = 0.01 (equal-mass cells: 2.6e-4 at 1000 cells, first order)\n");
  fmt::print("{:>9} {:>12} {:>8}\n", "cells", "L1", "order");
  double before = 0;
  for (const Index cells : {250, 500, 1000, 2000}) {
    const auto result = Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(1.0, 4.0, cells), options(Scheme::jko, 0.01, 100)).run();
    const double error = l1_to(law, [&](double x) { return result.final_state().measure.density(x); });
    fmt::print("{:>9} {:>12.3e} {:>8}\n", cells, error, before > 0 ? fmt::format("{:.2f}", std::log2(before / error)) : "");
    before = error;
  }
}

void against_finite_volumes(const std::filesystem::path& folder) {
  const Gaussian law = OrnsteinUhlenbeck(model).law(start, 1.0);
  validation::Figure figure{"error_against_time", "L1 error at t = 1 against CPU time: the quantile flow and finite volumes on the linear Fokker-Planck equation", "CPU seconds", "L1 error", true, true, {}};
  fmt::print("\nLinear Fokker-Planck to t = 1: L1 error against CPU time (one thread)\n{:<34} {:>7} {:>7} {:>11} {:>11}\n", "method", "cells", "steps", "CPU s", "L1");
  const auto add = [&](const std::string& label, int colour, const auto& run) {
    validation::Series series{label, validation::Series::Style::line, {}, {}, {}, {}, colour};
    for (const int level : {0, 1, 2, 3, 4}) {
      const Index cells = Index{125} << level;
      const int steps = 10 << level;
      double error = 0;
      const auto seconds = time_of(5, [&] { error = run(cells, steps); });
      fmt::print("{:<34} {:>7} {:>7} {:>11.3e} {:>11.3e}\n", label, cells, steps, seconds.cpu, error);
      series.x.push_back(seconds.cpu);
      series.y.push_back(error);
    }
    figure.series.push_back(std::move(series));
  };
  // The error is part of the timed run; it is taken on the method's own nodes or cells, so that it costs little beside the steps.
  const auto quantile = [&](Scheme scheme) {
    return [&, scheme](Index cells, int steps) {
      const auto result = Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(1.0, 4.0, cells), options(scheme, 1.0 / steps, steps)).run();
      const QuantileFunction& q = result.final_state().measure;
      const Vector middle = q.midpoints(), density = q.cell_densities();
      double sum = 0;
      for (Index i = 0; i < middle.size(); ++i) sum += std::abs(density[i] - normal_density(law, middle[i])) * q.masses()[i] / density[i];
      return sum;
    };
  };
  add("quantile flow, JKO", 1, quantile(Scheme::jko));
  add("quantile flow, VIM", 2, quantile(Scheme::vim));
  add("finite volumes, SDIRK2", 0, [&](Index cells, int steps) {
    FokkerPlanck solver(model, -15, 17, cells);
    const Vector& x = solver.centres();
    Vector density(cells);
    for (Index i = 0; i < cells; ++i) density[i] = normal_density(start, x[i]);
    density /= density.sum() * solver.width();
    density = solver.advance(std::move(density), 1.0 / steps, steps);
    double sum = 0;
    for (Index i = 0; i < cells; ++i) sum += std::abs(density[i] - normal_density(law, x[i]));
    return sum * solver.width();
  });
  validation::render(figure, folder);
  fmt::print("figure: {}\nAdvice: for the linear equation alone take the finite-volume solver; take the quantile flow where W2, quantiles, their sensitivities or a nonlinear energy are wanted,\n"
             "and then a second-order scheme: the first-order error of JKO in h dominates all others.\n", (folder / "error_against_time.svg").string());
}

}  // namespace

int main() {
  speed();
  accuracy();
  against_finite_volumes("out/benchmarks");
}
