#pragma once
/// The JKO step among affine maps of a law known by samples, in any dimension.
#include <jko/energies/particle_energy.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/steps/step_result.hpp>

namespace jko {

struct AffineStepOptions {
  /// Stops when h eps/(1 + h kappa) <= tolerance * max(1, standard deviation of the start), eps the residual (kappa = 0 where unknown), or
  /// when eps is below four roundings of the terms it sums.
  double tolerance = 1e-10;
  int max_iterations = 100;  ///< Newton iterations, >= 1
  void validate() const;
};

/// Moves every sample y_i to x_i = a + A (y_i - m), m their mean, with the symmetric positive definite A and the point a that minimise
///
///   J(A, a) = sum_i w_i Psi(x_i) + 1/2 sum_ij w_i w_j W(x_i - x_j) - beta^{-1} log det A + sum_i w_i |x_i - y_i|^2/(2h).
///
/// Such a map is the gradient of a convex function: the last term is W2^2/(2h) exactly, both for the samples and for any law with these
/// averages, and the entropy of that law changes by -log det A without any smoothing. For a quadratic potential and a Gaussian law this is the exact JKO step
/// (gaussian_step.hpp) at the sample's mean and covariance; else it is the best affine one, and J an upper bound of the JKO step's value.
///
/// The entropy reported is that of the Gaussian with the samples' covariance: the entropy of the law up to KL(law | Gaussian), which affine maps keep.
/// Residual: norm of the derivative of J dual to the L2(w) norm of the fields a' + A'(y - m). Gap and w2_bound as in step_result.hpp, for the minimiser among affine
/// maps, where the convexity of the potential and interaction is known. Tangent: of the positions, by implicit differentiation.
/// Cost: Newton in d(d+3)/2 unknowns: that many Hessian products an iteration (O(N d^2) each; N^2 with an interaction that is not quadratic).
/// Wrong choice: where the law changes its shape (several wells): it moves, turns and stretches only.
/// Errors: DomainError without entropy (A could lose its rank), with a porous-medium or congestion part (they need the density), for a singular
/// sample covariance (fewer than d + 1 points in general position), and as ParticleEnergy.
class AffineStep {
 public:
  using Measure = Particles;
  explicit AffineStep(FreeEnergy energy, AffineStepOptions options = {});

  [[nodiscard]] const FreeEnergy& energy() const { return energy_; }
  void set_parameters(const ConstVectorRef& parameters);
  [[nodiscard]] EnergyValue energy_value(const Particles& measure) const;
  /// h > 0, time.
  [[nodiscard]] StepResult<Particles> advance(const Particles& from, double h);
  /// The map of the last advance().
  [[nodiscard]] const Matrix& linear() const { return linear_; }  ///< A
  [[nodiscard]] const Vector& centre() const { return centre_; }  ///< a
  /// Columns d(positions) of the last advance() for columns of d(start's positions) and d(parameters); an empty matrix is zero.
  [[nodiscard]] Matrix tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const;

 private:
  FreeEnergy energy_;
  ParticleEnergy forces_;  // potential and interaction
  AffineStepOptions options_;
  Particles from_, result_;
  Matrix linear_;
  Vector centre_;
  double h_ = 0;
};

}  // namespace jko
