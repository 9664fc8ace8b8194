/// The back-and-forth step: CPU time beside the L1 error to the closed-form minimiser of the same step, the certified bounds, iterations, and nanoseconds a
/// cell and evaluation of the dual against the limits of one thread. Usage: back-and-forth-benchmark [largest cells an axis, default 512]
#include "timing.hpp"

#include <jko/problems/self_similar.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/transport/c_transform.hpp>

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>

using namespace jko;
using benchmarks::time_of;

namespace {

std::shared_ptr<const Grid> box(int d, Index cells) {
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, -0.5), Vector::Constant(d, 0.5), std::vector<Index>(static_cast<std::size_t>(d), cells)});
}

struct Row {
  const char* name;
  FreeEnergy energy;
  problems::SelfSimilar problem;
  double start, h;
};

void run(const Row& row, Index cells, double tolerance) {
  const auto grid = box(row.problem.dimension(), cells);
  const bool gaussian = !std::isfinite(row.problem.support());
  const auto at = [&](double scale) {
    const int d = row.problem.dimension();
    return gaussian ? GridDensity::gaussian(grid, Vector::Zero(d), scale * scale * Matrix::Identity(d, d)) : row.problem.on_grid(grid, scale);
  };
  const GridDensity from = at(row.start), exact = at(row.problem.jko(row.start, row.h));
  StepResult<GridDensity> result;
  double seconds[2];
  BackAndForthReport report;
  for (const int threads : {1, 2}) {
    BackAndForthStep step(row.energy, {.tolerance = tolerance, .max_iterations = 100, .threads = threads});
    const auto time = time_of(grid->size() > 300000 ? 1 : 2, [&] { result = step.advance(from, row.h); });
    seconds[threads - 1] = threads == 1 ? time.cpu : time.wall;
    report = step.report();
  }
  const double each = 1e9 * seconds[0] / report.evaluations / static_cast<double>(grid->size());
  fmt::print("{:<15} {:>5}^{} {:>9.1e} {:>8.3f} {:>8.3f} {:>10.2e} {:>10.2e} {:>10.2e} {:>5} {:>5} {:>8.1f}  {}\n", row.name, cells, row.problem.dimension(), tolerance,
             seconds[0], seconds[1], l1_distance(result.measure, exact), report.l1_bound, result.w2_bound, result.iterations, report.evaluations, each,
             name(result.status));
  std::fflush(stdout);  // the large rows take seconds
}

}  // namespace

int main(int argc, char** argv) {
  const Index largest = argc > 1 ? std::atoi(argv[1]) : 512;
  fmt::print("One JKO step. error: int |rho - closed form|; L1 and W2 bounds: certified distance to the minimiser of the discrete problem.\n"
             "Public back-and-forth code, same steps, CPU s / error: heat 256^2 2.85 / 1.35e-2, 512^2 12.9 / 1.28e-2; porous medium 256^2 0.87 / 1.6e-3 and 11.4 / 4.3e-4,\n"
             "512^2 3.8 / 2.4e-3 and 33 / 1.3e-4, 1024^2 15.6 / 2.7e-3.\n\n");
  fmt::print("{:<15} {:>7} {:>9} {:>8} {:>8} {:>10} {:>10} {:>10} {:>5} {:>5} {:>8}\n", "problem", "cells", "tolerance", "CPU s", "2 thr.", "error", "L1 bound", "W2 bound", "it.", "eval.",
             "ns/c/ev");
  FreeEnergy heat, porous;
  heat.add_entropy(1);
  porous.add_porous_medium(0.05, 2);
  for (const Index n : {128, 256, 512}) {
    if (n <= largest) run({"heat", heat, problems::mckean_vlasov_gaussian(2, 1, 0, 0), 0.06, 5e-4}, n, n == 512 ? 1e-4 : 1e-5);
  }
  if (largest >= 64) run({"heat", heat, problems::mckean_vlasov_gaussian(3, 1, 0, 0), 0.1, 1e-3}, 64, 1e-3);
  // F = 0.05 int rho^2, so that the equation is d_t rho = 0.05 Lap rho^2.
  for (const Index n : {128, 256, 512, 1024}) {
    if (n <= largest) run({"porous m=2", porous, problems::barenblatt(2, 2, 0.05), 0.2, 0.005}, n, n > 256 ? 1e-3 : 3e-4);
  }
  // The limit: one evaluation is a transform of 4 particles a cell (2-D) and its deposit. The plain lattice transform is the yardstick.
  for (const Index n : {256, 512}) {
    const auto grid = box(2, n);
    const Vector phi = 0.1 * grid->points().colwise().squaredNorm().transpose();
    const CTransform transform(grid);
    Vector out;
    const auto time = time_of(5, [&] { out = transform(phi); });
    fmt::print("{}c-transform {}^2: {:.2f} ms, {:.1f} ns a cell\n", n == 256 ? "\n" : "", n, 1e3 * time.cpu, 1e9 * time.cpu / static_cast<double>(grid->size()));
  }
}
