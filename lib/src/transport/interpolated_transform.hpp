#pragma once
/// The c-transform of a potential interpolated between the cell centres, with its exact adjoint: a smooth dual of optimal transport on grids.
#include "../measures/line_solver.hpp"

#include <jko/measures/grid_density.hpp>

#include <memory>
#include <vector>

namespace jko {

/// Axis after axis, lines f -> f', f'(y) = min_x (x - y)^2/2 + (I f)(x), x real in the box and I f the interpolating cubic spline of f with mirrored walls
/// ([Unser1999]). Starting from f = -phi this gives phi^c, at `samples` points y a cell and axis.
///
/// phi^c is a minimum of affine functions of phi, so sum phi^c mu is concave and its gradient is minus the deposit of mu with the minimisers' weights (those of
/// the cardinal spline). As the weights reproduce cubics, a particle's split among the cells has the mean and the second moment of its target: the excess cost of
/// plans between lattice points is absent. Two particles a cell and axis see the shortest waves of phi, which one at a cell centre does not (the spline's
/// slope at the centres vanishes for them), and leave less ripple in the deposit where the map stretches the lattice of particles.
/// The minimum is sought in the two intervals beside the minimising lattice point, which holds it wherever |x|^2/2 - phi is convex.
class InterpolatedTransform {
 public:
  InterpolatedTransform(std::shared_ptr<const Grid> grid, int threads, Index samples = 2);
  /// Masses of the particles: the density interpolated by cubic convolution ([Keys1981]: mass, mean and second moment are kept), cut at 0 and scaled to
  /// the same sum. In cells' units: the sum is that of mu.
  [[nodiscard]] Vector particles(const Vector& mu) const;
  /// phi^c at the particles; the minimisers are kept.
  void transform(const Vector& phi, Vector& result);
  /// Push-forward of particles (linear) to the cells under the kept minimisers; may be negative where they are rough.
  void deposit(const Vector& particles, Vector& result) const;
  struct Feasible {
    double cost = 0;      ///< sum over particles of |x - y|^2/2 averaged over their splits: an upper bound of the transport to `result`
    double spread = 0;    ///< share of the mass (summed over the axes) that took the wider weights
  };
  /// Likewise, >= 0: where a cell would be negative the particles near it are split by the B-spline's weights instead, which cost width^2/6 more.
  /// Negative cells within 1e-12 of the largest particle are cut to 0.
  Feasible deposit_positive(const Vector& particles, Vector& result) const;

 private:
  struct Pass {
    Index cells, stride, outer;  // of the lines before the pass; after it a line has samples times the cells
    double width;
    std::vector<double> position;  // the minimiser in cells, in the layout after the pass
  };
  void filter(Vector& field) const;  // values -> spline coefficients, and its own adjoint
  std::shared_ptr<const Grid> grid_;
  int threads_;
  Index samples_;
  std::vector<Pass> passes_;
  std::vector<LineSolver> filters_;
};

}  // namespace jko
