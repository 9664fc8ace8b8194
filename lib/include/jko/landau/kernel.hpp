#pragma once
/// The homogeneous Landau equation: its kernel, its exact solutions, and sums of the kernel over particles.
///
///   d_t f = div_v int A(v - w) [f(w) grad f(v) - f(v) grad f(w)] dw,   A(z) = B |z|^gamma (|z|^2 I - z z').
///
/// It is the gradient flow of int f log f in the Landau metric ([CarrilloHuWangWu2020]); mass, momentum and energy are conserved.
#include <jko/measures/particles.hpp>

namespace jko {

struct LandauKernel {
  double strength = 1.0 / 16;  ///< B > 0
  double gamma = 0;            ///< 0 Maxwell molecules, -3 Coulomb; in [-4, 1]
  void validate() const;
  /// -sum_j w_j A(v_i - v_j) (F_i - F_j), d x N. For gamma = 0 through moments in O(N d^2); otherwise over all pairs (pairs at distance 0 give 0),
  /// 1.0 to 2.1 ns a pair for gamma = -1, -2, -3, 13 ns for others. Momentum sum w_i (.)_i is 0 and power sum w_i v_i . (.)_i is that of the continuous form, up to rounding.
  [[nodiscard]] Matrix drift(const Particles& particles, const ConstMatrixRef& forces, int threads = 1) const;
};

/// The radial solution of Bobylev, Krook and Wu for Maxwell molecules (gamma = 0): mass 1, mean 0, covariance I,
///
///   f = (2 pi K)^{-d/2} exp(-|v|^2/(2K)) [P + Q |v|^2],  P = ((d+2)K - d)/(2K), Q = (1-K)/(2K^2),  K(t) = 1 - C exp(-2B(d-1)t).
///
/// It is >= 0 while K >= d/(d+2). (For radial f the equation is B(d-1) div(grad f + v f): the tests check both.)
class Bkw {
 public:
  /// d = 2 or 3 (or more), B > 0, 0 < C < 1; the customary cases are (2, 1/16, 1/2) and (3, 1/24, 1).
  Bkw(int dimension, double strength, double amplitude);
  [[nodiscard]] double spread(double t) const;           ///< K(t)
  [[nodiscard]] double start() const;                    ///< the first t >= 0 with f >= 0
  [[nodiscard]] Vector density(const ConstMatrixRef& v, double t) const;  ///< throws DomainError before start()
  [[nodiscard]] Matrix score(const ConstMatrixRef& v, double t) const;    ///< grad log f
  [[nodiscard]] double fourth_moment(double t) const;    ///< E|v|^4 = d(d+2) K (2 - K)
  [[nodiscard]] LandauKernel kernel() const { return {strength_, 0}; }

 private:
  int d_;
  double strength_, amplitude_;
};

/// Maxwell molecules, any initial law with finite second moments: the covariance relaxes as
///   Sigma(t) = tr(Sigma_0)/d I + (Sigma_0 - tr(Sigma_0)/d I) exp(-4 d B t)
/// (test the equation against v v': d Sigma/dt = -4 d B (Sigma - tr(Sigma)/d I)).
[[nodiscard]] Matrix landau_maxwell_covariance(const ConstMatrixRef& start, double strength, double t);

}  // namespace jko
