#pragma once
/// W2 between densities on a grid, to a requested accuracy.
#include <jko/core/status.hpp>
#include <jko/measures/grid_density.hpp>

#include <limits>

namespace jko {

struct GridW2Options {
  /// Stops when error <= max(relative * value, absolute), `error` the estimate of GridW2.
  double relative = 1e-3;
  double absolute = 0;      ///< in x; 0: 1e-4 of the smallest cell width
  int max_applications = 4000;  ///< of kernels, over all levels, >= 1
  int threads = 1;          ///< >= 1; the bits do not depend on it
  void validate() const;    ///< throws DomainError naming the field
};

struct GridW2 {
  Status status = Status::not_run;  ///< converged; stalled where epsilon would fall below width^2 or mass would move beyond 36 sqrt(epsilon); iteration_limit
  double value = 0;         ///< W2, in x
  double error = std::numeric_limits<double>::infinity();  ///< estimated: how far the last extrapolation moved the value, about fifteen times its own error where the expansion in epsilon holds
  double atoms_lower = 0;   ///< proven: W2 between the atoms at the cell centres is at least this (an exact c-transform of the potential found)
  double epsilon = 0;       ///< of the last level
  Index cells = 0;          ///< of the last level's grid
  int levels = 0;
  int kernel_applications = 0;
  /// At the cell centres, in x^2: x - grad potential(x) is where the mass of a at x goes in b. Debiased potentials of the last two levels, extrapolated as the value is; meaningless where a has
  /// next to no mass. Empty unless two levels were finished. For geodesics: grid_geodesic.hpp.
  Vector potential;
};

/// Debiased entropic transport ([Feydy2019]) for the cost |x - y|^2/2,
///
///   S(epsilon) = O(a, b) - (O(a, a) + O(b, b))/2,   O(a, b) = min epsilon KL(pi | K) over plans pi of a and b, K the heat kernel of variance epsilon,
///
/// which is W2^2/2 + C epsilon^2 + O(epsilon^4) between smooth positive densities (Gaussians exactly so; translations have C = 0). Levels halve epsilon and remove
/// C: E_k = (4 S(epsilon_k) - S(epsilon_{k-1}))/3 ([Chizat2020]), until two E agree. The first epsilon is twice the variance d/(Fisher information) of the rougher density.
///
/// As the potentials at strength epsilon are smooth on the scale sqrt(epsilon), each level is solved on the coarsest grid with sqrt(epsilon) >= 3 widths (never finer than the given one),
/// in a whole ratio to the given one, to which masses are distributed by cubic convolution ([Keys1981]: mass, mean and second moments kept); what that costs in accuracy shows in E_k - E_{k-1} too. The time hardly depends
/// on the number of cells of the given grid: docs/methods/grid_w2.md. O(a, b) is found on its semi-dual by Newton's method with conjugate gradients in L2(first marginal),
/// scalings kept as mantissas with one exponent a tile; O(a, a) by averaged scaling steps.
///
/// Densities are read as their values at the cell centres; cell averages of a smooth density have width^2/12 more variance. With walls the kernel reflects, on periodic
/// grids it wraps (the distance of the torus). Wrong choice for atoms and steps (the expansion fails; the status says stalled, the error is large): exact.hpp; in one
/// dimension QuantileFunction is exact; between Gaussians w2(Gaussian, Gaussian). The grids must be equal (ShapeError).
[[nodiscard]] GridW2 grid_w2(const GridDensity& a, const GridDensity& b, const GridW2Options& options = {});

/// The value; throws NotConverged unless converged to a relative 1e-3.
[[nodiscard]] double w2(const GridDensity& a, const GridDensity& b);

}  // namespace jko
