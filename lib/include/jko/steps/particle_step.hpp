#pragma once
/// The JKO step on labelled particles, in any dimension.
#include <jko/energies/particle_energy.hpp>
#include <jko/steps/step_result.hpp>

namespace jko {

struct ParticleStepOptions {
  ParticleEnergyOptions energy{};
  /// Stops when h eps/(1 + h kappa) <= tolerance * max(1, standard deviation of the start), eps the residual (kappa = 0 where unknown), or
  /// when eps is below four roundings of the terms it sums.
  double tolerance = 1e-9;
  int max_iterations = 200;  ///< Newton iterations, >= 1
  void validate() const;
};

/// Minimises over the positions x_i, the weights staying with their labels,
///
///   J(x) = F(x_1, ..., x_N) + sum_i w_i |x_i - y_i|^2/(2h),
///
/// y the positions of `from`, F of particle_energy.hpp, by Newton's method with conjugate gradients in L2(w) (stopped at negative curvature) and a line search.
/// The label coupling costs at least W2^2, with equality while it is optimal (the map is then the gradient of a convex function, as for a JKO step it
/// is in the limit); the particles are therefore a gradient flow in L2(w) whose step is exact for that metric. w2_moved is the label distance.
///
/// Residual: L2(w) norm of grad F + (x - y)/h. Gap and w2_bound as in step_result.hpp where ParticleEnergy::convexity() knows a constant (spacing, or no
/// entropy) for this discrete problem; NaN for the blob, whose energy is not convex: the result is then a critical point that lies below the start.
/// Cost: a Hessian product costs two pair sums (blob); a step at moderate h needs 3 to 6 Newton iterations of 5 to 20 products.
/// Wrong choice: for the linear Fokker-Planck equation in few dimensions (reference/fokker_planck.hpp) and in one dimension (quantile_step.hpp).
/// Status: step_not_convex where 1 + h kappa <= 0; no_minimiser where J falls below -1e100 or the points leave the floating-point range.
/// Errors: as ParticleEnergy, and DomainError for a weight 0.
class ParticleStep {
 public:
  using Measure = Particles;
  explicit ParticleStep(FreeEnergy energy, ParticleStepOptions options = {});

  [[nodiscard]] const FreeEnergy& energy() const { return particle_energy_.energy(); }
  [[nodiscard]] const ParticleEnergy& particle_energy() const { return particle_energy_; }
  void set_parameters(const ConstVectorRef& parameters) { particle_energy_.set_parameters(parameters); }
  [[nodiscard]] EnergyValue energy_value(const Particles& measure) const { return particle_energy_.value(measure); }
  /// h > 0, time. `guess`: coordinates where Newton begins if J is lower there than at `from`.
  [[nodiscard]] StepResult<Particles> advance(const Particles& from, double h, const Vector& guess = {});
  /// (1/h + Hess F) d(x') = d(from)/h - d(grad F)/d(parameters) d(parameters) at the last result, by conjugate gradients to 1e-12; an empty matrix is zero.
  [[nodiscard]] Matrix tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const;

 private:
  ParticleEnergy particle_energy_;
  ParticleStepOptions options_;
  Particles result_;
  double h_ = 0;
};

/// sqrt(sum_i w_i |x_i - y_i|^2): at least W2, and equal to it where the labels are coupled optimally. The weights must be equal (DomainError).
[[nodiscard]] double label_distance(const Particles& a, const Particles& b);
/// The straight line (1-s) x_i + s y_i in L2(w); s may leave [0, 1].
[[nodiscard]] Particles geodesic(const Particles& a, const Particles& b, double s);
[[nodiscard]] Matrix geodesic_tangent(const Particles& a, const Particles& b, double s, const ConstMatrixRef& da, const ConstMatrixRef& db);

}  // namespace jko
