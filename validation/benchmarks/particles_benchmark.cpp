/// Particles: exact transport, Gaussian pair sums, and the Landau blob method. Prints a table with the error beside the time.
#include "timing.hpp"

#include <jko/core/random.hpp>
#include <jko/landau/blob.hpp>
#include <jko/measures/convert.hpp>
#include <jko/measures/gaussian_sums.hpp>
#include <jko/transport/exact.hpp>

#include <fmt/format.h>

#include <cmath>
#include <memory>

using namespace jko;

namespace {

template <class F>
double cpu_seconds(const F& f) {
  return benchmarks::time_of(2, f).cpu;
}

Matrix normals(Index d, Index n, std::uint64_t index) {
  Matrix x(d, n);
  RandomStream random(1, "particles benchmark", index);
  for (Index i = 0; i < n; ++i) random.fill_normal(x.col(i));
  return x;
}

void transport() {
  fmt::print("Exact transport between two clouds of n points in the plane (POT 0.41 s, LEMON 0.36 s on another machine for n = 2000)\n");
  fmt::print("{:>6} {:>16} {:>12} {:>18} {:>12}\n", "n", "weights", "CPU s", "cost", "gap");
  for (const Index n : {500, 2000}) {
    const Matrix x = normals(2, n, 1), y = normals(2, n, 2).array() + 1.0;
    Vector w(n), v(n);
    RandomStream random(1, "benchmark weights");
    for (Index i = 0; i < n; ++i) {
      w[i] = random.uniform();
      v[i] = random.uniform();
    }
    for (const bool equal : {true, false}) {
      const Particles a = equal ? Particles(x) : Particles(x, w / w.sum()), b = equal ? Particles(y) : Particles(y, v / v.sum());
      ExactTransport t;
      const double seconds = cpu_seconds([&] { t = exact_transport(a, b); });
      fmt::print("{:>6} {:>16} {:>12.3f} {:>18.12f} {:>12.1e}\n", n, equal ? "equal" : "random", seconds, t.cost, t.gap());
    }
  }
}

void pair_sums() {
  fmt::print("\nGaussian pair sums, 4000 points, nanoseconds a pair within reach (the exponential alone: 0.6 with fused operations)\n");
  fmt::print("{:>3} {:>8} {:>10} {:>10} {:>10} {:>12} {:>12}\n", "d", "threads", "value", "gradient", "pairs", "Hessian", "share");
  for (const Index d : {1, 2, 3}) {
    const Index n = 4000;
    const Matrix x = normals(d, n, 3), v = normals(d, n, 4);
    const Vector w = Vector::Constant(n, 1.0 / static_cast<double>(n)), a = v.row(0).transpose(), b = x.row(0).transpose();
    for (const int threads : {1, 2}) {
      const GaussianSums sums(x, 0.15, {.threads = threads});
      const double pairs = sums.pairs(), scale = 1e9 / pairs;
      const auto time = [&](const auto& f) { return scale * cpu_seconds(f); };
      fmt::print("{:>3} {:>8} {:>10.2f} {:>10.2f} {:>10.2f} {:>12.2f} {:>12.3f}\n", d, threads, time([&] { (void)sums.value(w); }), time([&] { (void)sums.value_gradient(w); }),
                 time([&] { (void)sums.pair_gradient(w, a); }), time([&] { (void)sums.pair_hessian(w, a, b, v); }), pairs / static_cast<double>(n * n));
    }
  }
}

void landau() {
  fmt::print("\nLandau blob method against BKW in the plane, T = 5 (numpy: 40 cells, dt 0.05: 4.2 s, error 1.76e-2)\n");
  fmt::print("{:>6} {:>10} {:>6} {:>18} {:>10} {:>12} {:>12} {:>14}\n", "cells", "particles", "dt", "scheme", "CPU s", "relative L2", "energy drift", "E|v|^4 - exact");
  const Bkw bkw(2, 1.0 / 16, 0.5);
  struct Row {
    Index cells;
    double dt;
    LandauScheme scheme;
  };
  for (const Row row : {Row{20, 0.02, LandauScheme::euler}, Row{30, 0.02, LandauScheme::euler}, Row{40, 0.05, LandauScheme::euler}, Row{40, 0.02, LandauScheme::implicit_midpoint},
                        Row{80, 0.01, LandauScheme::euler}}) {
    auto grid = std::make_shared<Grid>();
    grid->lower = Vector::Constant(2, -4);
    grid->upper = Vector::Constant(2, 4);
    grid->cells = {row.cells, row.cells};
    const Particles start = to_particles(GridDensity::from_density(grid, [&](const ConstMatrixRef& v) { return bkw.density(v, 0); }), 1e-12).measure;
    const double bandwidth = std::sqrt(0.64 * std::pow(grid->width(0), 1.98));
    const LandauBlobOptions options{.bandwidth = bandwidth, .dt = row.dt, .steps = static_cast<int>(std::lround(5 / row.dt)), .scheme = row.scheme, .tolerance = 1e-10, .record_every = 1000};
    LandauResult r;
    const double seconds = cpu_seconds([&] { r = landau_blob(bkw.kernel(), start, options); });
    if (!is_success(r.status)) fmt::print("not finished: {}\n", describe(r.status));
    const Matrix centres = grid->points();
    const Vector exact = bkw.density(centres, 5);
    const double error = (GaussianSums(centres, r.particles.points(), bandwidth).value(r.particles.weights()) - exact).norm() / exact.norm();
    const double fourth = r.particles.points().colwise().squaredNorm().array().square().matrix().dot(r.particles.weights());
    fmt::print("{:>6} {:>10} {:>6} {:>18} {:>10.3f} {:>12.2e} {:>12.1e} {:>14.1e}\n", row.cells, start.size(), row.dt, row.scheme == LandauScheme::euler ? "euler" : "implicit midpoint", seconds, error,
               r.records.back().energy - r.records.front().energy, fourth - bkw.fourth_moment(5));
  }
}

}  // namespace

int main() {
  transport();
  pair_sums();
  landau();
}
