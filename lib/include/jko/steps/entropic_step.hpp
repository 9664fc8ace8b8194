#pragma once
/// The JKO step on grids by entropic transport, debiased by half the entropy.
#include <jko/energies/grid_energy.hpp>
#include <jko/steps/step_result.hpp>

#include <limits>
#include <memory>
#include <string>

namespace jko {

/// How the interaction W*rho enters the step.
enum class InteractionScheme {
  implicit_outer,  ///< of the result, by outer iterations until it changes by less than the tolerance
  semi_implicit,   ///< of the start: one solve, first order in h as the step itself
};

/// Whether the bias of the regularisation is estimated.
enum class BiasEstimate {
  none,
  two_epsilons,  ///< by a second solve with 2 epsilon: a third of the L1 distance of the two results, where the bias is of second order
};

/// Whether the result is certified by the dual of back_and_forth_step.hpp.
enum class EntropicCertificate {
  none,
  dual_bounds,  ///< by a few iterations of that dual's ascent; where it does not apply, EntropicReport::uncertified says why
};

struct EntropicStepOptions {
  /// Strength of the regularisation, in x^2; 0 chooses it (chosen_epsilon below; where that fails, 4, 16, ... times as much, see EntropicReport::raised).
  double epsilon = 0;
  /// L1 distance to the unregularised minimiser that a chosen epsilon aims at.
  double bias_target = 1e-5;
  /// Stops when int |from - first marginal| dx <= tolerance.
  double tolerance = 1e-7;
  int max_iterations = 2000;     ///< pairs of kernel applications, >= 1
  InteractionScheme interaction = InteractionScheme::implicit_outer;
  BiasEstimate bias = BiasEstimate::none;
  EntropicCertificate certificate = EntropicCertificate::none;
  int certificate_iterations = 4;  ///< of the ascent, >= 0; more make the bounds sharper, none makes them wrong
  int max_outer = 50;            ///< outer iterations of the interaction, >= 1
  double memory_limit = 16;      ///< GiB; larger grids (300 bytes a cell, measured; with a certificate 400 + 50 2^d) are refused
  int threads = 1;               ///< >= 1; the bits do not depend on it
  void validate() const;         ///< throws DomainError naming the field
};

/// What the last advance() did beyond its StepReport.
struct EntropicReport {
  double epsilon = 0;            ///< used
  bool raised = false;           ///< epsilon is larger than chosen_epsilon(): mass moves too far for that one, and the bias may exceed bias_target. It is then
                                 ///< estimated, asked for or not, and at most 0.1; where it would be more the first failure's status is returned
  double bias = std::numeric_limits<double>::quiet_NaN();  ///< estimated L1 distance to the unregularised minimiser, where asked for; for orders p < 2 in
                                                           ///< epsilon (fronts) it is 3/(2^p - 1) too small
  double radius = 0;             ///< of the truncated kernel, in standard deviations sqrt(epsilon)
  double tail_density = 0;       ///< fast diffusion only: below it the energy's slope was held, see "Fast diffusion" at EntropicStep
  double tail_mass = 0;          ///< of the result, where its density is below tail_density
  int kernel_applications = 0;
  int newton_steps = 0;
  int outer_iterations = 0;      ///< of the interaction
  double interaction_residual = 0;  ///< L1 change of the density in the last outer iteration
  // With a certificate; see "Certificate" at EntropicStep.
  double dual_value = std::numeric_limits<double>::quiet_NaN();    ///< D(phi) at the result's own potential: a lower bound of min J
  double best_dual_value = std::numeric_limits<double>::quiet_NaN();  ///< after the ascent
  double primal_value = std::numeric_limits<double>::quiet_NaN();  ///< J(q+) after the ascent: an upper bound of min J
  double l1_feasible = std::numeric_limits<double>::quiet_NaN();   ///< int |result - q| dx
  double w2_feasible = std::numeric_limits<double>::quiet_NaN();   ///< >= W2(result, q+), by a flux (transport/flux_bound.hpp); NaN where no convexity constant is known
  double l1_bound = std::numeric_limits<double>::quiet_NaN();      ///< of int |result - exact| dx, by convexity of F in rho; NaN without entropy or for m != 2
  std::string uncertified;       ///< why there is none, though asked for
};

/// Minimises over the second marginal rho of plans pi with first marginal `from`, density with respect to dx dy,
///
///   F(rho) + (1/h) [ epsilon KL(pi | K) - (epsilon/2) int rho log rho ],   K the heat kernel of variance epsilon,
///
/// whose bracket is W2^2/2 + const + O(epsilon^2) where the densities are smooth and positive: epsilon KL alone is
/// W2^2/2 + (epsilon/2)(H(from) + H(rho)) + (epsilon^2/8) int_0^1 I(rho_t) dt + ..., I the Fisher information along the geodesic ([Conforti2021]). The
/// problem is convex in pi whenever F is convex in rho, since KL holds epsilon H(rho), twice what is subtracted. Every local energy (potential with
/// obstacles, entropy, porous medium of any m > 0, congestion, and their sum) has a proximal map in closed form: with A = 1/2 + h/(epsilon beta),
/// B = (h/epsilon) c m/(m-1) and s = K a,
///
///   A log rho + B rho^{m-1} = log s - h Psi/epsilon,
///
/// which is Wright's omega of ((m-1)(log s - h Psi/epsilon) + A log C)/A, C = B(m-1)/A, cut at rho_max.
///
/// Method: the concave dual in alpha = log a by Newton's method, its symmetric positive definite systems by conjugate gradients in L2(first marginal);
/// a step that does not increase the dual is halved, and far from the solution plain scaling steps are taken. Condition number about
/// 1/2 + h/(epsilon beta), so epsilon is lowered in steps by 4 from h/beta's size and log rho extrapolated in epsilon^2 to the next start.
/// Scalings are kept as mantissas with one exponent a tile: no epsilon leaves double's range. `guess` in advance() replaces the lowering.
///
/// Fast diffusion (m < 1): h F'(rho)/epsilon ~ -rho^{m-1} h/epsilon has no bound, while the mass it acts on is nothing: below tail_density u is replaced by its
/// tangent there (still convex; J changes by at most c tail_density^m |box|), so that thinner tails stay where they are. tail_density follows from bias_target: half
/// of it lies beyond the radius where the tail that h makes of a thin start, (2 h c m/(1-m))^{1/(1-m)} r^{-2/(1-m)}, has this density, or half of it in the whole box at this
/// density. Newton's steps are taken in log rho there. What moves farther than the kernel's reach ends as under "Status" or with a raised epsilon.
///
/// residual is the L1 violation of the first marginal (not the L2 residual of step_result.hpp). w2_moved corrects the plan's cost by the entropies and the
/// Fisher terms above. Status: converged; iteration_limit; stalled where rounding stops it; not_finite where no mass of `from` can reach the allowed cells
/// within the kernel's reach.
///
/// Certificate (on request, else gap and w2_bound are NaN): the result's own first variation gives phi = -h (Psi + u'(rho)), a feasible point of the dual of the
/// unregularised discrete problem min J = F + W_h(., from)/h of back_and_forth_step.hpp (W_h: transport with cubic splines between the cells, third order in the
/// width), whose density rho_phi is the result. certificate_iterations of the dual's ascent give a better phi' and its push-forward q+ of `from`:
/// D(phi) <= D(phi') <= min J <= J(q+). gap is J(q+) - D(phi), what the result's potential leaves of the dual, and KL(exact | result) <= beta gap. l1_bound is the lesser of
/// what this proves and of int |result - rho_phi'| + (2 beta (J(q+) - D(phi')))^{1/2}. w2_bound, of W2(result, exact), is
/// w2_feasible >= W2(result, q+) (a flux between the two, transport/flux_bound.hpp) and b7's (2 h (J(q+) - D(phi'))/(1 + h kappa))^{1/2} >= W2(q+, exact). The bias of epsilon, the iteration's error and what the kernel cuts off are all in these
/// bounds; the distance of the discrete problem from the continuous one is not. With a semi-implicit interaction the certified functional has W*from as a fixed potential;
/// implicit interactions, congestion, m < 1, obstacles, and periodic boxes are not certified. Cost: docs/methods/entropic_step.md.
///
/// Accuracy and cost: docs/methods/entropic_step.md. Wrong choice for the linear Fokker-Planck equation alone (reference/fokker_planck.hpp is cheaper)
/// and where epsilon >= width^2 smears what matters (fronts: order 1.3 to 1.8 in epsilon); then prefer the back-and-forth step. Sources: [Peyre2015],
/// [Chizat2018].
class EntropicStep {
 public:
  using Measure = GridDensity;
  explicit EntropicStep(FreeEnergy energy, EntropicStepOptions options = {});

