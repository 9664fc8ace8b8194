#pragma once
/// The exact JKO step in one dimension, on the quantile function.
#include <jko/measures/quantile_function.hpp>
#include <jko/steps/step_result.hpp>

namespace jko {

struct QuantileStepOptions {
  /// Stops when h eps/(1 + h kappa) <= tolerance * max(1, standard deviation of the start), eps the residual (kappa = 0 where unknown), or
  /// when eps is below four times the rounding error of the gradient, estimated from the node spacing.
  double tolerance = 1e-11;
  int max_iterations = 200;  ///< Newton iterations, >= 1
  int threads = 1;           ///< >= 1; the bits do not depend on it. Pays from a few hundred thousand cells on
  void validate() const;
};

/// Minimises over the nodes x_0 < ... < x_N of a quantile function with fixed cell masses w_i
///
///   J(x) = sum_i w_i [ mean of Psi over cell i + beta^{-1} log(w_i/dx_i) + c/(m-1) (w_i/dx_i)^{m-1} ]
///          + 1/2 sum_{p,q} omega_p omega_q W(x_p - x_q) + (x - y)' M (x - y)/(2h),
///
/// by Newton's method; a line search keeps the order of the nodes. y are the nodes of `from`, M the exact (tridiagonal) mass matrix, the
/// mean is the two-point Gauss rule, p and q run over all Gauss points. That rule is exact on squares, so a kappa-convex
/// Psi gives a (1/h + kappa)-convex J in the norm of M: the certificate of step_result.hpp holds rigorously for this discrete
/// problem. Its distance to the continuous minimiser is O(cells^-2) for graded cells (docs/methods/quantile_step.md).
///
/// Cost: one tridiagonal solve and O(N) evaluations of Psi, Psi', Psi'' a Newton iteration, about 10 ns a cell for a quadratic Psi; with an
/// interaction O(N^2) time and memory (at most 3000 cells). Wrong choice when only the linear Fokker-Planck equation is to be solved: see
/// reference/fokker_planck.hpp.
class QuantileStep {
 public:
  using Measure = QuantileFunction;
  explicit QuantileStep(FreeEnergy energy, QuantileStepOptions options = {});

  [[nodiscard]] const FreeEnergy& energy() const { return energy_; }
  void set_parameters(const ConstVectorRef& parameters) { energy_.set_parameters(parameters); }
  [[nodiscard]] EnergyValue energy_value(const QuantileFunction& measure) const;
  /// `from` may be non-monotone (an extrapolation): only its nodes enter J. h > 0, time. `guess`, where it has the right size and increases
  /// strictly, is where Newton begins (default: `from`); it changes the work and the last digits, not the problem.
  [[nodiscard]] StepResult<QuantileFunction> advance(const QuantileFunction& from, double h, const Vector& guess = {});
  /// H d(x') = M d(from)/h - d(grad F)/d(parameters) d(parameters) at the last result, H the Hessian of J; an empty matrix is zero.
  [[nodiscard]] Matrix tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const;

 private:
  class Work;  // buffers and factorisations, kept between steps of the same masses
  FreeEnergy energy_;
  QuantileStepOptions options_;
  std::shared_ptr<Work> work_;
};

}  // namespace jko
