#pragma once
/// The deterministic particle method for the Landau equation with a regularised entropy.
#include <jko/core/progress.hpp>
#include <jko/core/status.hpp>
#include <jko/landau/kernel.hpp>

#include <vector>

namespace jko {

enum class LandauScheme {
  euler,              ///< explicit; the energy drifts by O(dt) sum w |v'|^2 a step
  implicit_midpoint,  ///< second order; conserves the energy, being quadratic, to the tolerance of its fixed point
};

struct LandauBlobOptions {
  double bandwidth = 0.15;  ///< standard deviation of the Gaussian, in the unit of v, > 0; sqrt(0.64 width^1.98) for particles that start on a grid of that width
  double dt = 0.05;         ///< > 0
  int steps = 100;          ///< >= 1
  LandauScheme scheme = LandauScheme::euler;
  double tolerance = 1e-12; ///< implicit midpoint: stops when two iterates differ by at most tolerance * max|v| in every coordinate
  int max_iterations = 100; ///< of that fixed point
  double tail = 1e-10;      ///< as in GaussianSumsOptions: what it leaves out is far below the blob's own error
  int threads = 1;          ///< >= 1; the bits do not depend on it
  int record_every = 1;     ///< steps between two records
  void validate() const;
};

struct LandauRecord {
  double t = 0;
  double entropy = 0;       ///< sum_i w_i log (f * G)(v_i): decreases along the flow of the continuous-time method
  double energy = 0;        ///< sum_i w_i |v_i|^2/2
  Vector momentum;          ///< sum_i w_i v_i
  Matrix covariance;
};

struct LandauResult {
  Status status = Status::not_run;  ///< converged; iteration_limit (the fixed point), not_finite, cancelled: what was finished is kept
  Particles particles;
  std::vector<LandauRecord> records;  ///< the start's first
};

/// v_i' = -sum_j w_j A(v_i - v_j) (F_i - F_j), F the gradient of sum_i w_i log (f * G)(v_i) in L2(w): the blob method of [CarrilloHuWangWu2020] with the
/// entropy of particle_energy.hpp. Mass and momentum are conserved to rounding, the energy as the scheme says; the entropy decreases while dt is small.
/// Cost a step: three Gaussian pair sums within reach, and for gamma != 0 one sum over all pairs. Accuracy against BKW: docs/methods/landau.md.
/// Wrong choice for very anisotropic or multi-scale laws, whose bandwidth no single number fits.
[[nodiscard]] LandauResult landau_blob(const LandauKernel& kernel, const Particles& start, const LandauBlobOptions& options, Observer* observer = nullptr);

}  // namespace jko
