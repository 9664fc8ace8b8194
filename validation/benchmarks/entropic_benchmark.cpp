/// The entropic step against closed forms of the same step: seconds, error, iterations, and what the kernel takes of them.
#include "timing.hpp"

#include <jko/steps/entropic_step.hpp>
#include <jko/transport/separable_kernel.hpp>

#include <fmt/format.h>

#include <cmath>
#include <numbers>

using namespace jko;
using benchmarks::time_of;

namespace {

std::shared_ptr<const Grid> box(int dimension, Index n) {
  return std::make_shared<const Grid>(Grid{Vector::Zero(dimension), Vector::Ones(dimension), std::vector<Index>(static_cast<std::size_t>(dimension), n)});
}

/// A step's table row; the least time of three fresh solvers, so that building buffers counts.
void row(const char* what, const FreeEnergy& energy, const GridDensity& from, const GridDensity& exact, double h, EntropicStepOptions options) {
  StepResult<GridDensity> result;
  EntropicReport report;
  const auto run = [&] {
    EntropicStep step(energy, options);
    result = step.advance(from, h);
    report = step.report();
  };
  options.threads = 1;
  const auto one = time_of(3, run);
  options.threads = 2;
  const auto two = time_of(3, run);
  const auto cells = static_cast<double>(from.grid().size());
  const SeparableKernel kernel(from.grid_ptr(), report.epsilon, report.radius);
  Vector out(from.values().size());
  const double kernel_seconds = time_of(5, [&] { kernel.apply(from.values(), out); }).cpu;
  double flops = 0;
  for (int a = 0; a < from.dimension(); ++a) flops += cells * static_cast<double>(3 * kernel.taps(a) + 1);
  fmt::print("{:<28} {:>9.2e} {:>9.2e} {:>7} {:>6} {:>8.4f} {:>8.4f} {:>8.1f} {:>8.3f} {:>8.1f}  {}\n", what, report.epsilon, l1_distance(result.measure, exact), result.iterations, report.kernel_applications,
             one.cpu, two.wall, 1e9 * one.cpu / (cells * result.iterations), 1e3 * kernel_seconds, 1e-9 * flops / kernel_seconds, name(result.status));
}

/// Cell averages of C (R^2 - |x - c|^2)_+ on the unit square by 8 x 8 points a cell.
GridDensity barenblatt(const std::shared_ptr<const Grid>& grid, double radius) {
  const Matrix x = grid->points();
  const double w = grid->width(0);
  constexpr int points = 8;
  Vector values = Vector::Zero(x.cols());
  for (Index i = 0; i < x.cols(); ++i) {
    for (int p = 0; p < points * points; ++p) {
      const double u = x(0, i) - 0.5 + w * ((p % points + 0.5) / points - 0.5), v = x(1, i) - 0.5 + w * ((p / points + 0.5) / points - 0.5);
      values[i] += std::max(0.0, radius * radius - u * u - v * v);
    }
  }
  return {grid, values / (values.sum() * grid->cell_volume())};
}

}  // namespace

int main() {
  fmt::print("Public back-and-forth code, same steps, CPU s / error: heat 256^2 2.85 / 1.35e-2, 512^2 12.9 / 1.28e-2; porous medium 256^2 0.87 / 1.6e-3 and 11.4 / 4.3e-4,\n"
             "512^2 3.8 / 2.4e-3 and 33 / 1.3e-4, 1024^2 15.6 / 2.7e-3. Asked: 1e-5 for the heat steps (1e-4 in 3-D); 1.5e-4, 1.3e-4, 5e-4 for the porous medium.\n\n");
  fmt::print("{:<28} {:>9} {:>9} {:>7} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}\n", "step", "epsilon", "L1 error", "iter.", "kernel", "CPU s", "2 thr. s", "ns/c/it", "kern. ms", "GFlop/s");
  const double sigma2 = 0.0036, tau = 5e-4, after = 0.5 * (sigma2 + 2 * tau + std::sqrt(sigma2 * (sigma2 + 4 * tau)));
  FreeEnergy heat;
  heat.add_entropy(1);
  const auto normal = [](const std::shared_ptr<const Grid>& grid, double variance) {
    const Index d = grid->dimension();
    return GridDensity::gaussian(grid, Vector::Constant(d, 0.5), variance * Matrix::Identity(d, d));
  };
  for (const Index n : {256, 512}) {
    const auto grid = box(2, n);
    row(fmt::format("heat {}^2", n).c_str(), heat, normal(grid, sigma2), normal(grid, after), tau, {.bias_target = n == 256 ? 8e-6 : 9e-6, .tolerance = 5e-7});
  }
  const auto cube = box(3, 128);
  row("heat 128^3", heat, normal(cube, sigma2), normal(cube, after), tau, {.bias_target = 6e-5, .tolerance = 5e-6});
  // c rho^2, c = 0.05: 1 - R/R' = h 4 c C' with C' = 2/(pi R'^4).
  const double radius = 0.2, c = 0.05, h = 0.005;
  double next = radius;
  for (int i = 0; i < 60; ++i) next -= (std::pow(next, 3) * (next - radius) - 8 * c * h / std::numbers::pi) / (next * next * (4 * next - 3 * radius));
  FreeEnergy porous;
  porous.add_porous_medium(c, 2);
  for (const Index n : {256, 512, 1024}) {
    const auto grid = box(2, n);
    row(fmt::format("porous medium m=2 {}^2", n).c_str(), porous, barenblatt(grid, radius), barenblatt(grid, next), h, {.epsilon = n == 256 ? 5e-5 : n == 512 ? 3.5e-5 : 6e-5, .bias_target = 1e-4, .tolerance = n == 1024 ? 2e-5 : 1e-5});
  }
}
