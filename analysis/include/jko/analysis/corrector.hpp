#pragma once
/// The first-order corrector of the JKO scheme for any potential in one to three dimensions (theory.md 2.1, Theorem C; [HalmosHanin2025]).
#include <jko/measures/grid_density.hpp>
#include <jko/models/model.hpp>

#include <functional>

namespace jko::analysis {

/// rho^h at t = rho_t + h eta_t + O(h^2), where d_t eta = L* eta - (1/4) d_x(rho d_x zeta), eta_0 = 0 and
/// zeta = |mu'|^2 - (2/beta) d_t log rho, mu = Psi + log(rho)/beta.
struct Corrector {
  Vector centres;
  double width = 0;
  Vector density;  ///< rho_t
  Vector eta;      ///< its integral is zero

  /// int phi eta dx, by the midpoint rule.
  [[nodiscard]] double pairing(const std::function<double(double)>& phi) const;
};

/// By finite volumes on [lower, upper] (reference/fokker_planck.hpp) and the trapezoidal rule in time for the source: second order in the
/// cell width and the time step. `start` is the density at the cell centres' positions (normalised here). The source is left out where rho is
/// below 1e-13 of its maximum: there log rho is rounding. Wrong choice for starts that are not smooth and positive: the corrector itself does not exist.
[[nodiscard]] Corrector first_order_corrector(const Model& model, const std::function<double(double)>& start, double lower, double upper, Index cells,
                                              double t, int steps);

/// The corrector on a box in one to three dimensions: d_t eta = L* eta - (1/4) div(rho grad zeta), zeta = |grad mu|^2 - (2/beta) d_t log rho.
struct GridCorrector {
  std::shared_ptr<const Grid> grid;
  Vector density;  ///< rho_t at the cell centres
  Vector eta;      ///< its integral is zero to rounding

  /// int phi eta dx by the midpoint rule; phi takes d x n points and returns n values.
  [[nodiscard]] double pairing(const std::function<Vector(const ConstMatrixRef&)>& phi) const;
};

/// By reference/fokker_planck_grid.hpp with implicit Euler split by axes (positive, first order) at `steps` and 2 `steps` time steps, extrapolated to second order in
/// time; second order in the cell width. eta is advanced by its positive and negative parts, which the linear equation allows. As above, the source is left out where rho or a
/// neighbour is below 1e-13 of the maximum. Cost: nine linear solves a step. No-flux walls, which rho should not reach. Wrong choice for starts that are not smooth and positive.
[[nodiscard]] GridCorrector first_order_corrector(const Model& model, const GridDensity& start, double t, int steps);

}  // namespace jko::analysis
