#pragma once
/// The first-order corrector of the JKO scheme for any one-dimensional potential (theory.md 2.1, Theorem C; [HalmosHanin2025]).
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

}  // namespace jko::analysis
