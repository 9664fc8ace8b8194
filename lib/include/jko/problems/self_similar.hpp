#pragma once
/// Gradient flows and JKO steps that only dilate a profile: Barenblatt, fast diffusion, log gas, Newtonian ball, isotropic Gaussians.
#include <jko/energies/free_energy.hpp>
#include <jko/measures/grid_density.hpp>
#include <jko/measures/quantile_function.hpp>

#include <functional>
#include <string>

namespace jko::problems {

/// rho_l(x) = l^{-d} P(|x|/l) under a free energy whose first variation on the support of rho_l is const + (kappa - A l^{-q-1})|x|^2/2. Then all maps between
/// members are dilations, W2(rho_l, rho_m) = sqrt(M2)|l - m| with M2 = int |x|^2 P, and
///
///   flow       l' = A l^{-q} - kappa l,  so that l^{q+1} relaxes exponentially (or grows linearly for kappa = 0);
///   JKO step   l^q ((1 + h kappa) l - m) = h A  from m,  exactly: the optimality condition (x - T(x))/h + grad dF(x) = 0 holds with T(x) = (m/l) x.
///
/// The JKO statement is derived so for each case (docs/methods/problems.md) and is checked against quadrature and the quantile step by its tests.
class SelfSimilar {
 public:
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& source() const { return source_; }  ///< a key of docs/references.bib, or "derived"
  [[nodiscard]] int dimension() const { return dimension_; }
  [[nodiscard]] double kappa() const { return kappa_; }
  [[nodiscard]] double strength() const { return strength_; }          ///< A
  [[nodiscard]] double exponent() const { return exponent_; }          ///< q
  [[nodiscard]] double second_moment() const { return second_moment_; }  ///< M2
  [[nodiscard]] double support() const { return support_; }            ///< radius of P's support; infinite for Gaussians and fast diffusion

  [[nodiscard]] double density(double radius, double scale) const;     ///< at |x| = radius
  [[nodiscard]] double flow(double scale, double t) const;             ///< scale at time t >= 0 from `scale` > 0
  [[nodiscard]] double jko(double scale, double h) const;              ///< scale after one step h > 0; throws DomainError unless 1 + h kappa > 0
  [[nodiscard]] double stationary() const;                             ///< (A/kappa)^{1/(q+1)}; throws DomainError unless kappa > 0
  [[nodiscard]] double w2(double scale, double other) const;
  [[nodiscard]] double energy(double scale) const;                     ///< F(rho_l)
  [[nodiscard]] double slope(double scale) const;                      ///< |dF|(rho_l) = sqrt(M2)|kappa l - A l^{-q}|

  /// Cell averages of rho_l on a grid of the same dimension, by `samples` midpoints an axis and cell, normalised. The error is O((width/samples)^2) where
  /// smooth and of the profile's modulus of continuity at its edge.
  [[nodiscard]] GridDensity on_grid(std::shared_ptr<const Grid> grid, double scale, int samples = 4) const;

 private:
  friend SelfSimilar barenblatt(int, double, double, double);
  friend SelfSimilar log_gas(double, double);
  friend SelfSimilar newtonian_ball(int, double, double);
  friend SelfSimilar mckean_vlasov_gaussian(int, double, double, double);
  std::string name_, source_;
  int dimension_ = 1;
  double kappa_ = 0, strength_ = 0, exponent_ = 1, second_moment_ = 1, support_ = 1, internal_at_one_ = 0;
  std::function<double(double)> profile_;
};

/// c/(m-1) int rho^m + kappa int |x|^2/2 rho in d = 1, 2, 3: d_t rho = c Lap rho^m + kappa div(x rho). P = K (1 - |x|^2)_+^{1/(m-1)} for m > 1, and
/// K (1 + |x|^2)^{-1/(1-m)} for fast diffusion, d/(d+2) < m < 1 (which makes M2 finite). A = 2 c m K^{m-1}/|m-1|, q = d(m-1) + 1. [Barenblatt1952], [Vazquez2007]
[[nodiscard]] SelfSimilar barenblatt(int dimension, double exponent, double coefficient = 1, double kappa = 0);
/// -alpha/2 int int log|x - y| rho rho + kappa int x^2/2 rho on the line: Wigner's semicircle P = (2/pi) sqrt(1 - x^2), A = 2 alpha, q = 1. [Wigner1955]
[[nodiscard]] SelfSimilar log_gas(double alpha, double kappa);
/// alpha/2 int int G(x - y) rho rho + kappa int |x|^2/2 rho with -Lap G = delta, repulsive: the uniform ball, A = alpha/(d omega_d), q = d - 1, omega_d the
/// volume of the unit ball. (G is -|x|/2, -log|x|/(2 pi), 1/(4 pi |x|) in d = 1, 2, 3.) [Serfaty2015]
[[nodiscard]] SelfSimilar newtonian_ball(int dimension, double alpha, double kappa);
/// beta^{-1} int rho log rho + kappa int |x|^2/2 rho + alpha/4 int int |x - y|^2 rho rho: centred isotropic Gaussians of standard deviation l, for which the
/// interaction acts as alpha int |x|^2/2 rho: kappa + alpha is the curvature, A = 1/beta, q = 1. alpha = 0 is Ornstein-Uhlenbeck, kappa = alpha = 0 the heat flow.
[[nodiscard]] SelfSimilar mckean_vlasov_gaussian(int dimension, double beta, double kappa, double alpha);

}  // namespace jko::problems
