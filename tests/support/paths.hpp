#pragma once
/// Paths that several tests fit.
#include <jko/core/random.hpp>
#include <jko/estimators/data.hpp>
#include <jko/models/diffusion.hpp>
#include <jko/reference/simulate.hpp>

#include <cmath>

namespace jko::testing {

/// Euler-Maruyama at sub-steps of dt/substeps, from the given stream.
inline estimators::Path euler_path(RandomStream random, const Diffusion& model, double start, double dt, Index n, int substeps) {
  estimators::Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(1, n + 1)};
  const double h = dt / substeps;
  double x = path.values(0, 0) = start;
  for (Index i = 1; i <= n; ++i) {
    for (int k = 0; k < substeps; ++k) x += model.drift(x) * h + model.diffusion(x) * std::sqrt(h) * random.normal();
    path.values(0, i) = x;
  }
  return path;
}

/// A Langevin path from 0.4 in every coordinate, with ten sub-steps.
inline estimators::Path langevin_path(const Model& model, Index n, double dt, std::uint64_t index, std::uint64_t seed) {
  const Vector times = Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n));
  return {times, simulate_path(model, Vector::Constant(model.dimension(), 0.4), times, index, {.substeps = 10, .seed = seed})};
}

}  // namespace jko::testing
