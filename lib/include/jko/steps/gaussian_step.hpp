#pragma once
/// The exact JKO step on Gaussians, in any dimension, in closed form.
#include <jko/measures/gaussian.hpp>
#include <jko/steps/step_result.hpp>

namespace jko {

/// For Psi = (x-mu)' K (x-mu)/2 and entropy/beta the minimiser of F + W2^2(., N(m, Sigma))/(2h) over all measures is the Gaussian
///
///   m' = A^{-1}(m + h K mu),   Sigma' = A^{-1/2} Y A^{-1/2},   A = I + hK,  c = h/beta,
///   Y = (S + 2cI + (S^2 + 4cS)^{1/2})/2,   S = A^{-1/2} Sigma A^{-1/2}.
///
/// K and Sigma need not commute. Cost: two symmetric eigenproblems, O(d^3); the tangent solves one d^2 x d^2 system.
/// Not for other potentials: the minimiser is then no Gaussian (see quantile_step.hpp in one dimension).
/// The certificate is that of step_result.hpp with kappa = lambda_min(K) and holds for the continuous problem.
class GaussianStep {
 public:
  using Measure = Gaussian;
  /// Throws DomainError unless the energy is potential + entropy with a quadratic potential.
  explicit GaussianStep(FreeEnergy energy);

  [[nodiscard]] const FreeEnergy& energy() const { return energy_; }
  void set_parameters(const ConstVectorRef& parameters);
  /// F(N(m, Sigma)) by parts: tr(K Sigma)/2 + (m-mu)' K (m-mu)/2, and the entropy over beta.
  [[nodiscard]] EnergyValue energy_value(const Gaussian& measure) const;
  /// h > 0, time. Status step_not_convex (and `from` as the measure) where 1 + h lambda_min(K) <= 0.
  [[nodiscard]] StepResult<Gaussian> advance(const Gaussian& from, double h);
  /// Columns d(m', vec Sigma') of the last advance() for columns of d(m, vec Sigma) and d(theta, beta); an empty matrix is zero.
  [[nodiscard]] Matrix tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const;

 private:
  void read_energy();

  FreeEnergy energy_;
  Potential::Quadratic quadratic_;
  double beta_ = 1;
  double h_ = 0;         // of the last advance
  Gaussian result_;
};

}  // namespace jko
