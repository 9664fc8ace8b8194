/// W2 between Gaussians on grids against Bures' closed form: seconds, true and estimated error, levels and kernel applications.
#include "timing.hpp"

#include <jko/measures/gaussian.hpp>
#include <jko/transport/grid_w2.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

using namespace jko;
using benchmarks::time_of;

namespace {

/// One row; cell averages of a smooth density are read with width^2/12 more variance, and so is the closed form.
void row(const char* what, std::vector<Index> cells, const Gaussian& a, const Gaussian& b, double relative) {
  const auto d = static_cast<Index>(cells.size());
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Zero(d), Vector::Ones(d), std::move(cells)});
  const auto on = [&](const Gaussian& g) { return GridDensity::gaussian(grid, g.mean(), g.covariance()); };
  const auto read = [&](const Gaussian& g) {
    Matrix covariance = g.covariance();
    if (!covariance.isDiagonal(0)) return g;  // values at the centres
    for (int k = 0; k < grid->dimension(); ++k) covariance(k, k) += std::pow(grid->width(k), 2) / 12;
    return Gaussian(g.mean(), covariance);
  };
  const GridDensity first = on(a), second = on(b);
  GridW2 found;
  const auto one = time_of(3, [&] { found = grid_w2(first, second, {.relative = relative}); });
  const auto two = time_of(3, [&] { (void)grid_w2(first, second, {.relative = relative, .threads = 2}); });
  const double exact = w2(read(a), read(b));
  fmt::print("{:<36} {:>9.0e} {:>9.1e} {:>9.1e} {:>8.4f} {:>8.4f} {:>7} {:>8} {:>9.1e} {:>8}  {}\n", what, relative, std::abs(found.value / exact - 1), found.error / found.value, one.cpu, two.wall, found.levels,
             found.kernel_applications, found.epsilon, found.cells, name(found.status));
}

}  // namespace

int main() {
  fmt::print("{:<36} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>8} {:>9} {:>8}\n", "pair", "asked", "error", "estimate", "CPU s", "2 thr. s", "levels", "kernels", "epsilon", "cells");
  const auto ball = [](double x, double y, double variance) { return Gaussian(Vector{{x, y}}, variance * Matrix::Identity(2, 2)); };
  const Gaussian a(Vector{{0.35, 0.4}}, Matrix{{0.005, 0.002}, {0.002, 0.004}}), b(Vector{{0.6, 0.55}}, Matrix{{0.006, -0.003}, {-0.003, 0.0035}});
  for (const Index n : {128, 256, 512}) {
    row(fmt::format("correlated Gaussians {}^2", n).c_str(), {n, n}, a, b, 1e-3);
    row(fmt::format("translation by 0.67 {}^2", n).c_str(), {n, n}, ball(0.25, 0.25, 0.002), ball(0.75, 0.7, 0.002), 1e-3);
    row(fmt::format("translation by 0.001 {}^2", n).c_str(), {n, n}, ball(0.5, 0.5, 0.0036), ball(0.501, 0.5, 0.0036), 1e-3);
    row(fmt::format("heat step {}^2", n).c_str(), {n, n}, ball(0.5, 0.5, 0.0036), ball(0.5, 0.5, 0.00454), 1e-3);
  }
  row("Gaussians 48^3", {48, 48, 48}, Gaussian(Vector{{0.4, 0.4, 0.5}}, 0.006 * Matrix::Identity(3, 3)), Gaussian(Vector{{0.6, 0.55, 0.5}}, 0.009 * Matrix::Identity(3, 3)), 1e-3);
}
