#pragma once
/// The Fokker-Planck equation on [0, 1] with constant drift and walls, started at its stationary density plus one eigenfunction.
#include <jko/measures/grid_density.hpp>

namespace jko::problems {

/// Psi = g x, beta: with b = beta g,
///   rho(x, t) = b e^{-bx}/(1 - e^{-b}) + a e^{-lambda t} e^{-bx/2} (k pi cos(k pi x) - (b/2) sin(k pi x)),   lambda = (k^2 pi^2 + b^2/4)/beta,
/// from e^{bx/2} rho, which solves u_t = (u'' - b^2 u/4)/beta with u' + b u/2 = 0 at the walls (derived). g = 0: uniform plus a cosine.
struct BoxMode {
  double slope = 1;       ///< g
  double beta = 1;        ///< > 0
  int mode = 1;           ///< k >= 1
  double amplitude = 0.1; ///< a; validate() throws where the density is negative somewhere at t = 0

  void validate() const;
  [[nodiscard]] double rate() const;                  ///< lambda; the spectral gap is that of mode 1
  [[nodiscard]] double density(double x, double t) const;
  [[nodiscard]] double cdf(double x, double t) const;  ///< closed form
  /// Cell averages, exact by differences of the distribution function. A grid of [0, 1].
  [[nodiscard]] GridDensity on_grid(std::shared_ptr<const Grid> grid, double t) const;
};

}  // namespace jko::problems
