#pragma once
/// Geodesics between grid densities: displacement interpolation, and beyond their end what BDF2 and the implicit midpoint need.
#include <jko/core/status.hpp>
#include <jko/energies/grid_energy.hpp>
#include <jko/transport/grid_w2.hpp>

namespace jko {

struct GridGeodesicOptions {
  /// The result counts while clipped + folded <= negative_mass.
  double negative_mass = 1e-6;
  int threads = 1;  ///< >= 1; the bits do not depend on it
  void validate() const;
};

struct GridGeodesic {
  Status status = Status::not_run;  ///< converged; order_lost where more mass than the options allow was negative or folded
  GridDensity density;              ///< of mass one to rounding, whatever the status
  double clipped = 0;               ///< int rho^- dx of the formula; these cells take the smaller of the two densities instead
  double folded = 0;                ///< mass of `to` where a map folds (det(I + t D^2 phi) <= 0), and about that of cells beside mass for which no point was found that lands there; they take the smaller density too
  double defect = 0;                ///< int |(Id - grad phi)_# to - from| dx: how far phi is from the geodesic's potential
};

/// With the displacement grad phi at the end `to` of the geodesic from -> to (Id - grad phi carries `to` back to `from`) and s = time - 1,
///
///   (Id + s grad phi)_# to + s [(Id - grad phi)_# to - from].
///
/// The first term alone is the geodesic extrapolation of an exact phi. The bracket vanishes then; otherwise it makes the result to + s (to - from) + terms of second
/// order in grad phi, so that errors of phi, of the spatial discretisation and of the step's solver enter with one more power of the displacement only: a potential right to O(h^2) gives the extrapolation
/// to O(h^3); it also makes time 0 `from` and time 1 `to` exactly. Push-forwards by the density formula rho(x)/det(I + t D^2 phi(x)) at the point x that lands on each cell's centre, found by Newton's method; phi and log rho (rho
/// where a cell is empty) are interpolated by cubic splines mirrored at the walls ([Unser1999]): fourth order in the width, exact where phi is quadratic and
/// rho Gaussian. The result is scaled to mass one, a change of the order of the spatial error.
///
/// `potential` is phi at the cell centres, in x^2; jko_potential() and bdf2_potential() have it for the results of steps. time >= 0 (DomainError), walls only. Where `to` is not
/// smooth (fronts) the formula is right between the fronts only and the status is no guarantee. Cost: docs/methods/density_extrapolation.md.
[[nodiscard]] GridGeodesic grid_geodesic(const GridDensity& from, const GridDensity& to, const ConstVectorRef& potential, double time,
                                                           const GridGeodesicOptions& options = {});

/// The same with the potential of grid_w2(to, from), whose status is returned where it did not converge; negative_mass is transport.relative. `defect` says how good the potential is: geodesics
/// between Gaussians were off by at most one and a half times it in L1, by a twentieth of it where mass moves less than its own width. Cost: that of grid_w2 mostly; for several times take its potential once.
[[nodiscard]] GridGeodesic grid_geodesic(const GridDensity& from, const GridDensity& to, double time, const GridW2Options& transport = {.relative = 1e-4});

/// -h dF/drho at the result of an exact JKO step of length h: the optimality condition says that its gradient is the displacement. Empty cells count as the smallest normal number.
[[nodiscard]] Vector jko_potential(const GridEnergy& energy, const GridDensity& result, double h);

/// The same for two densities h apart along a flow in time whose velocities are -grad dF/drho, to O(h^3): by the trapezoidal rule along the particles,
/// phi(x) = -h [mu_now(x) + mu_before(x - d)]/2 + |d|^2/4, d = -h grad mu_now.
[[nodiscard]] Vector bdf2_potential(const GridEnergy& energy, const GridDensity& before, const GridDensity& now, double h, int threads = 1);

/// (int |grad phi|^2 rho dx)^{1/2}: the length of the geodesic that phi belongs to.
[[nodiscard]] double displacement_norm(const GridDensity& density, const ConstVectorRef& potential);

}  // namespace jko
