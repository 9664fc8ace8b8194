#pragma once
/// The JKO step for several species on one grid, coupled by interactions and by their total density, with entropic transport.
#include <jko/steps/entropic_step.hpp>

#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace jko {

struct Species {
  std::string name;
  double mass = 1;    ///< M > 0; its density rho has mass 1, and M rho is what counts in the total
  FreeEnergy energy;  ///< F, of rho: potential (with obstacles), entropy, porous medium with m > 1, interaction with itself
};

/// M_i M_j int int W(x - y) rho_i(x) rho_j(y) dx dy, W even.
struct CrossInteraction {
  std::size_t first = 0, second = 1;  ///< different species
  PotentialPtr kernel;
  Vector theta;
};

/// sum_i M_i F_i(rho_i) + cross-interactions + int g(sigma) dx with the total sigma = sum_i M_i rho_i:
/// g = c/(m-1) sigma^m (m > 1) where a pressure is given, +infinity above `congestion` where that is.
struct SpeciesEnergy {
  std::vector<Species> species;  ///< at least one, with different names
  std::vector<CrossInteraction> interactions;
  std::optional<FreeEnergy::PorousMediumPart> pressure;
  std::optional<double> congestion;  ///< sigma_max > 0

  /// Throws DomainError or ShapeError naming the species and what is wrong with it.
  void validate() const;
  [[nodiscard]] double total_mass() const;
  /// The dimension of its potentials and interactions; 0 where none is present.
  [[nodiscard]] int dimension() const;
};

struct SpeciesStepOptions {
  double epsilon = 0;         ///< strength of the regularisation, in x^2; 0 takes the smallest chosen_epsilon of the species, and where that fails 4, 16, ... times as much (SpeciesReport::raised)
  double bias_target = 1e-5;  ///< L1 distance of a species to its unregularised minimiser that a chosen epsilon aims at
  double tolerance = 1e-7;    ///< stops when sum_i M_i int |from_i - first marginal_i| dx <= tolerance sum_i M_i
  int max_iterations = 2000;  ///< pairs of kernel applications a species, >= 1
  InteractionScheme interaction = InteractionScheme::implicit_outer;  ///< of all interactions, own and cross
  int max_outer = 50;         ///< outer iterations of the interactions, >= 1
  double memory_limit = 16;   ///< GiB; larger problems (300 bytes a cell and species) are refused
  int threads = 1;            ///< >= 1; the bits do not depend on it
  void validate() const;      ///< throws DomainError naming the field
};

/// What the last advance() did beyond its StepReport.
struct SpeciesReport {
  double epsilon = 0;
  bool raised = false;      ///< epsilon is 4, 16, ... times the chosen one, for which mass moves too far; then
  double bias = std::numeric_limits<double>::quiet_NaN();  ///< is the largest estimated L1 distance of a species to its unregularised minimiser, a third of the distance to the result of 2 epsilon; at most 0.1
  double radius = 0;        ///< of the truncated kernel, in standard deviations sqrt(epsilon)
  Vector w2_moved;          ///< of each species
  double largest_total = 0; ///< max sigma
  int kernel_applications = 0;
  int newton_steps = 0;
  int outer_iterations = 0;
  double interaction_residual = 0;  ///< sum_i M_i L1 change of rho_i in the last outer iteration, over sum_i M_i
};

/// Minimises over rho_1, ..., rho_N of mass one, with plans pi_i from from_i to rho_i,
///
///   F(rho_1, ..., rho_N) + sum_i (M_i/h) [ epsilon KL(pi_i | K) - (epsilon/2) int rho_i log rho_i ],
///
/// the debiased step of entropic_step.hpp for each species, that is sum_i M_i W2^2(rho_i, from_i)/(2h) up to O(epsilon^2). One scalar q couples the species in each cell:
/// with s_i = K a_i, A_i, B_i as there and sigma = sum M_i rho_i,
///
///   A_i log rho_i + B_i rho_i^{m_i - 1} = log s_i - (h/epsilon) Psi_i - q,    q = (h/epsilon) g'(sigma), or what keeps sigma at sigma_max,
///
/// a monotone equation in q, solved by Newton's method between bounds. The dual in all log a_i is concave and is maximised by Newton's method; the coupling adds a matrix of rank one a cell.
/// epsilon is lowered in steps by 4. Interactions enter as potentials, frozen (semi_implicit) or repeated until they change by less than ten tolerances.
///
/// If g is all there is of the energy, sigma solves the step of one species, and every rho_i is carried by its map (docs/methods/species_step.md).
///
/// energy.parts: "NAME.PART" for each species, "interaction" (cross), "pressure". w2_moved = (sum_i M_i W2^2(rho_i, from_i))^{1/2}. residual: the L1 violation of the first marginals,
/// as in `tolerance`. gap and w2_bound are NaN: the dual that certifies one species is not built for several. Status: converged; iteration_limit; stalled where rounding stops it;
/// not_finite where mass cannot reach the allowed cells within the kernel's reach (a larger epsilon or a smaller h helps), and where the total mass does not fit below sigma_max.
///
/// Cost: that of N entropic steps without coarser grids, and 0.1 to 1 microsecond a cell for q an iteration. Wrong choice for uncoupled species (EntropicStep) and for
/// interactions that are not symmetric, W_ij != W_ji, which are no gradient flows. Source of the splitting: [Peyre2015].
class SpeciesStep {
 public:
  using Measure = std::vector<GridDensity>;
  explicit SpeciesStep(SpeciesEnergy energy, SpeciesStepOptions options = {});

  [[nodiscard]] const SpeciesEnergy& energy() const { return energy_; }
  [[nodiscard]] const SpeciesStepOptions& options() const { return options_; }
  [[nodiscard]] EnergyValue energy_value(const std::vector<GridDensity>& measure) const;
  /// `from`: one density a species, all on the same grid. h > 0, time.
  [[nodiscard]] StepResult<std::vector<GridDensity>> advance(const std::vector<GridDensity>& from, double h);
  [[nodiscard]] const SpeciesReport& report() const { return report_; }

 private:
  class Work;
  SpeciesEnergy energy_;
  SpeciesStepOptions options_;
  SpeciesReport report_;
  std::shared_ptr<Work> work_;
};

/// sigma = sum_i M_i rho_i at each cell.
[[nodiscard]] Vector total_density(const SpeciesEnergy& energy, const std::vector<GridDensity>& measure);

}  // namespace jko
