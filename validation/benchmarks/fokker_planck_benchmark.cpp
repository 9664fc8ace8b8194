/// Finite volumes for Fokker-Planck equations on grids: time a step against the memory limit, and errors against closed forms.
#include "timing.hpp"

#include <jko/models/families.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/problems/self_similar.hpp>
#include <jko/reference/fokker_planck_grid.hpp>

#include <fmt/format.h>

using namespace jko;
using benchmarks::time_of;

namespace {

std::shared_ptr<const Grid> box(int d, Index cells, double half) {
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, -half), Vector::Constant(d, half), std::vector<Index>(static_cast<std::size_t>(d), cells)});
}

/// Psi = x' K x/2 with `coupling` off the diagonal.
FreeEnergy quadratic(int d, double coupling) {
  Vector theta = Vector::Zero(d * (d + 1) / 2 + d);
  for (Index i = 0, k = 0; i < d; ++i) {
    for (Index j = 0; j <= i; ++j) theta[k++] = i == j ? 1 : coupling;
  }
  return FreeEnergy(Model(ornstein_uhlenbeck(d), theta, 1));
}

}  // namespace

int main() {
  fmt::print("Second-order step of the linear equation (least of the repeats). A solve along the first axis reads and writes the field once, along another twice; where Psi\n"
             "is no sum of functions of one coordinate it reads 3 and 4 factors a cell as well. share = those bytes at the rate at which this thread scales a field of the\n"
             "same size in place, over the time. (A sparse LU of another library: 24 ms for 512^2.)\n\n");
  fmt::print("{:<12} {:>7} {:>12} {:>12} {:>10} {:>8} {:>8}\n", "Psi", "cells", "1 thread ms", "2 threads ms", "ns/cell", "GB/s", "share");
  for (const int d : {2, 3}) {
    for (const double coupling : {0.0, 0.4}) {
      for (const Index n : d == 2 ? std::vector<Index>{256, 512, 1024} : std::vector<Index>{64, 128}) {
        const auto grid = box(d, n, 4);
        const GridDensity from = GridDensity::gaussian(grid, Vector::Constant(d, 0.5), 0.5 * Matrix::Identity(d, d));
        double ms[2];
        const int steps = grid->size() > 500000 ? 20 : 100;
        Vector field = from.values();
        const double scale = time_of(5, [&] {
                               for (int k = 0; k < steps; ++k) field *= 0.999;
                             }).cpu / steps;
        for (const int threads : {1, 2}) {
          FokkerPlanckGrid solver(quadratic(d, coupling), grid, {.threads = threads});
          const auto time = time_of(5, [&] { (void)solver.advance(from, 1e-3, steps); });
          ms[threads - 1] = 1e3 * (threads == 1 ? time.cpu : time.wall) / steps;
        }
        const double first = d == 2 ? 1 : 2, others = d == 2 ? 1 : 3;  // solves a step
        const double fields = first * (coupling == 0 ? 2 : 5) + others * (coupling == 0 ? 4 : 8), size = static_cast<double>(grid->size());
        fmt::print("{:<12} {:>5}^{} {:>12.3f} {:>12.3f} {:>10.2f} {:>8.0f} {:>7.0f}%\n", coupling == 0 ? "separable" : "coupled", n, d, ms[0], ms[1], 1e6 * ms[0] / size,
                   1e-9 * 16 * size / scale, 100 * fields / 2 * scale / (1e-3 * ms[0]));
      }
    }
  }
  fmt::print("\nL1 errors with steps that halve with the width\n{:<34} {:>7} {:>6} {:>11} {:>9}\n", "problem", "cells", "steps", "L1", "CPU s");
  const auto row = [](const char* name, const FreeEnergy& energy, const std::shared_ptr<const Grid>& grid, const GridDensity& from, double t, int steps, const GridDensity& exact) {
    double error = 0;
    const auto time = time_of(1, [&] { error = l1_distance(FokkerPlanckGrid(energy, grid).advance(from, t / steps, steps).measure, exact); });
    fmt::print("{:<34} {:>5}^{} {:>6} {:>11.3e} {:>9.4f}\n", name, grid->cells[0], grid->dimension(), steps, error, time.cpu);
  };
  const auto ou = problems::non_commuting();
  for (const Index n : {64, 128, 256}) {
    const auto grid = box(2, n, 5);
    const Gaussian end = ou.at(0.4).front();
    row("OU, non-commuting, t = 0.4", FreeEnergy(ou.model()), grid, ou.on_grid(grid, 0), 0.4, static_cast<int>(n) / 8, GridDensity::gaussian(grid, end.mean(), end.covariance()));
  }
  FreeEnergy porous;
  porous.add_porous_medium(0.05, 2);
  const auto barenblatt = problems::barenblatt(2, 2, 0.05);
  for (const Index n : {64, 128, 256}) {
    const auto grid = box(2, n, 0.5);
    row("porous medium m = 2, t = 0.02", porous, grid, barenblatt.on_grid(grid, 0.2), 0.02, static_cast<int>(n) / 4, barenblatt.on_grid(grid, barenblatt.flow(0.2, 0.02)));
  }
}
