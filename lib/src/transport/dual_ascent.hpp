#pragma once
/// Maximisation of the concave duals of transport problems on grids.
#include "../measures/line_solver.hpp"

#include <jko/core/status.hpp>
#include <jko/measures/grid_density.hpp>

#include <vector>

namespace jko {

/// An approximate inverse of v -> D v - div(m grad v), D > 0 per cell, m >= 0 the mean of the two cells' weights, walls: one axis after another in
/// palindromic order,
///   H = (D + L_0/2)^{-1} D (D + L_1)^{-1} D (D + L_0/2)^{-1} + 0.1 diag(D + L)^{-1}  in 2-D, and so on,
/// symmetric and positive, exact to first order in the L. The product underrates waves that are short along two axes by up to L/D; the last term keeps H at a
/// tenth of the inverse there (any share below about 0.4 keeps H (D + L) <= 1; of 0.1, 0.2 and 0.4 the first took the fewest iterations, because the true
/// curvature of the shortest waves exceeds that of L where the map bends). With D = m/s it is what a Fokker-Planck step of time s costs: H r = z/D, z from r by implicit steps.
class WeightedMetric {
 public:
  WeightedMetric(std::shared_ptr<const Grid> grid, int threads);
  void set(const Vector& weights, Vector diagonal);
  void apply(Vector& r) const;

 private:
  std::shared_ptr<const Grid> grid_;
  int threads_;
  Vector diagonal_, whole_diagonal_, up_, down_;
  std::vector<LineSolver> solvers_;
};

/// What dual_ascent() maximises. The last point evaluated is the current one for metric().
class TransportDual {
 public:
  virtual ~TransportDual() = default;
  /// Value and gradient per cell at phi.
  virtual double evaluate(const Vector& phi, Vector& gradient) = 0;
  /// The metric in which the negative Hessian is near the identity: H r in place.
  virtual void metric(Vector& r) = 0;
};

struct DualAscentOptions {
  double tolerance = 0;     ///< stops when sum |gradient| <= tolerance
  int max_iterations = 100;
};

struct DualAscentResult {
  Status status = Status::not_run;
  int iterations = 0;
  int evaluations = 0;
  double residual = 0;      ///< sum |gradient| at the end
  double value = 0;
};

/// L-BFGS ([LiuNocedal1989]) with H as the initial inverse Hessian, six pairs, and backtracking: a step is taken when the value rises by 1e-4 of what the gradient promises (the
/// usual Armijo constant) or, where the rise drowns in rounding, when the slope along the direction has not grown. The last evaluation is at the returned phi.
DualAscentResult dual_ascent(TransportDual& dual, Vector& phi, const DualAscentOptions& options);

}  // namespace jko
