/// Whole fits, standard errors included, and single evaluations with gradient, n = 10^4 transitions, one thread.
#include "timing.hpp"

#include <jko/core/random.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/fokker_planck_density.hpp>
#include <jko/estimators/kalman_likelihood.hpp>

#include <fmt/format.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;
using jko::benchmarks::time_of;

namespace {

constexpr Index n = 10000;

Path simulate(const Diffusion& model, double start, double dt, int substeps) {
  RandomStream random(1, "likelihood benchmark");
  Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(1, n + 1)};
  double x = path.values(0, 0) = start;
  const double h = dt / substeps;
  for (Index i = 1; i <= n; ++i) {
    for (int k = 0; k < substeps; ++k) x += model.drift(x) * h + model.diffusion(x) * std::sqrt(h) * random.normal();
    path.values(0, i) = x;
  }
  return path;
}

/// The exponentials that a density needs at least: one a transition.
double floor_ns() {
  Vector x = Vector::LinSpaced(n, -2, 2), y(n);
  const double seconds = time_of(200, [&] {
                           for (Index i = 0; i < n; ++i) y[i] = std::exp(x[i]);
                           x[0] = -2 + 1e-300 * y[n - 1];
                         }).cpu;
  return 1e9 * seconds / n;
}

void row(const char* label, const Panel& panel, const Diffusion& start, Transition scheme, const char* peers) {
  Fit result;
  const double whole = time_of(3, [&] { result = fit(panel, start, scheme); }).cpu;
  const Diffusion at = start.with_parameters(result.estimate);
  const double once = time_of(5, [&] { (void)log_likelihood(panel, at, scheme); }).cpu;
  fmt::print("{:<26} {:<14} {:>9.4f} {:>11.0f} {:>9} {:>8.0e}   {}\n", label, name(scheme), whole, 1e9 * once / n, std::string(name(result.status)).substr(0, 9), result.gradient_norm, peers);
}

}  // namespace

int main() {
  fmt::print("n = {}, one thread; seconds are CPU seconds, the least of three; the floor of one exp is {:.1f} ns.\n", n, floor_ns());
  fmt::print("fit: from the start, with observed information and sandwich. eval: value, gradient and scores, for Fokker-Planck with the search for the basis.\n");
  fmt::print("peers: seconds of their fits on this kind of machine, from an earlier run, not repeated here.\n\n");
  fmt::print("{:<26} {:<14} {:>9} {:>11} {:>9} {:>8}   {}\n", "model", "scheme", "fit, s", "eval, ns/tr", "status", "gradient", "peers, s");
  const Diffusion vasicek(diffusion_family("vasicek"), Vector{{2, 0.5, 1}}), vasicek_start = vasicek.with_parameters(Vector{{1, 0, 0.5}});
  const Path ou = simulate(vasicek, 0.5, 0.1, 20);
  row("vasicek, dt 0.1", {ou}, vasicek_start, Transition::exact, "R sde 0.035, pymle 0.016");
  row("vasicek, dt 0.1", {ou}, vasicek_start, Transition::euler, "Sim.DiffProc 0.06, pymle 0.007, yuima 3.6");
  row("vasicek, dt 0.1", {ou}, vasicek_start, Transition::kessler_2, "Sim.DiffProc 0.17");
  row("vasicek, dt 0.1", {ou}, vasicek_start, Transition::shoji_ozaki, "pymle 0.058, Sim.DiffProc 0.20");
  const Diffusion cir(diffusion_family("cir"), Vector{{0.5, 0.06, 0.15}}), cir_start = cir.with_parameters(Vector{{1, 0.1, 0.3}});
  const Path rates = simulate(cir, 0.06, 1.0 / 12, 50);
  row("cir, dt 1/12", {rates}, cir_start, Transition::exact, "pymle 0.61, R 0.9");
  row("cir, dt 1/12", {rates}, cir_start, Transition::elerian, "");
  for (const Transition scheme : {Transition::hermite_1, Transition::hermite_2, Transition::hermite_3}) row("cir, dt 1/12", {rates}, cir_start, scheme, "0.5 to 37");
  const Diffusion cubic(diffusion_family("cubic"), Vector{{2, 2, 1}}), cubic_start = cubic.with_parameters(Vector{{1, 1, 0.5}});
  const Path well = simulate(cubic, 1, 0.5, 100);
  row("double well, dt 0.5", {well}, cubic_start, Transition::euler, "");
  row("double well, dt 0.5", {well}, cubic_start, Transition::shoji_ozaki, "");
  row("double well, dt 0.5", {well}, cubic_start, Transition::fokker_planck, "one evaluation in a numpy prototype: 0.038");
  const Vector from = well.values.row(0).head(n).transpose(), to = well.values.row(0).tail(n).transpose();
  int level = 0;
  for (double error = 1; error > 1e-6 && level < 8; ++level) {
    error = std::abs(fokker_planck_density(cubic, from, to, 0.5, level).log_density.sum() - fokker_planck_density(cubic, from, to, 0.5, level + 1).log_density.sum());
  }
  // fokker_planck_density() evaluates two bases for its error estimate; half of its time is one evaluation.
  const double value = 0.5 * time_of(5, [&] { (void)fokker_planck_density(cubic, from, to, 0.5, level); }).cpu;
  fmt::print("\ndouble well, dt 0.5, one Fokker-Planck evaluation of 10^4 densities at 1e-6 of the log-likelihood (refinement {}): {:.2f} ms\n", level, 1e3 * value);
  const LinearSystem noisy{Matrix{{-2.0}}, Vector{{1.0}}, Matrix{{1.0}}, 0.1};
  Path blurred = ou;
  RandomStream random(2, "measurement noise");
  for (Index i = 0; i <= n; ++i) blurred.values(0, i) += 0.1 * random.normal();
  Fit result;
  const double kalman = time_of(1, [&] { result = fit({blurred}, LinearSystem{Matrix{{-1.0}}, Vector{{0.0}}, Matrix{{0.7}}, 0.2}); }).cpu;
  fmt::print("vasicek with measurement noise, Kalman: {:.3f} s ({}); peer: ctsmTMB 3.3 s\n", kalman, name(result.status));
}
