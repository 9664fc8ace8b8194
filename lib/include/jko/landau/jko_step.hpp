#pragma once
/// A JKO scheme in the Landau metric with a flow map from a linear space.
#include <jko/core/progress.hpp>
#include <jko/core/status.hpp>
#include <jko/landau/kernel.hpp>

#include <cstdint>
#include <vector>

namespace jko {

enum class LandauBasis {
  hermite,  ///< products of Hermite polynomials up to a total degree, times each unit vector: d C(degree + d, d) functions
  radial,   ///< v |v|^{2k}, k = 0, ..., degree, v centred: for isotropic laws
};

enum class LogDeterminant {
  exact,        ///< log|det grad T|: the entropy cannot grow, however large the step
  first_order,  ///< its trace: the step is one linear system, and the minimiser tends to -dt grad log f; an O(dt^2) change a step
};

struct LandauJkoOptions {
  LandauBasis basis = LandauBasis::hermite;
  int degree = 3;            ///< in [0, 12] (radial: at most 6)
  LogDeterminant log_determinant = LogDeterminant::exact;
  double dt = 0.1;           ///< > 0
  int steps = 10;            ///< >= 1
  /// Exact: Newton stops when its decrement g' H^{-1} g <= tolerance * dt, the objective's distance to its minimum to leading order.
  double tolerance = 1e-12;
  int max_iterations = 50;   ///< of Newton, >= 1
  Index batch = 0;           ///< particles of a random batch, inside which the double sums stay; 0: full sums
  std::uint64_t seed = 1;    ///< of the batches
  int threads = 1;           ///< >= 1; the bits do not depend on it
  void validate() const;
};

struct LandauJkoRecord {
  double t = 0;
  double entropy_change = 0; ///< since the start: -sum over steps of sum_i w_i log|det grad T(v_i)|, exact for the law pushed by T
  double dissipation = 0;    ///< d_L^2 of the step by its one inner Euler step: 1/2 sum_ij w_i w_j (u_i - u_j)' A (u_i - u_j)
  double energy = 0;         ///< sum_i w_i |v_i|^2/2; a step adds sum_i w_i |T(v_i) - v_i|^2/2 = O(dt^2)
  Vector momentum;
  Matrix covariance;
  int iterations = 0;
  Index rank = 0;            ///< of the quadratic form: the basis without the d + 1 collision invariants 1 and v, as far as it has them
};

struct LandauJkoResult {
  Status status = Status::not_run;  ///< converged, iteration_limit, stalled, not_finite, cancelled: what was finished is kept
  Particles particles;
  std::vector<LandauJkoRecord> records;  ///< the start's first
};

/// Each step minimises over u in the span of the basis
///
///   1/2 sum_ij w_i w_j (u_i - u_j)' A(v_i - v_j) (u_i - u_j) - 2 dt sum_i w_i log|det grad T(v_i)|,   T(v) = v + sum_j w_j A(v - v_j) (u(v) - u_j),
///
/// which is d_L^2 + 2 dt H with one Euler step inside the Landau metric ([HuangWang2024]; the constants were derived here: the minimiser is -dt grad log f up
/// to A's null space). No density is estimated: the score appears through the divergence. The value at u = 0 is 0, so with the exact determinant every
/// step obeys dissipation + 2 dt (entropy change) <= 0. Momentum is conserved to rounding.
/// The quadratic form's null space (constants and v) is left out by its eigenvalues, those below 1e-12 of the largest.
/// Cost a step with P functions: P sums of the kernel (O(N) each for Maxwell, else N^2 of about 1.5 ns); the exact determinant of gamma != 0 another N^2 P, 10 ns
/// each; random batches of size m replace N^2 by N m. Wrong choice: laws whose score is far from the span (several modes): blob.hpp.
[[nodiscard]] LandauJkoResult landau_jko(const LandauKernel& kernel, const Particles& start, const LandauJkoOptions& options, Observer* observer = nullptr);

}  // namespace jko
