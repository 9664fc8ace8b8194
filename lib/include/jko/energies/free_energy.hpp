#pragma once
/// The free energy as a sum of named parts, each with its parameters.
///
///   potential       int Psi(x; theta) rho dx
///   entropy         beta^{-1} int rho log rho dx
///   porous medium   c/(m-1) int rho^m dx,  m > 0, m != 1; m < 1 is fast diffusion
///   congestion      0 where rho <= rho_max almost everywhere, else +infinity
///   interaction     1/2 int int W(x - y; theta) rho(x) rho(y) dx dy,  W even
#include <jko/models/model.hpp>

#include <string>
#include <vector>

namespace jko {

/// On R^d the porous-medium part with m < 1 is bounded below on measures of finite second moment, and its self-similar solutions have one, only for
/// m > d/(d+2); it is displacement convex only for m >= 1 - 1/d ([McCann1997]). On a box every m > 0 is allowed.

/// Values of the named parts; their sum is the free energy.
struct EnergyValue {
  double total = 0;
  std::vector<std::pair<std::string, double>> parts;
};

class FreeEnergy {
 public:
  struct PotentialPart {
    PotentialPtr potential;
    Vector theta;
  };
  struct EntropyPart {
    double beta;  ///< coefficient beta^{-1}
  };
  struct PorousMediumPart {
    double coefficient;  ///< c
    double exponent;     ///< m > 0, not 1
  };
  struct CongestionPart {
    double max_density;  ///< rho_max > 0
  };
  struct InteractionPart {
    PotentialPtr kernel;  ///< W, even
    Vector theta;
  };

  FreeEnergy() = default;
  explicit FreeEnergy(const Model& model);  ///< potential + entropy, parameters (theta, beta)

  // Each part may be added once; returns *this.
  FreeEnergy& add_potential(PotentialPtr potential, Vector theta);
  FreeEnergy& add_entropy(double beta);
  FreeEnergy& add_porous_medium(double coefficient, double exponent);
  FreeEnergy& add_congestion(double max_density);
  FreeEnergy& add_interaction(PotentialPtr kernel, Vector theta);

  // Null where the part is absent.
  [[nodiscard]] const PotentialPart* potential() const;
  [[nodiscard]] const EntropyPart* entropy() const;
  [[nodiscard]] const PorousMediumPart* porous_medium() const;
  [[nodiscard]] const CongestionPart* congestion() const;
  [[nodiscard]] const InteractionPart* interaction() const;

  /// Parameters in the order potential theta, beta, porous-medium coefficient, interaction theta (of the parts present);
  /// the exponent m and rho_max are not parameters. Names of interaction parameters carry the prefix "interaction.".
  [[nodiscard]] Vector parameters() const;
  [[nodiscard]] std::vector<Parameter> parameter_list() const;
  void set_parameters(const ConstVectorRef& values);
  /// The dimension of its potential or interaction; 0 where neither is present (any dimension).
  [[nodiscard]] int dimension() const;
  /// A convexity constant of the potential for where it states none (convexity.hpp finds one numerically); certificates rest on it, with its `proven`.
  FreeEnergy& assume_convexity(Convexity of_potential);
  /// Convexity constant along (generalised) geodesics where it is known: the potential's kappa, plus 0 for entropy,
  /// porous medium with m >= 1 - 1/d (m >= 2/3 where the dimension is not known), congestion and convex interactions; nullopt where unknown.
  [[nodiscard]] std::optional<Convexity> convexity() const;

 private:
  std::vector<PotentialPart> potential_;        // at most one: a vector keeps the header light and the type a value
  std::vector<EntropyPart> entropy_;
  std::vector<PorousMediumPart> porous_medium_;
  std::vector<CongestionPart> congestion_;
  std::vector<InteractionPart> interaction_;
  std::optional<Convexity> assumed_;
};

}  // namespace jko
