#pragma once
/// The concave dual of a JKO step on grids with interpolated transport, and the bounds that any potential gives.
#include "../energies/local_energy.hpp"
#include "../transport/dual_ascent.hpp"
#include "../transport/interpolated_transform.hpp"

#include <cmath>
#include <limits>
#include <memory>

namespace jko {

/// D(phi) = 1/h sum phi^c mu V + C - sum p(rho_phi) V of back_and_forth_step.hpp, as h/V times itself, so that the gradient is rho_phi - q per cell.
/// For energies int u(rho) + int Psi rho, u of LocalEnergy with entropy or m > 1; grids with walls.
class JkoDual : public TransportDual {
 public:
  /// psi: the linear part of the energy at the cell centres, finite.
  JkoDual(const FreeEnergy& energy, const GridDensity& from, Vector psi, double step, int threads);

  double evaluate(const Vector& phi, Vector& gradient) override;
  /// The minus Hessian at small displacements is (rho_phi/u'')/h - div(rho grad .); where the two densities differ the larger one says which cells are reached.
  void metric(Vector& r) override;

  LocalEnergy local;
  std::shared_ptr<const Grid> grid;
  Vector mu, psi;
  double h, volume;
  InterpolatedTransform transform;
  WeightedMetric preconditioner;
  Vector particles;
  // Of the last evaluation:
  Vector phi_c, pushed, field, density, weights;
  double constant = 0;

 private:
  void set_density();  // density = (u')^{-1}(constant + field) of mass 1
};

/// What a potential proves about min J, J(rho) = int u(rho) + int Psi rho + W_h(rho, mu)/h.
struct JkoBounds {
  double dual_value = 0;    ///< D(phi) <= min J
  double primal_value = 0;  ///< J(q+) >= min J
  double gap = 0;           ///< their difference, cut at 0: below rounding of the two
  double l1_residual = 0;   ///< int |rho_phi - q| dx
  double strength = 0;      ///< J(exact) - D(phi) >= strength (int |rho_phi - exact| dx)^2; 0 where nothing is known (without entropy and for m != 2)
  double slope = 0;         ///< of J at q+ by differences: b7's eps
  double spread = 0;        ///< share of the mass that took wider weights in q+
  double transport = 0;     ///< cost of the map's plan from mu to q
  Vector positive;          ///< q+, with wider weights also where signed densities are allowed: a measure
  double positive_value = 0;  ///< its J

  /// Of int |rho_phi - exact| dx from a gap; NaN where nothing is known.
  [[nodiscard]] double l1_bound(double of_gap) const { return strength > 0 ? std::sqrt(of_gap / strength) : std::numeric_limits<double>::quiet_NaN(); }
};
/// From dual.evaluate(phi, .), which gave `value`.
[[nodiscard]] JkoBounds jko_bounds(const JkoDual& dual, const Vector& phi, double value);

}  // namespace jko