  [[nodiscard]] const FreeEnergy& energy() const { return energy_; }
  [[nodiscard]] const EntropicStepOptions& options() const { return options_; }
  void set_parameters(const ConstVectorRef& parameters);
  [[nodiscard]] EnergyValue energy_value(const GridDensity& measure) const;
  /// h > 0, time. `guess`, where it has the right size, is a density (entries <= 0 and NaN are ignored) to start from; default: `from`.
  [[nodiscard]] StepResult<GridDensity> advance(const GridDensity& from, double h, const Vector& guess = {});
  /// d(result)/d(from) and d(result)/d(parameters) of the last advance(), epsilon fixed, by one linear solve a column: a relative residual of 1e-10.
  /// With an implicit interaction the solves alternate with convolutions.
  [[nodiscard]] Matrix tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const;
  [[nodiscard]] const EntropicReport& report() const { return report_; }
  /// Why steps on this grid would have no certificate; empty where they have one.
  [[nodiscard]] std::string uncertified(const std::shared_ptr<const Grid>& grid) const;

 private:
  class Work;
  FreeEnergy energy_;
  EntropicStepOptions options_;
  EntropicReport report_;
  std::shared_ptr<Work> work_;
};

/// The epsilon of the options' default: max over axes of width^2 (below it the sampled kernel is no heat kernel), or, where that is larger,
/// 2.8 sqrt(bias_target) sigma^2, sigma^2 = d / (Fisher information of `from`). For a Gaussian of variance sigma^2 the term
/// (epsilon^2/8h) int I moves the standard deviation by about a third of epsilon^2/(4 sigma^4) relative, and a relative change r of it changes the
/// density by 1.5 r in L1; so the bias is epsilon^2/(8 sigma^4), and it is smaller where h/beta > sigma^2.
[[nodiscard]] double chosen_epsilon(const GridDensity& from, double bias_target);

}  // namespace jko
